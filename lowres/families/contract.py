"""What a method family offers, and what all methods of a recipe share.

A family is a package under `families/` whose `spec.py` (pydantic alone, no framework) defines `FAMILY: Family`. The
experiment room builds its plan from these functions; the frameworks are imported by the workers only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from lowres.artifacts import Node, Spec, Stage
from lowres.cards import TaskKind
from lowres.prompts import Prompt


class MethodBlock(Spec):
    """Base of a `[methods.NAME]` block; each family's block has `family: Literal[...]` and what is its own."""

    family: str


@dataclass(frozen=True)
class Shared:
    """What the methods of a recipe share.

    corpus and tokenizer are None where a recipe names no corpus; words, a tokenizer of whole words, where it does not
    say how words are told; gpt2 is the node of GPT-2's byte-level BPE. prompts: name of a task -> those of its card.
    """

    language: str
    corpus: Node | None
    tokenizer: Node | None
    lm_seed: int
    unlabelled: Literal["subset", "train"]
    gpt2: Node | None = None
    words: Node | None = None
    prompts: Mapping[str, tuple[Prompt, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class LanguageModel:
    """The nodes of a method's language model. evaluation is None where nothing was trained (init = "random")."""

    weights: Node
    evaluation: Node | None


@dataclass(frozen=True)
class Family:
    """A method family as the runner sees it.

    language_model: the LM of a method, or None for a family without one.
    classifier: (method, shared, task node, subset node, seed) -> the node of a trained classifier.
    kinds: the tasks that its classifiers can be trained for; a recipe that asks for another is refused.
    predict: the family's stage that predicts; its inputs are `classifier` and `task`, its spec is PredictSpec.
    loader, generator: "module:function"; loader(path) -> lowres.training.classifier.Classifier. generator(path, int8)
    -> an object with generate(prompt, max_tokens, temperature, top_k, top_p, seed) -> str, or None.
    exporter, package_loader, onnx_loader: "module:function"; exporter(classifier's folder, new folder, Packing) writes
    what the loaders read from the new folder. None: a package holds the classifier's files as they are, for `loader`.
    importer: "module:function"; importer(folder, new folder or None) reads language models in layouts of others, writes
    them as `init` reads them, and returns a line on each.
    """

    name: str
    method: type[MethodBlock]
    language_model: Callable[[Any, Shared], LanguageModel | None]
    classifier: Callable[[Any, Shared, Node, Node, int], Node]
    predict: Stage
    loader: str
    kinds: tuple[TaskKind, ...] = ("classification",)
    generator: str | None = None
    exporter: str | None = None
    package_loader: str | None = None
    onnx_loader: str | None = None
    importer: str | None = None


@dataclass(frozen=True)
class Packing:
    """How a classifier is exported. int8: matrices of 8 bits; onnx: graphs for onnxruntime beside the weights."""

    int8: bool = False
    onnx: bool = False


class PredictSpec(Spec):
    """Prediction has no settings: the classifier and the task decide."""


class EvaluateSpec(Spec):
    """How much held-out text a language model is scored on."""

    held_out_bytes: int = Field(default=200_000, gt=0)


class ReadSpec(Spec):
    """A language model that exists: the files of its folder by checksum. `path` says where and is not hashed."""

    path: str
    files: dict[str, str]
    """Name in the folder -> sha256, of config.json, the weights and the tokenizer's files."""

    def hashed(self) -> dict[str, Any]:
        """The checksums name the model, not the place."""
        return {"files": dict(sorted(self.files.items()))}


def picked(settings: Spec, spec: type[Spec]) -> dict[str, Any]:
    """The fields of `settings` that `spec` has too."""
    return {name: getattr(settings, name) for name in type(settings).model_fields if name in spec.model_fields}
