"""The stage of the arm "prompt": examples are drawn, prompts are tried on dev, the best one becomes the classifier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lowres.artifacts import Document, Run, Subset, Task
from lowres.errors import DataError
from lowres.families.gptj.model import count
from lowres.families.gptj.prompt import PromptClassifier
from lowres.families.gptj.settings import PromptSpec
from lowres.families.gptj.stages import device_lm, gold_of
from lowres.metrics.bits import text_sizes
from lowres.training.calibration import fit_temperature
from lowres.training.classifier import TextPolicy
from lowres.training.head import dev_scores

ROOM_FOR = 0.95
"""Share of the subset's texts that fit whole behind the examples, as long as that leaves these half the context."""


@dataclass(frozen=True)
class Tried:
    """A prompt with its examples and what it does on dev. macro_f1: None without dev texts. cut: share of tokens."""

    classifier: PromptClassifier
    shots: tuple[str, ...]
    probabilities: np.ndarray
    macro_f1: float | None
    tokens: int
    cut: float

    @property
    def rank(self) -> float:
        """The greatest is kept."""
        return -1.0 if self.macro_f1 is None else self.macro_f1


def choose_prompt(inputs: Mapping[str, Path], spec: PromptSpec, run: Run) -> None:
    """Keeps the prompt with the best macro-F1 on the dev texts of `subset` (the first of equals, or without dev texts).

    Notes: prompt, prompts (name -> dev macro-F1; empty without dev texts), shots (ids of the examples, in order), the
    temperature fitted on dev, tokens and bytes seen, share_of_tokens_cut. The test texts are not read.
    """
    params, config, tokenizer = device_lm(inputs["lm"])
    task, subset = Task(inputs["task"]), Subset(inputs["subset"])
    train, dev = subset.documents(task, "train"), subset.documents(task, "dev")
    gold, policy, every = gold_of(dev, task.labels), TextPolicy.of_task(task), []
    for number, prompt in enumerate(spec.prompts):
        if missing := [label for label in task.labels if label not in prompt.labels]:
            raise DataError(
                f"prompt {prompt.name!r} has no word for the label {missing[0]!r}; add it to the task's card"
            )
        run.progress(number, len(spec.prompts), "prompts", prompt.name)
        plain = PromptClassifier(task.labels, params, config, tokenizer, prompt, policy)
        every.append(_tried(plain, train, dev, gold, spec))
    best = max(every, key=lambda one: one.rank)
    classifier = replace(best.classifier, temperature=fit_temperature(best.probabilities, gold))
    classifier.save(run.out)
    run.note(
        prompt=classifier.prompt.name,
        prompts={one.classifier.prompt.name: one.macro_f1 for one in every if one.macro_f1 is not None},
        shots=list(best.shots),
        temperature=classifier.temperature,
        parameters=count(params),
        parameters_trained=0,
        tokens_seen=sum(one.tokens for one in every),
        bytes_seen=len(every) * text_sizes([document.text for document in dev])[0],
        share_of_tokens_cut=best.cut,
    )


def _tried(
    plain: PromptClassifier, train: Sequence[Document], dev: Sequence[Document], gold: np.ndarray, spec: PromptSpec
) -> Tried:
    """One prompt of `spec` on the dev texts."""
    drawn = draw_shots(plain, train, spec.shots, spec.seed)
    ready = replace(plain, shots=tuple(plain.write_out(one.text, str(one.label)) for one in drawn))
    ready = ready.calibrated() if spec.calibrate else ready
    asked = ready.ask([document.text for document in dev])
    probabilities = ready.probabilities(asked)
    lost, read = sum(one.cut for one in asked), sum(one.tokens for one in asked)
    return Tried(
        classifier=ready,
        shots=tuple(one.id for one in drawn),
        probabilities=probabilities,
        macro_f1=dev_scores(probabilities, gold)[0] if len(gold) else None,
        tokens=read,
        cut=lost / max(lost + read, 1),
    )


def draw_shots(classifier: PromptClassifier, train: Sequence[Document], shots: int, seed: int) -> list[Document]:
    """Examples, label by label in an order drawn by `seed`, until there are `shots` or no more fit the context.

    A text that does not fit is passed over for another of its label, so that labels differ by one example at most.
    """
    if not shots:
        return []
    generator = np.random.default_rng(seed)
    order = [train[i] for i in generator.permutation(len(train))]
    labels = [classifier.labels[i] for i in generator.permutation(len(classifier.labels))]
    asked = classifier.ask([document.text for document in order])
    longest = [len(one.prefix) + max(map(len, one.words)) for one in asked]
    room = classifier.config.n_ctx - min(int(np.quantile(longest, ROOM_FOR)), classifier.config.n_ctx // 2)
    written = [classifier.write_out(document.text, str(document.label)) for document in order]
    sizes = [len(ids) + 2 for ids in classifier.tokenizer.encode(written)]  # a line break, and the piece it starts
    left = {label: [i for i, one in enumerate(order) if one.label == label] for label in labels}
    chosen: list[Document] = []
    while len(chosen) < shots:
        own = left[labels[len(chosen) % len(labels)]]
        while own and sizes[own[0]] > room:
            own.pop(0)
        if not own:
            break
        room -= sizes[own[0]]
        chosen.append(order[own.pop(0)])
    return chosen
