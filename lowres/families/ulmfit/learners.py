"""The stages' trainings as fastai Learners in the caller's process, for notebooks.

    learn = lm_learner(texts, tokenizer, cell="qrnn", emb_size=256, n_hid=512)     # a new language model
    learn.lr_find()
    learn.fit_one_cycle(4, 6e-3)
    save_lm(learn, "models/vi")
    learn = lm_learner(task_texts, lm="models/vi")                                 # its tuning
    ...
    learn = classifier_learner("models/tuned", train, dev)                         # pairs (text, label)
    for phase in phases(learn):                                                    # as a recipe would, or by hand
        fit_phase(learn, phase)
    save_classifier(learn, "models/sentiment")                                     # for lowres.load_classifier

Batches, networks, losses and settings are those of the stages (stages.py): with equal data, settings, seed and threads
`fit_phase` over `phases(learn)` gives the stage's weights. Checkpoints and manifests are the stage's alone.
Like a stage, a Learner seeds torch's generator and sets how this process multiplies float32 matrices.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from fastai.callback.core import Callback
from fastai.callback.progress import ProgressCallback
from fastai.learner import Learner, Recorder
from fastai.text.learner import LMLearner, TextLearner

from lowres.artifacts import Corpus, PackedTokens, Subset, Task
from lowres.cards import TaskKind
from lowres.errors import DataError, RecipeError
from lowres.families.contract import Packing
from lowres.families.ulmfit.classify import save_direction, save_frame
from lowres.families.ulmfit.config import LmConfig, Shape, read_config
from lowres.families.ulmfit.export import export_classifier
from lowres.families.ulmfit.learning import Phase
from lowres.families.ulmfit.learning import fit_phase as fit_phase
from lowres.families.ulmfit.paths import choose
from lowres.families.ulmfit.saved import build_lm, parameter_count, read_lm, write_lm
from lowres.families.ulmfit.showing import show_labels, show_tokens
from lowres.families.ulmfit.spec import DEFAULT_TUNE_EPOCHS, ClassifierSpec, PretrainSpec, TuneSpec, Way
from lowres.families.ulmfit.stages import calibrate, prepare_classifier, prepare_lm, shape_of
from lowres.families.ulmfit.texts import Labelled, Pairs, labelled, lm_texts_of
from lowres.faults import validated
from lowres.packages import CARD, Kind, is_package, new_folder, open_package, write_manifest
from lowres.text.normalise import Normalisation
from lowres.tokenizers.base import Tokenizer, load_tokenizer
from lowres.training.classifier import TextPolicy


@dataclass(frozen=True)
class LmOrigin:
    """What a language model's Learner was made from: `learn.origin`."""

    config: LmConfig
    tokenizer: Tokenizer
    spec: PretrainSpec | TuneSpec
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class ClassifierOrigin:
    """What a classifier's Learner was made from: `learn.origin`. texts: prepared, with their labels and policy."""

    config: LmConfig
    tokenizer: Tokenizer
    spec: ClassifierSpec
    phases: tuple[Phase, ...]
    shape: Shape
    texts: Labelled


Origin = TypeVar("Origin", LmOrigin, ClassifierOrigin)


def lm_learner(
    texts: Sequence[str] | Corpus | PackedTokens | Path | str,
    tokenizer: Tokenizer | Path | str | None = None,
    valid: Sequence[str] | None = None,
    *,
    lm: Path | str | None = None,
    direction: Way | None = None,
    normalisation: Normalisation | None = None,
    seed: int = 0,
    device: str = "cpu",
    metrics: Any = None,
    cbs: Any = None,
    **settings: Any,
) -> LMLearner:
    """A Learner that trains a language model over the pieces of `tokenizer`, or tunes the one in the folder `lm`.

    texts: raw texts, which are normalised; or a corpus or packed tokens, or the folder of one (of `lowres corpus build`
    too). valid: raw texts to watch the loss by; else the corpus's valid split, or one text in ten. direction: which way
    a new model reads, "forward" if not said; of `lm` which of the two in the folder. settings: keys of a recipe's `lm`,
    with `lm` given those of its `tune`; `epochs` and `schedule` count in `phases` alone. Nothing is frozen.
    metrics see scores over the vocabulary, (batch, time, vocabulary), in validation.
    Raises RecipeError on a setting, DataError on data or a model that cannot be used.
    """
    if (lm is None) == (tokenizer is None):
        raise RecipeError("lm_learner: give a tokenizer, or lm, the folder of a language model, which has its own")
    torch.manual_seed(seed)
    if lm is None:
        wanted = {**settings, "direction": direction or "forward", "seed": seed}
        spec: PretrainSpec | TuneSpec = validated(PretrainSpec, wanted, "lm_learner")
        pieces = _tokenizer(tokenizer)
        config = LmConfig.of(spec, pieces, direction or "forward")
        model = build_lm(config, spec.drop_mult)
    else:
        spec = validated(TuneSpec, {"epochs": DEFAULT_TUNE_EPOCHS, **settings, "seed": seed}, "lm_learner with lm")
        model, config, pieces = read_lm(_lm_folder(lm, direction), spec.drop_mult)
    _early_stopping_is_a_callback(spec)
    prepared = lm_texts_of(texts, valid, pieces, normalisation or Normalisation(), spec)
    learn, phase = prepare_lm(model, prepared, spec, config, device)
    choose(config, device).use(model, learn.loss_func)  # type: ignore[arg-type]
    show_tokens(learn.dls, pieces, backward=config.direction == "backward")
    learn.add_cb(_Scores())
    return _for_notebooks(learn, LmOrigin(config, pieces, spec, (phase,)), metrics, cbs)


def classifier_learner(
    lm: Path | str,
    train: Pairs | Task,
    dev: Pairs | Subset | None = None,
    labels: Sequence[str] | None = None,
    *,
    kind: TaskKind | None = None,
    direction: Way | None = None,
    policy: TextPolicy | None = None,
    seed: int = 0,
    device: str = "cpu",
    metrics: Any = None,
    cbs: Any = None,
    **settings: Any,
) -> TextLearner:
    """A Learner for a classifier of one direction, from the language model in the folder `lm`.

    train, dev: pairs (text, label) of raw texts, prepared by `policy`, which is saved with the classifier (if not said:
    NFC, 4,000 characters); or a Task and a Subset of it (none: the whole train and dev splits), which bring labels and
    policy. Without dev the training texts are watched. labels: the order of the probabilities, sorted if not given.
    kind: "multi-label" where each pair's label is a list of labels; a Task brings its own.
    direction: which of two language models in the folder. settings: keys of a recipe's `classifier`; `epochs`,
    `last_epochs`, `min_steps`, `unfreezing` and `rate_factor` count in `phases` alone. Nothing is frozen.
    Raises RecipeError on a setting, DataError on data or a model that cannot be used.
    """
    folder = _lm_folder(lm, direction)
    wanted = {**settings, "direction": read_config(folder).direction, "seed": seed}
    spec = validated(ClassifierSpec, wanted, "classifier_learner")
    _early_stopping_is_a_callback(spec)
    texts = labelled(train, dev, labels, policy, kind)
    shape = shape_of(spec, texts.labels, texts.kind)
    torch.manual_seed(seed)
    learn, config, cycles = prepare_classifier(folder, shape, (texts.train, texts.dev), spec, device)
    choose(config, device).use(learn.model)  # type: ignore[arg-type]
    tokenizer = load_tokenizer(folder / "tokenizer")
    show_labels(learn.dls, tokenizer, texts.labels, texts.kind, backward=config.direction == "backward")
    origin = ClassifierOrigin(config, tokenizer, spec, tuple(cycles), shape, texts)
    return _for_notebooks(learn, origin, metrics, cbs)


def phases(learn: Learner) -> list[Phase]:
    """The fits that a recipe with the Learner's settings would do, each for `fit_phase`."""
    origin = _origin(learn, LmOrigin) or _origin(learn, ClassifierOrigin)
    return list((origin or _stranger("phases")).phases)


# --- saving ----------------------------------------------------------------------------------------------------------


def save_lm(learn: LMLearner | Sequence[LMLearner], folder: Path | str) -> Path:
    """Writes a language model, or a forward and a backward one, as a new folder for `init`, `lm` and load_generator.

    Raises DataError where the folder exists.
    """
    made = _made(learn, LmOrigin, "save_lm")
    with new_folder(Path(folder)) as building:
        for one, origin in made:
            own = building / origin.config.direction if len(made) > 1 else building
            own.mkdir(exist_ok=True)
            write_lm(own, one.model, origin.config, origin.tokenizer)
        _seal(building, "language-model", made)
    return Path(folder)


def save_classifier(learn: TextLearner | Sequence[TextLearner], folder: Path | str) -> Path:
    """Writes a classifier as a new folder for lowres.load_classifier and `lowres predict`.

    Of a forward and a backward Learner the probabilities are averaged. Raises DataError where the two do not belong
    together, or the folder exists.
    """
    made = _made(learn, ClassifierOrigin, "save_classifier")
    first = made[0][1]
    for _, other in made[1:]:
        same = (other.shape, other.texts.policy) == (first.shape, first.texts.policy)
        if not same or _ids(other, first) != _ids(first, first):
            raise DataError("save_classifier: the two differ in labels, settings, text policy or tokenizer")
    with new_folder(Path(folder)) as building, tempfile.TemporaryDirectory() as place:
        source = Path(place)
        for one, origin in made:
            save_direction(source, origin.config, one.model)
        save_frame(source, first.shape, first.tokenizer)
        first.texts.policy.write(source)
        if first.spec.calibration == "temperature":
            calibrate(source, first.shape, first.texts.dev)
        export_classifier(source, building, Packing())
        _seal(building, "classifier", made)
    return Path(folder)


def _ids(origin: ClassifierOrigin, other: ClassifierOrigin) -> list[list[int]]:
    """What the tokenizer of `origin` makes of some texts of `other`."""
    return origin.tokenizer.encode([document.text for document in other.texts.train[:100]])


def _made(learn: Any, kind: type[Origin], what: str) -> list[tuple[Any, Origin]]:
    """Learners with their origins. Raises DataError for those of another kind, and for two of one direction."""
    learners = [learn] if isinstance(learn, Learner) else list(learn)
    made = []
    for one in learners:
        origin = _origin(one, kind)
        made.append((one, _stranger(what) if origin is None else origin))
    ways = [origin.config.direction for _, origin in made]
    if len(set(ways)) != len(ways) or not ways:
        raise DataError(f"{what}: it takes one Learner, or a forward and a backward one; here are {ways}")
    return made


def _origin(learn: Any, kind: type[Origin]) -> Origin | None:
    origin = getattr(learn, "origin", None)
    return origin if isinstance(origin, kind) else None


def _stranger(what: str) -> Any:
    maker = {"save_lm": "lm_learner", "save_classifier": "classifier_learner"}.get(
        what, "lm_learner, classifier_learner"
    )
    raise DataError(f"{what}: it takes what {maker} made")


def _seal(folder: Path, kind: Kind, made: Sequence[tuple[Any, Any]]) -> None:
    """Adds the model card and the manifest of a package."""
    lines = [
        "---",
        "library_name: lowres",
        "tags: [ulmfit]",
        "---",
        "",
        f"# A {kind.replace('-', ' ')} from a notebook",
        "",
    ]
    lines += [f"- {o.config.architecture}, {parameter_count(one.model) / 1e6:.1f} M parameters" for one, o in made]
    lines += ["", "What it was trained on, how long, and under which licence, say here before you pass it on.", ""]
    (folder / CARD).write_text("\n".join(lines), encoding="utf-8")
    settings = {origin.config.direction: origin.spec.model_dump(mode="json") for _, origin in made}
    write_manifest(folder, kind, "ulmfit", {"notebook": settings})


# --- what a Learner is made of ---------------------------------------------------------------------------------------


class _Passes(Callback):
    """Lets each pass read the texts in an order of its own, as in a stage; a search for a rate leaves no trace."""

    def __init__(self):
        self.passes = 0
        self._generators: list[torch.Tensor] = []
        self._scale: tuple[float, int] | None = None

    def _searching(self) -> bool:
        return hasattr(self.learn, "lr_finder")

    def before_fit(self):
        """Notes the generators' states, and a float16 training's scale, before a search."""
        scaling = getattr(self.learn, "loss_scale", None)
        if self._searching():
            self._scale = (scaling.scale, scaling.good_steps) if scaling else None
            cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
            self._generators = [torch.get_rng_state(), *cuda]

    def before_train(self):
        """Turns to the order of this pass."""
        self.learn.dls.train.begin_at(self.passes)  # type: ignore[union-attr]

    def after_train(self):
        """Counts the pass."""
        self.passes += not self._searching()

    def after_fit(self):
        """Puts them back after a search."""
        if self._scale:
            scaling: Any = self.learn.loss_scale  # type: ignore[union-attr]
            scaling.scale, scaling.good_steps = self._scale
            self._scale = None
        if self._generators:
            torch.set_rng_state(self._generators[0])
            if self._generators[1:]:
                torch.cuda.set_rng_state_all(self._generators[1:])
            self._generators = []


class _Scores(Callback):
    """Gives metrics the scores over the vocabulary: the loss reads hidden states and computes none."""

    run_train = False

    def after_loss(self):
        """In validation, where there are metrics."""
        learn: Any = self.learn
        if learn.metrics and not hasattr(learn, "gather_preds"):
            learn.pred = learn.model.decoder.scores(learn.pred)


def _for_notebooks(learn: Any, origin: LmOrigin | ClassifierOrigin, metrics: Any, cbs: Any) -> Any:
    learn.origin = origin
    learn.metrics = metrics
    return learn.add_cbs([_Passes(), Recorder(), ProgressCallback()]).add_cbs(cbs)


def _early_stopping_is_a_callback(spec: PretrainSpec | TuneSpec | ClassifierSpec) -> None:
    if spec.early_stopping:
        raise RecipeError(
            "early_stopping: a recipe's; to a Learner add fastai's EarlyStoppingCallback and SaveModelCallback"
        )


def _tokenizer(tokenizer: Tokenizer | Path | str | None) -> Tokenizer:
    if isinstance(tokenizer, Path | str):
        return load_tokenizer(Path(tokenizer))
    assert tokenizer is not None
    return tokenizer


def _lm_folder(lm: Path | str, direction: Way | None) -> Path:
    """The folder of one language model. Raises DataError where it holds another direction, or two and none is named."""
    folder = Path(lm)
    if is_package(folder):
        open_package(folder)
    if (folder / "forward").is_dir() or (folder / "backward").is_dir():
        if direction is None:
            raise DataError(f'{folder}: holds forward/ and backward/; say direction = "forward" or "backward"')
        folder = folder / direction
    found = read_config(folder).direction
    if direction not in (None, found):
        raise DataError(f"{folder}: a {found} language model, and direction is {direction!r}")
    return folder
