"""The settings of GPT-J methods, and the specs of their stages."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lowres.artifacts import Spec
from lowres.families.contract import (
    MethodBlock,
)
from lowres.fingerprint import added_later
from lowres.prompts import Prompt

Precision = Literal["float32", "bfloat16"]
Moments = Literal["float32", "int8"]
Target = Literal["q", "k", "v", "out", "fc_in", "fc_out"]


class Architecture(Spec):
    """The sizes of a GPT-J; GPT-J-6B has 28 layers of 4096, 16 heads, 64 rotary dims and a context of 2048."""

    n_layer: int = Field(default=4, ge=1)
    n_embd: int = Field(default=256, ge=8)
    n_head: int = Field(default=4, ge=1)
    rotary_dim: int = Field(default=32, ge=2)
    """Dims of each head that carry the position; even, at most n_embd / n_head."""
    n_ctx: int = Field(default=128, ge=8)
    """Tokens a row: how far the model looks back."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_head is {self.n_head}; it must divide n_embd, {self.n_embd}")
        if self.rotary_dim % 2 or self.rotary_dim > self.n_embd // self.n_head:
            raise ValueError(
                f"rotary_dim is {self.rotary_dim}; even, at most n_embd / n_head = {self.n_embd // self.n_head}"
            )
        return self


class Optimisation(Spec):
    """AdamW on packed rows: clip at 1, linear warm-up, cosine to end_lr."""

    batch_size: int = Field(default=16, ge=1)
    """Rows of n_ctx tokens a step."""
    lr: float = Field(default=2e-3, gt=0)
    """The highest learning rate. Smaller for larger models: about 1e-3 at 20 M parameters, 1.2e-4 at 6 B."""
    end_lr: float = Field(default=2e-4, ge=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps in which the rate rises."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Of matrices; biases and layer norms are left alone."""
    beta2: float = Field(default=0.99, gt=0, lt=1)
    """Adam's decay of squared gradients; 0.999 for GPT-J-6B's batches of a million tokens."""
    z_loss: float = Field(default=1e-4, ge=0)
    """Weight of log(z)^2, which keeps the logits near 0 (Chowdhery et al. 2022)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On the embeddings and on what each layer adds, in training alone. GPT-J has none; many passes want it."""
    mask_documents: bool = True
    """Tokens do not look past the start of their document."""
    precision: Precision = "float32"
    """Of the products; weights are float32. bfloat16 brings nothing on CPU."""
    accumulate: int = added_later(1, neutral=1, ge=1)
    """A step's rows go through in so many parts, and their gradients are summed in float32: less memory, and the
    gradient noise scale is logged."""
    remat: Literal["auto", "none", "dots", "full"] = added_later("auto", neutral="auto")
    """What of a layer is computed a second time in the backward pass: "full" keeps its input alone, "dots" the products
    with weights too, "none" everything. "auto": "none" on one CPU device, else "full"."""
    attention: Literal["auto", "chunked", "splash", "cudnn"] = added_later("auto", neutral="auto")
    """How it is computed: a few queries at a time, by a TPU's kernel, by cuDNN's. "auto": by device and sizes."""
    moments: Moments = added_later("float32", neutral="float32")
    """Adam's, of the layers' matrices: "int8" holds them in 8 bits (Dettmers et al. 2022), a quarter of the memory."""

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate is {self.accumulate}; it must divide batch_size, {self.batch_size}")
        return self


class PretrainSpec(Architecture, Optimisation):
    """What `gptj.pretrain_lm` trains."""

    epochs: float = Field(gt=0)
    seed: int


class InitSpec(Architecture):
    """A GPT-J with random weights."""

    seed: int


class Lora(Spec):
    """A low-rank adapter, W + alpha / rank * A @ B: few weights are trained, the others stay (Hu et al. 2021)."""

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[Target, ...] = Field(default=("q", "k", "v", "out", "fc_in", "fc_out"), min_length=1)
    """The matrices of every layer that get one."""
    norms: bool = False
    """Layer norms and biases are trained beside it."""
    int8: bool = False
    """The weights that stay are held in 8 bits in training, and stay rounded so in what comes out."""


class TuneSpec(Optimisation):
    """What `gptj.tune_lm` does with a language model and a task's unlabelled training texts."""

    epochs: float = Field(gt=0)
    seed: int
    lora: Lora | None = added_later(None, neutral=None)


class AdaptSpec(Optimisation):
    """What `gptj.adapt_lm` does with a language model and a corpus, or with rows of tokens that others packed."""

    epochs: float = Field(gt=0)
    seed: int
    lora: Lora | None = None
    embeddings_only: bool = False
    """wte, head and head bias alone are trained."""
    path: str | None = None
    """Where the rows are; not hashed."""
    files: dict[str, str] = {}
    """Name -> sha256 of the .tfrecords, in their order; none where a corpus is read."""

    def hashed(self) -> dict[str, Any]:
        """The checksums name the rows, not the place."""
        return {name: value for name, value in super().hashed().items() if name != "path"}


class ClassifierSettings(Spec):
    """How the language model becomes a classifier; all but "prompt" read the concat of last, max and mean state."""

    arm: Literal["head", "full", "lora", "prompt"] = "full"
    """"head": logistic regression on frozen features. "full": all weights are trained with a linear head. "lora": a
    low-rank adapter is. "prompt": nothing is; the label whose word goes on best with the text."""
    prompt: str | None = added_later(None, neutral=None)
    """prompt: which of the task card's `[[prompts]]`. Unset: the one with the best dev macro-F1."""
    shots: int = added_later(0, neutral=0, ge=0)
    """prompt: examples from the subset in front of the text, as many as fit the context."""
    calibrate: bool = added_later(True, neutral=True)
    """prompt: probabilities are divided by those without content (Zhao et al. 2021)."""
    lora: Lora = added_later(Lora(), neutral=Lora())
    """lora: the adapter."""
    max_tokens: int = Field(default=2048, ge=8)
    """Longer texts are cut; the share of tokens cut is noted. Texts over n_ctx tokens are read in windows of n_ctx."""
    epochs: float = Field(default=4.0, gt=0)
    """full, lora: passes over the labelled texts, at least min_steps steps."""
    min_steps: int = Field(default=150, ge=1)
    batch_size: int = Field(default=32, ge=1)
    """Texts a step."""
    lr: float = Field(default=5e-4, gt=0)
    """full, lora: the highest rate of the language model's weights, or of the adapter."""
    head_lr: float = Field(default=5e-3, gt=0)
    """full, lora: that of the linear head."""
    warmup: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """On the pooled features."""
    layer_dropout: float = Field(default=0.1, ge=0, lt=1)
    """On the embeddings and on what each layer adds."""


class ClassifierSpec(ClassifierSettings):
    """What `gptj.train_classifier` trains."""

    seed: int


class VocabularySpec(Spec):
    """How `gptj.replace_vocabulary` makes the rows of a new vocabulary. `paths` says where `files` are; not hashed."""

    how: Literal["copy-mean", "focus", "wechsel", "random"]
    files: tuple[str, ...] = ()
    """SHA-256 of the vectors: focus one file, wechsel those of the old language and of the new."""
    paths: tuple[str, ...] = ()
    seed: int

    def hashed(self) -> dict[str, Any]:
        """The checksums name the vectors, not the place."""
        return {name: value for name, value in super().hashed().items() if name != "paths"}


class PromptSpec(Spec):
    """What `gptj.choose_prompt` chooses from."""

    prompts: tuple[Prompt, ...]
    shots: int
    calibrate: bool
    seed: int
    """Of the examples."""


class LmSettings(Architecture, Optimisation):
    """`lm = {...}`: the architecture, how it is pretrained, and how much text it is scored on."""

    epochs: float = Field(default=3.0, gt=0)
    """Passes over the corpus."""
    held_out_bytes: int = Field(default=200_000, gt=0)


class AdaptSettings(Optimisation):
    """`adapt = {...}`: the language model goes on training on the corpus, or on rows that others packed."""

    rows: str = "corpus"
    """"corpus": the recipe's. Else .tfrecords of mesh-transformer-jax: a file, a folder of them, or an .index."""
    embeddings_first: float = Field(default=0.0, ge=0)
    """Passes in which embeddings and head alone are trained, before the others: for a `vocabulary` that is new."""
    epochs: float = Field(default=1.0, ge=0)
    """Passes; 0: none but `embeddings_first`."""
    lr: float = Field(default=5e-5, gt=0)
    """For 6 B parameters; more for smaller models and for an adapter."""
    end_lr: float = Field(default=5e-6, ge=0)
    lora: Lora | None = None
    """A low-rank adapter is trained and added to the weights. Unset: all weights are trained."""

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        if not self.epochs and not self.embeddings_first:
            raise ValueError("epochs and embeddings_first are 0; leave adapt out to train nothing")
        return self


class TuneSettings(Optimisation):
    """`tune = {...}`: adaptation to the task's unlabelled training texts."""

    epochs: float | None = Field(default=None, ge=0)
    """0: none. Default: 3, and none where the weights are random."""
    lr: float = Field(default=1e-3, gt=0)
    end_lr: float = Field(default=1e-4, ge=0)
    lora: Lora | None = None
    """A low-rank adapter is trained and added to the weights. Unset: all weights are trained."""


class GptjMethod(MethodBlock):
    """`[methods.NAME]` with family = "gptj"."""

    family: Literal["gptj"]
    init: str = "pretrain"
    """"pretrain": from scratch on the recipe's corpus. "random": not trained. Else the path of a GPT-J folder:
    of transformers, of mesh-transformer-jax, or of 8 bits (`lowres gptj info PATH` says whether it can be read)."""
    tokenizer: Literal["corpus", "gpt2"] = "corpus"
    """The corpus's SentencePiece, or GPT-2's byte-level BPE. A folder with its own lowres tokenizer keeps that."""
    vocabulary: Literal["keep", "copy-mean", "focus", "wechsel", "random"] = "keep"
    """Of a folder: what becomes of its vocabulary. Other than "keep": the corpus's tokenizer takes its place."""
    vectors: tuple[str, ...] = ()
    """Text files. focus: of the new pieces. wechsel: of the old language's words and of the new one's, in one space."""
    lm: LmSettings = LmSettings()
    adapt: AdaptSettings | None = None
    """Before anything else is done with it, the language model goes on training."""
    tune: TuneSettings = TuneSettings()
    classifier: ClassifierSettings = ClassifierSettings()

    @model_validator(mode="after")
    def _no_setting_is_idle(self) -> Self:
        named, folder = self.lm.model_fields_set - {"held_out_bytes"}, self.init not in ("pretrain", "random")
        if folder and named:
            raise ValueError(f"lm.{sorted(named)[0]} has no effect where init is a folder; its config.json decides")
        if not folder and self.vocabulary != "keep":
            raise ValueError(f'vocabulary has no effect where init is "{self.init}"; it is for that of a folder')
        return self

    @model_validator(mode="after")
    def _vocabulary_has_what_it_needs(self) -> Self:
        wanted = {"focus": 1, "wechsel": 2}.get(self.vocabulary, 0)
        if len(self.vectors) != wanted:
            of = " (of the old language, of the new)" if wanted == 2 else ""
            raise ValueError(
                f'vectors names {len(self.vectors)} files; vocabulary = "{self.vocabulary}" takes {wanted}{of}'
            )
        if self.vocabulary != "keep" and self.tokenizer != "corpus":
            raise ValueError(f'tokenizer is "{self.tokenizer}"; vocabulary = "{self.vocabulary}" takes the corpus\'s')
        return self

    @property
    def needs_gpt2(self) -> bool:
        """Whether texts were, or are to be, cut by GPT-2's tokenizer: its own, or a folder's that has none."""
        own = Path(self.init, "tokenizer", "lowres_tokenizer.json").is_file()
        return self.tokenizer == "gpt2" or self.vocabulary != "keep" and not own

    @field_validator("vectors", mode="before")
    @classmethod
    def _one_file_is_a_list_too(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _no_classifier_setting_is_idle(self) -> Self:
        of_arm = {"lora": {"lora"}, "prompt": {"prompt", "shots", "calibrate"}}
        arm, named = self.classifier.arm, self.classifier.model_fields_set - {"arm"}
        elsewhere = {key for other, keys in of_arm.items() if other != arm for key in keys}
        if idle := sorted(named - of_arm["prompt"] if arm == "prompt" else named & elsewhere):
            raise ValueError(f'classifier.{idle[0]} has no effect where classifier.arm is "{arm}"')
        return self
