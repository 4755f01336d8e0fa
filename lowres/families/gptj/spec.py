"""The settings of GPT-J methods, their stages, and the family."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lowres.artifacts import Node, Spec, Stage
from lowres.errors import DataError, RecipeError
from lowres.families.contract import (
    EvaluateSpec,
    Family,
    LanguageModel,
    MethodBlock,
    PredictSpec,
    ReadSpec,
    Shared,
    picked,
)
from lowres.families.gptj.checkpoints.layout import INDEX, find_layout
from lowres.fingerprint import added_later, file_sha256, fingerprint
from lowres.tokenizers.spec import packed

Precision = Literal["float32", "bfloat16"]
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
    """Of the products; weights and moments are float32. bfloat16 brings nothing on CPU."""
    accumulate: int = added_later(1, neutral=1, ge=1)
    """A step's rows go through in so many parts, and their gradients are summed in float32: less memory, and the
    gradient noise scale is logged."""
    remat: Literal["auto", "none", "dots", "full"] = added_later("auto", neutral="auto")
    """What of a layer is computed a second time in the backward pass: "full" keeps its input alone, "dots" the products
    with weights too, "none" everything. "auto": "none" on one CPU device, else "full"."""
    attention: Literal["auto", "chunked", "splash", "cudnn"] = added_later("auto", neutral="auto")
    """How it is computed: a few queries at a time, by a TPU's kernel, by cuDNN's. "auto": by device and sizes."""

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
    path: str | None = None
    """Where the rows are; not hashed."""
    files: dict[str, str] = {}
    """Name -> sha256 of the .tfrecords, in their order; none where a corpus is read."""

    def hashed(self) -> dict[str, Any]:
        """The checksums name the rows, not the place."""
        return {name: value for name, value in super().hashed().items() if name != "path"}


class ClassifierSettings(Spec):
    """How the language model becomes a classifier; both arms read the masked concat of last, max and mean state."""

    arm: Literal["head", "full", "lora"] = "full"
    """"head": logistic regression on frozen features. "full": all weights are trained with a linear head. "lora": a
    low-rank adapter is."""
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


class LmSettings(Architecture, Optimisation):
    """`lm = {...}`: the architecture, how it is pretrained, and how much text it is scored on."""

    epochs: float = Field(default=3.0, gt=0)
    """Passes over the corpus."""
    held_out_bytes: int = Field(default=200_000, gt=0)


class AdaptSettings(Optimisation):
    """`adapt = {...}`: the language model goes on training on the corpus, or on rows that others packed."""

    rows: str = "corpus"
    """"corpus": the recipe's. Else .tfrecords of mesh-transformer-jax: a file, a folder of them, or an .index."""
    epochs: float = Field(default=1.0, gt=0)
    lr: float = Field(default=5e-5, gt=0)
    """For 6 B parameters; more for smaller models and for an adapter."""
    end_lr: float = Field(default=5e-6, ge=0)
    lora: Lora | None = None
    """A low-rank adapter is trained and added to the weights. Unset: all weights are trained."""


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
    lm: LmSettings = LmSettings()
    adapt: AdaptSettings | None = None
    """Before anything else is done with it, the language model goes on training."""
    tune: TuneSettings = TuneSettings()
    classifier: ClassifierSettings = ClassifierSettings()

    @model_validator(mode="after")
    def _no_setting_is_idle(self) -> Self:
        idle = self.lm.model_fields_set - {"held_out_bytes"}
        if self.init not in ("pretrain", "random") and idle:
            raise ValueError(f"lm.{sorted(idle)[0]} has no effect where init is a folder; its config.json decides")
        if self.classifier.arm != "lora" and "lora" in self.classifier.model_fields_set:
            raise ValueError(f'classifier.lora has no effect where classifier.arm is "{self.classifier.arm}"')
        return self


PRETRAIN_LM = Stage("gptj.pretrain_lm", 1, "gptj", "lowres.families.gptj.stages:pretrain_lm", PretrainSpec)
INIT_LM = Stage("gptj.init_lm", 1, "gptj", "lowres.families.gptj.stages:init_lm", InitSpec)
READ_LM = Stage("gptj.read_lm", 1, "gptj", "lowres.families.gptj.stages:read_lm", ReadSpec)
EVALUATE_LM = Stage("gptj.evaluate_lm", 1, "gptj", "lowres.families.gptj.stages:evaluate_lm", EvaluateSpec)
ADAPT_LM = Stage("gptj.adapt_lm", 1, "gptj", "lowres.families.gptj.stages:adapt_lm", AdaptSpec)
TUNE_LM = Stage("gptj.tune_lm", 1, "gptj", "lowres.families.gptj.stages:tune_lm", TuneSpec)
TRAIN_CLASSIFIER = Stage(
    "gptj.train_classifier", 1, "gptj", "lowres.families.gptj.stages:train_classifier", ClassifierSpec
)
PREDICT = Stage("gptj.predict", 1, "gptj", "lowres.families.gptj.stages:predict", PredictSpec)

_DEFAULT_TUNE_EPOCHS = 3.0


def language_model(method: GptjMethod, shared: Shared) -> LanguageModel:
    """The nodes of a method's language model. Raises RecipeError where the recipe lacks what it needs."""
    weights = _initial(method, shared, _tokenizer(method, shared))
    if method.adapt is not None:
        weights = _adapted(method.adapt, shared, weights)
    if shared.corpus is None or weights.stage is INIT_LM:
        return LanguageModel(weights, None)
    evaluation = Node(
        EVALUATE_LM, EvaluateSpec(held_out_bytes=method.lm.held_out_bytes), {"lm": weights, "corpus": shared.corpus}
    )
    return LanguageModel(weights, evaluation)


def _initial(method: GptjMethod, shared: Shared, tokenizer: Node | None) -> Node:
    """The weights that `init` names."""
    if method.init == "pretrain":
        if shared.corpus is None or tokenizer is None:
            raise RecipeError('init is "pretrain" and the recipe has no corpus; name one, or set init = "random"')
        spec = PretrainSpec(**picked(method.lm, PretrainSpec), seed=shared.lm_seed)
        return Node(PRETRAIN_LM, spec, {"packed": packed(shared.corpus, tokenizer), "tokenizer": tokenizer})
    if method.init == "random":
        if tokenizer is None:
            raise RecipeError('init is "random" and there is no tokenizer; name a corpus, or set tokenizer = "gpt2"')
        spec = InitSpec(**picked(method.lm, InitSpec), seed=shared.lm_seed)
        return Node(INIT_LM, spec, {"tokenizer": tokenizer})
    return _read(Path(method.init), tokenizer)


def _adapted(settings: AdaptSettings, shared: Shared, weights: Node) -> Node:
    """The node of a language model that goes on training as `adapt` says."""
    from lowres.families.gptj.tfrecords import record_files

    chosen, inputs = picked(settings, AdaptSpec), {"lm": weights}
    if settings.rows == "corpus":
        if shared.corpus is None:
            raise RecipeError('adapt.rows is "corpus" and the recipe has none; name one, or the path of .tfrecords')
        tokenizer = weights.inputs.get("tokenizer")  # a folder with a tokenizer of its own has no node of it
        inputs |= {"packed": packed(shared.corpus, tokenizer)} if tokenizer else {"corpus": shared.corpus}
    else:
        try:
            files = record_files(Path(settings.rows))
        except DataError as error:
            raise RecipeError(f"adapt.rows: {error}") from error
        chosen |= {"path": settings.rows, "files": {path.name: file_sha256(path) for path in files}}
    return Node(ADAPT_LM, AdaptSpec(**chosen, seed=shared.lm_seed), inputs)


def classifier(method: GptjMethod, shared: Shared, task: Node, subset: Node, seed: int) -> Node:
    """The node of a trained classifier; its language model is tuned on the task's texts first where `tune` says so."""
    weights = language_model(method, shared).weights
    default = 0.0 if weights.stage is INIT_LM else _DEFAULT_TUNE_EPOCHS
    epochs = default if method.tune.epochs is None else method.tune.epochs
    if epochs:
        settings = picked(method.tune, TuneSpec)
        settings["epochs"] = epochs
        inputs = {"lm": weights, "task": task} | ({"subset": subset} if shared.unlabelled == "subset" else {})
        weights = Node(TUNE_LM, TuneSpec(**settings, seed=shared.lm_seed), inputs)
    spec = ClassifierSpec(**picked(method.classifier, ClassifierSpec), seed=seed)
    return Node(TRAIN_CLASSIFIER, spec, {"lm": weights, "task": task, "subset": subset})


def _tokenizer(method: GptjMethod, shared: Shared) -> Node | None:
    if method.tokenizer == "gpt2":
        if shared.gpt2 is None:
            raise RecipeError('tokenizer is "gpt2" and the recipe has no GPT-2 tokenizer card')
        return shared.gpt2
    return shared.tokenizer


def _read(folder: Path, tokenizer: Node | None) -> Node:
    """The request for the model in `folder`, with the tokenizer beside it or the method's."""
    try:
        layout = find_layout(str(folder))
    except DataError as error:
        raise RecipeError(f'init: {error}; or write "pretrain" or "random"') from error
    if layout.missing:
        raise RecipeError(f"{folder}: {layout.missing[0]} is missing, and {len(layout.missing) - 1} more files")
    if layout.kind != "mesh":
        _check_config(folder / "config.json")
    own = (folder / "tokenizer" / "lowres_tokenizer.json").is_file()
    if not own and tokenizer is None:
        raise RecipeError(
            f'{folder}: no tokenizer/ in it; set tokenizer = "gpt2", or name the corpus it was trained with'
        )
    weights = [Path(layout.root) / name for name in layout.files]
    index = folder / INDEX["torch"]  # *.safetensors are read without theirs
    weights += [index] if layout.kind == "torch" and index.is_file() else []
    paths = {folder / "config.json", *weights, *(folder.glob("tokenizer/*") if own else ())}
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(paths) if path.is_file()}
    return Node(
        READ_LM,
        ReadSpec(path=str(folder.resolve()), files=files),
        {} if own or tokenizer is None else {"tokenizer": tokenizer},
    )


def _check_config(path: Path) -> None:
    """Raises RecipeError where there is none, or one of another model."""
    if not path.is_file():
        raise RecipeError(f"{path}: missing; transformers wrote it beside the weights")
    if json.loads(path.read_text(encoding="utf-8")).get("model_type") != "gptj":
        raise RecipeError(f"{path}: model_type is not 'gptj'; this family reads GPT-J alone")


def weights_name(files: dict[str, str]) -> str:
    """One checksum for the weights of a folder: of their only file, or of the list of several."""
    weights = {name: sha for name, sha in files.items() if name != "config.json" and not name.startswith("tokenizer/")}
    return next(iter(weights.values())) if len(weights) == 1 else fingerprint(weights)


FAMILY = Family(
    name="gptj",
    method=GptjMethod,
    language_model=language_model,
    classifier=classifier,
    predict=PREDICT,
    loader="lowres.families.gptj.classify:load",
    generator="lowres.families.gptj.generate:load",
)
