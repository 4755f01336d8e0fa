"""What is asked of a plan: the trainings of a recipe's method, with the sizes of the model; no framework."""

from pathlib import Path
from typing import Any

from lowres.artifacts import read_json
from lowres.devices import Mesh
from lowres.errors import DataError, RecipeError
from lowres.families.contract import picked
from lowres.families.gptj.checkpoints.configuration import GPTJ_6B, config_of
from lowres.families.gptj.config import Config
from lowres.families.gptj.settings import AdaptSpec, Architecture, GptjMethod
from lowres.fingerprint import Spec
from lowres.tokenizers.definition import Definition, files_at
from lowres.tokenizers.spec import TokenizerSettings

GPT2_IDS = 50_258
"""GPT-2's pieces and the id that fills batches."""

SHAPES = {"gptj-6b": GPTJ_6B}
"""What --shape takes, beside a config.json."""


class Training(Spec):
    """One training as its step sees it."""

    name: str
    vocab_size: int
    sizes: Architecture
    spec: AdaptSpec
    """Epochs and seed have no effect."""

    @property
    def config(self) -> Config:
        """The model's sizes."""
        return Config.of(self.sizes, self.vocab_size)


class Asked(Spec):
    """What the program that compiles is given. tpu: the name of a slice; else gpu: bytes of one."""

    tpu: str | None = None
    gpu: int | None = None
    mesh: Mesh = Mesh()
    trainings: tuple[Training, ...]
    search: bool = True
    """Whether the nearest setting that fits is looked for."""


def trainings(method: GptjMethod, where: str, own: int | None, shape: Config | None, tasks: bool) -> list[Training]:
    """Those of a method, the same ones once. where: its key. own: ids of the recipe's tokenizer.

    Raises RecipeError where the model's sizes are not known, or nothing is trained by gradients on a mesh.
    """
    config = _sizes(method, where, own, shape)
    named = {"pretrain": method.lm} if method.init == "pretrain" else {}
    found = {name: _spec(settings) for name, settings in named.items()}
    if method.adapt is not None and method.adapt.embeddings_first:
        found["adapt, embeddings first"] = _spec(method.adapt, embeddings_only=True, lora=None)
    if method.adapt is not None and method.adapt.epochs:
        found["adapt"] = _spec(method.adapt)
    untrained = method.init == "random" and method.adapt is None
    if tasks and (0 if method.tune.epochs is None and untrained else method.tune.epochs) != 0:
        found["tune"] = _spec(method.tune)
    if not found:
        raise RecipeError(f"{where}: nothing to plan; it has neither pretraining nor adapt nor tune")
    names: dict[str, list[str]] = {}
    specs = {spec.model_dump_json(): spec for spec in found.values()}
    for name, spec in found.items():
        names.setdefault(spec.model_dump_json(), []).append(name)
    sizes = Architecture(**{name: getattr(config, name) for name in Architecture.model_fields})
    return [
        Training(name=" and ".join(said), vocab_size=config.vocab_size, sizes=sizes, spec=specs[key])
        for key, said in names.items()
    ]


def ids_of(settings: TokenizerSettings) -> int:
    """Ids of a recipe's tokenizer, trained or not. Raises DataError where the one that exists cannot be read."""
    if settings.kind != "hf":
        return settings.vocab_size
    file, _ = files_at(Path(str(settings.path)))
    return len(Definition(file.read_bytes(), str(file)).ids) + settings.new_pad


def _spec(settings: Spec, **changes: Any) -> AdaptSpec:
    chosen = {**picked(settings, AdaptSpec), "epochs": 1.0, "seed": 0, **changes}
    return AdaptSpec(**chosen)


def _sizes(method: GptjMethod, where: str, own: int | None, shape: Config | None) -> Config:
    """The sizes of what is trained."""
    folder = method.init not in ("pretrain", "random")
    if not folder:
        if shape is not None:
            raise RecipeError(f"--shape has no effect where {where}.init is {method.init!r}; set {where}.lm")
        ids = GPT2_IDS if method.tokenizer == "gpt2" else own
        if ids is None:
            raise RecipeError(f"{where}: the recipe has no corpus and so no tokenizer; name one")
        return Config.of(method.lm, ids)
    config = shape or _config_in(Path(method.init), where)
    if method.vocabulary == "keep":
        return config
    if own is None:
        raise RecipeError(
            f"{where}: the recipe has no corpus, whose tokenizer vocabulary = {method.vocabulary!r} takes"
        )
    return Config.of(config, -(-own // 128) * 128)


def _config_in(folder: Path, where: str) -> Config:
    """The sizes of a folder's model."""
    path = folder / "config.json"
    if not path.is_file():
        known = ", ".join(SHAPES)
        raise RecipeError(f"{where}.init: {path}: missing; say its sizes: --shape {known}, or a config.json")
    return config_at(path)


def config_at(path: Path) -> Config:
    """The sizes in a config.json. Raises DataError where it is none."""
    try:
        return config_of(read_json(path), str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no config.json of a GPT-J ({error})") from error


def shape_of(said: str) -> Config:
    """What --shape says: a name, or the path of a config.json."""
    if said in SHAPES:
        return SHAPES[said]
    if Path(said).is_file():
        return config_at(Path(said))
    raise DataError(f"--shape is {said!r}; it is {', '.join(SHAPES)}, or the path of a config.json")
