"""The settings of ULMFiT methods, their stages, and the family.

[methods.multifit]
family = "ulmfit"
lm = { cell = "qrnn", epochs = 10 }
classifier = { direction = "both" }
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lowres.artifacts import Node, Spec, Stage, read_json
from lowres.errors import RecipeError
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
from lowres.fingerprint import added_later, file_sha256
from lowres.packages import is_package, open_package
from lowres.tokenizers.spec import CANNOT_DRAW, packed

Way = Literal["forward", "backward"]
Precision = Literal["float32", "bfloat16", "float16"]


class Network(Spec):
    """The sizes of an encoder. MultiFiT's: QRNN, 400, 1552, 4 layers; ULMFiT's: AWD-LSTM, 400, 1152, 3 layers."""

    cell: Literal["qrnn", "awd-lstm"] = "qrnn"
    emb_size: int = Field(default=256, ge=4)
    """Width of the embedding, of the last layer and of the softmax, which shares the embedding's weights."""
    n_hid: int = Field(default=512, ge=4)
    """Width of the other layers."""
    n_layers: int = Field(default=3, ge=1)
    window: Literal[1, 2] = 2
    """qrnn: inputs that the first layer's product sees; the other layers see one."""
    precision: Precision = "bfloat16"
    """Of the products; weights, states, softmax and optimiser are float32. bfloat16 is twice as fast on a CPU with AMX
     (4 M parameters, one core: 8,100 tokens/s against 4,000); try float32 where the processor has no bfloat16.
     float16 is for GPUs without bfloat16: gradients are scaled, and steps whose gradient overflows are left out."""
    kernel: Literal["auto", "compiled", "triton", "cudnn", "torch"] = added_later("auto", neutral="auto")
    """compiled: C for time loops, weight dropout and softmax on a CPU. triton: for a QRNN's time loop on CUDA. cudnn:
    for LSTM layers on CUDA. torch: plain torch anywhere. From the same random draws, the same to rounding. auto: C
    where it was built; on CUDA Triton or cuDNN where it is there. What was used is in the manifest."""
    products: Literal["auto", "onednn", "default"] = added_later("auto", neutral="auto")
    """Of float32 matrices on a CPU, the same to rounding. auto: oneDNN on AMD without AMX, else torch's choice. What
    was used is in the manifest."""
    zoneout: float = added_later(0.0, neutral=0.0, ge=0, lt=1)
    """qrnn: probability that a unit keeps its state at a step of training (Krueger et al. 2017)."""

    @model_validator(mode="after")
    def _zoneout_is_for_qrnn(self) -> Self:
        if self.zoneout and self.cell != "qrnn":
            raise ValueError('zoneout is for cell = "qrnn"; an LSTM has weight dropout: drop_mult')
        return self

    @model_validator(mode="after")
    def _kernel_is_for_the_cell(self) -> Self:
        cell = {"triton": "qrnn", "cudnn": "awd-lstm"}.get(self.kernel, self.cell)
        if cell != self.cell:
            raise ValueError(f'kernel = "{self.kernel}" is for cell = "{cell}"; write "auto"')
        return self


class Optimisation(Spec):
    """How a language model is trained: AdamW, one rate a step by `schedule`, truncated backpropagation."""

    epochs: int = Field(default=4, ge=1)
    """Passes over the text. The documents are shuffled anew in each."""
    lr: float = Field(default=6e-3, gt=0)
    """The highest learning rate."""
    schedule: Literal["one-cycle", "slanted-triangular"] = "one-cycle"
    """one-cycle: cosine up for a quarter of the steps, cosine down (Smith 2018). slanted-triangular: linear up for a
    tenth, linear down to 1/32 (Howard and Ruder 2018)."""
    batch_size: int = Field(default=64, ge=1)
    """Streams side by side."""
    bptt: int = Field(default=70, ge=2)
    """Tokens a step of each stream; the state is carried over to the next step."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled, of everything but biases."""
    drop_mult: float = Field(default=0.3, ge=0)
    """Times AWD-LSTM's dropouts: output .1, hidden .15, input .25, embedding .02, weight .2. Less for more text."""
    moms: tuple[float, float, float] = (0.8, 0.7, 0.8)
    """Adam's first moment at the start, at the highest rate and at the end of a one-cycle."""
    clip: float = Field(default=0.25, gt=0)
    """Largest norm of the gradient."""
    alpha: float = Field(default=2.0, ge=0)
    """Weight of the mean square of the last layer's dropped output (AR)."""
    beta: float = Field(default=1.0, ge=0)
    """Weight of the mean square of its change from token to token (TAR)."""
    label_smoothing: float = added_later(0.0, neutral=0.0, ge=0, lt=1)
    """Share of each target that is spread over the vocabulary. Losses on held-back text are without it."""
    early_stopping: int = added_later(0, neutral=0, ge=0)
    """Epochs without a better loss on the held-back text after which training ends; then the best epoch's weights are
    taken. 0: all epochs, and the last one's weights."""


class PretrainSpec(Network, Optimisation):
    """What `ulmfit.pretrain_lm` trains. direction "backward": every document is read from its end."""

    direction: Way = "forward"
    seed: int


class InitSpec(Network):
    """A language model with random weights."""

    direction: Way = "forward"
    seed: int


class LmSettings(Network, Optimisation):
    """`lm = {...}`: the network, how it is pretrained, and how much text it is scored on."""

    held_out_bytes: int = Field(default=200_000, gt=0)


class TuneSettings(Optimisation):
    """`tune = {...}`: adaptation to the task's unlabelled training texts; all layers at once, smaller rates below."""

    epochs: int | None = Field(default=None, ge=0)  # type: ignore[assignment]
    """0: none. Default: 8, and none where the weights are random."""
    lr: float = Field(default=4e-3, gt=0)
    drop_mult: float = Field(default=0.5, ge=0)
    batch_size: int = Field(default=32, ge=1)
    min_steps: int = Field(default=100, ge=0)
    """At least so many steps, by more epochs where the texts are few."""
    rate_factor: float = Field(default=1.3, ge=1)
    """Each layer's rate is the rate of the layer above over this."""
    subword_sampling: float = added_later(0.0, neutral=0.0, ge=0, le=1)
    """Over 0: every epoch cuts the training texts anew (lowres.tokenizers.sampling), with this alpha. Unigram: the
    smaller, the more random. BPE: the probability that a merge is left out."""


class TuneSpec(TuneSettings):
    """What `ulmfit.tune_lm` does; reads only training texts."""

    epochs: int = Field(ge=1)  # type: ignore[assignment]
    seed: int


class ClassifierSettings(Spec):
    """`classifier = {...}`: [last, max, mean] pooling, 50 units, softmax (sigmoids for sets of labels); one cycle for
    each group that is unfrozen.
    """

    direction: Literal["forward", "backward", "both"] = "forward"
    """Which language models are used; "both" averages the probabilities of two classifiers."""
    unfreezing: Literal["layered", "all", "chain-thaw"] = "all"
    """layered: first the head, then one more layer a cycle, at last everything. all: everything from the start.
    chain-thaw: the head, then each layer alone from the embedding up, at last everything (Felbo et al. 2017)."""
    epochs: int = Field(default=1, ge=1)
    """Of each cycle but the last."""
    last_epochs: int = Field(default=4, ge=1)
    """Of the last cycle, with everything unfrozen."""
    min_steps: int = Field(default=80, ge=0)
    """A cycle has at least so many steps, the last one four times as many, by more epochs where labels are few."""
    lr: float = Field(default=1e-2, gt=0)
    """Highest rate of the head in the first cycle; halved in each further one of a layered training."""
    rate_factor: float = Field(default=1.3, ge=1)
    """Each layer's rate is the rate of the layer above over this. Howard and Ruder 2018 take 2.6, for language models
    of a hundred times the text; docs/results/ulmfit.md has what was tried."""
    batch_size: int = Field(default=32, ge=2)
    weight_decay: float = Field(default=0.1, ge=0)
    drop_mult: float = Field(default=0.3, ge=0)
    """Times AWD-LSTM's classifier dropouts: output .4, hidden .3, input .4, embedding .05, weight .5."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    balance: float = Field(default=0.0, ge=0, le=1)
    """Weight of a label in the loss: its count to the power -balance; of sets of labels, of a label that is there:
    (texts without it / texts with it) to the power balance. 0: every text counts the same."""
    moms: tuple[float, float, float] = (0.8, 0.7, 0.8)
    clip: float = Field(default=1.0, gt=0)
    bptt: int = Field(default=72, ge=2)
    """Tokens through which gradients flow; longer texts are read in such pieces."""
    max_len: int = Field(default=1440, ge=1)
    """Last tokens of a text that are pooled."""
    early_stopping: int = added_later(0, neutral=0, ge=0)
    """In the last cycle: epochs without a better loss on dev after which training ends, with the best epoch's weights.
    0: all epochs."""
    calibration: Literal["none", "temperature"] = added_later("none", neutral="none")
    """temperature: log probabilities are divided by one number, fitted on the subset's dev labels (Guo et al. 2017).
    The most probable label stays the same."""
    subword_sampling: float = added_later(0.0, neutral=0.0, ge=0, le=1)
    """As in TuneSettings, for the labelled training texts; dev and test texts are never sampled."""


class ClassifierSpec(ClassifierSettings):
    """What `ulmfit.train_classifier` trains."""

    seed: int


class UlmfitMethod(MethodBlock):
    """`[methods.NAME]` with family = "ulmfit"."""

    family: Literal["ulmfit"]
    init: str = "pretrain"
    """"pretrain": from scratch on the recipe's corpus. "random": not trained. Else the path of a language model's
    folder (config.json, model.safetensors, tokenizer/), or of one with two such folders, forward/ and backward/."""
    tokens: Literal["subword", "word"] = "subword"
    """The recipe's `[tokenizer]`, or whole words (`segment`, `[words]`)."""
    lm: LmSettings = LmSettings()
    tune: TuneSettings = TuneSettings()
    classifier: ClassifierSettings = ClassifierSettings()

    @model_validator(mode="after")
    def _no_setting_is_idle(self) -> Self:
        if self.samples and self.tokens == "word":
            raise ValueError(f'{self.samples} is set and tokens is "word", which {CANNOT_DRAW}')
        if self.init in ("pretrain", "random"):
            return self
        idle = self.lm.model_fields_set - {"held_out_bytes"}
        if idle:
            raise ValueError(f"lm.{sorted(idle)[0]} has no effect where init is a folder; its config.json decides")
        if self.tokens == "word":
            raise ValueError("tokens has no effect where init is a folder; the tokenizer in it decides")
        return self

    @property
    def samples(self) -> str | None:
        """The setting that asks for subword sampling, if one does."""
        asked = {"tune": self.tune.subword_sampling, "classifier": self.classifier.subword_sampling}
        return next((f"{table}.subword_sampling" for table, alpha in asked.items() if alpha), None)


_ROOM = "lowres.families.ulmfit.stages"
PRETRAIN_LM = Stage("ulmfit.pretrain_lm", 1, "ulmfit", f"{_ROOM}:pretrain_lm", PretrainSpec)
INIT_LM = Stage("ulmfit.init_lm", 1, "ulmfit", f"{_ROOM}:init_lm", InitSpec)
READ_LM = Stage("ulmfit.read_lm", 1, "ulmfit", f"{_ROOM}:read_lm_folder", ReadSpec)
EVALUATE_LM = Stage("ulmfit.evaluate_lm", 1, "ulmfit", f"{_ROOM}:evaluate_lm", EvaluateSpec)
TUNE_LM = Stage("ulmfit.tune_lm", 1, "ulmfit", f"{_ROOM}:tune_lm", TuneSpec)
TRAIN_CLASSIFIER = Stage("ulmfit.train_classifier", 2, "ulmfit", f"{_ROOM}:train_classifier", ClassifierSpec)
PREDICT = Stage("ulmfit.predict", 2, "ulmfit", f"{_ROOM}:predict", PredictSpec)

DEFAULT_TUNE_EPOCHS = 8


def language_model(method: UlmfitMethod, shared: Shared) -> LanguageModel:
    """The nodes of a method's language model; of two, the forward one. RecipeError where the recipe lacks a corpus."""
    weights = _weights(method, shared, _ways(method)[0])
    if method.init == "random" or shared.corpus is None:
        return LanguageModel(weights, None)
    spec = EvaluateSpec(held_out_bytes=method.lm.held_out_bytes)
    return LanguageModel(weights, Node(EVALUATE_LM, spec, {"lm": weights, "corpus": shared.corpus}))


def classifier(method: UlmfitMethod, shared: Shared, task: Node, subset: Node, seed: int) -> Node:
    """The node of a trained classifier; its inputs are `task`, `subset` and `lm_forward`, `lm_backward` or both."""
    default = 0 if method.init == "random" else DEFAULT_TUNE_EPOCHS
    epochs = default if method.tune.epochs is None else method.tune.epochs
    inputs = {"task": task, "subset": subset}
    for way in _ways(method):
        weights = _weights(method, shared, way)
        if epochs:
            spec = TuneSpec.model_validate(picked(method.tune, TuneSpec) | {"epochs": epochs, "seed": shared.lm_seed})
            texts = {"task": task} | ({"subset": subset} if shared.unlabelled == "subset" else {})
            weights = Node(TUNE_LM, spec, {"lm": weights} | texts)
        inputs[f"lm_{way}"] = weights
    return Node(TRAIN_CLASSIFIER, ClassifierSpec(**picked(method.classifier, ClassifierSpec), seed=seed), inputs)


def _ways(method: UlmfitMethod) -> tuple[Way, ...]:
    direction = method.classifier.direction
    return ("forward", "backward") if direction == "both" else (direction,)


def _weights(method: UlmfitMethod, shared: Shared, way: Way) -> Node:
    if method.init not in ("pretrain", "random"):
        folder = _folder_of(method, way)
        node = _read(folder)
        _check_sampling(method, folder)
        return node
    tokenizer = shared.words if method.tokens == "word" else shared.tokenizer
    if tokenizer is not None and method.init == "random":
        spec = InitSpec(**picked(method.lm, InitSpec), direction=way, seed=shared.lm_seed)
        return Node(INIT_LM, spec, {"tokenizer": tokenizer})
    if shared.corpus is None or tokenizer is None:
        raise RecipeError(f'init is "{method.init}" and the recipe has no corpus for its tokenizer; name a corpus')
    inputs = {"packed": packed(shared.corpus, tokenizer), "tokenizer": tokenizer}
    spec = PretrainSpec(**picked(method.lm, PretrainSpec), direction=way, seed=shared.lm_seed)
    return Node(PRETRAIN_LM, spec, inputs)


def _folder_of(method: UlmfitMethod, way: Way) -> Path:
    """The folder of one direction's model: `forward/` or `backward/` below `init`, where it holds these."""
    folder = Path(method.init)
    if is_package(folder):
        _unchanged(folder, _stamp(folder))
    if (folder / way).is_dir():
        return folder / way
    if method.classifier.direction == "both":
        raise RecipeError(
            f'{folder}: classifier.direction is "both" and there is no {way}/ in it; write "forward" or "backward", or '
            "name a folder with forward/ and backward/"
        )
    return folder


def _read(folder: Path) -> Node:
    """The request for the language model in `folder`."""
    needed = [folder / "config.json", folder / "model.safetensors", folder / "tokenizer" / "lowres_tokenizer.json"]
    for path in needed:
        if not path.is_file():
            raise RecipeError(f'{path}: no such file; init is "pretrain", "random" or the folder of a language model')
    return _request(folder, _stamp(folder))


def _check_sampling(method: UlmfitMethod, lm: Path) -> None:
    """Raises RecipeError where the tokenizer of the model in `lm` cannot draw what the method asks for."""
    kind = read_json(lm / "tokenizer" / "lowres_tokenizer.json")["kind"] if method.samples else "subword"
    if kind != "subword":
        raise RecipeError(f'{lm}: {method.samples} is set, and its tokenizer ("{kind}") {CANNOT_DRAW}')


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file below `folder` does, without reading it: every cell of a plan asks."""
    files = ((path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file())
    return tuple((str(path), state.st_size, state.st_mtime_ns) for path, state in files)


@lru_cache(maxsize=16)
def _unchanged(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> None:
    open_package(folder)


@lru_cache(maxsize=16)
def _request(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> Node:
    paths = [folder / "config.json", folder / "model.safetensors", *sorted((folder / "tokenizer").iterdir())]
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths if path.is_file()}
    return Node(READ_LM, ReadSpec(path=str(folder), files=files))


FAMILY = Family(
    name="ulmfit",
    method=UlmfitMethod,
    language_model=language_model,
    classifier=classifier,
    predict=PREDICT,
    loader="lowres.families.ulmfit.classify:load",
    kinds=("classification", "multi-label"),
    generator="lowres.families.ulmfit.generate:load",
    exporter="lowres.families.ulmfit.export:export_classifier",
    package_loader="lowres.families.ulmfit.inference:load",
    onnx_loader="lowres.families.ulmfit.onnx_inference:load",
    importer="lowres.families.ulmfit.foreign.convert:import_models",
)
