"""Recipes: one TOML file a comparison. What methods share stands here; a `[methods.NAME]` block is its family's."""

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator

from lowres.cards import (
    CorpusCard,
    TaskCard,
    TreebankCard,
    check_language,
    find_file,
    read_card,
    read_toml,
    unpinned,
)
from lowres.corpus.spec import Filters, Markup, Splits
from lowres.devices import Devices, Mesh, Saving
from lowres.errors import DataError, RecipeError
from lowres.families import NAMES, family
from lowres.families.contract import MethodBlock
from lowres.families.presets import with_preset
from lowres.faults import faults, validated
from lowres.fingerprint import Spec
from lowres.text.normalise import Normalisation
from lowres.text.spec import Segmentation
from lowres.tokenizers.spec import CANNOT_DRAW, TokenizerSettings, Words, hf_tokenizer

_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*$")
TrainSize = Annotated[int, Field(ge=1)] | Literal["full"]


class Budget(Spec):
    """`[budget]`: equal for every method."""

    max_chars: int = Field(default=4000, gt=0)
    """Texts of tasks are cut to so many characters after normalisation."""
    unlabelled: Literal["subset", "train"] = "train"
    """Which task text a language model may read without labels: the subset's, or the whole train split's."""
    corpus_bytes: int | None = Field(default=None, gt=0)
    """UTF-8 bytes of corpus text to pretrain on, drawn by a hash of the document; unset: everything."""


class RunSettings(Spec):
    """`[run]`: how, never what; not hashed."""

    threads: int = Field(default=1, ge=1)
    """Threads of each worker; as many workers run side by side as fit the cores."""
    timeout_s: float | None = Field(default=None, gt=0)
    """A stage that takes longer is a failure of its cell."""
    keep: Literal["best", "all"] = "best"
    """Which trained classifiers stay on disk: the best of every method and task by dev score, or all."""
    device: Literal["cpu", "cuda", "tpu"] = "cpu"
    mesh: Mesh = Mesh()
    """How a GPT-J's training is spread over the devices of all hosts."""
    hosts: int = Field(default=1, ge=1)
    """Machines that run this command together, each with a store of its own."""
    checkpoints: Saving = Saving()
    """Of trainings on several devices."""

    @property
    def devices(self) -> Devices:
        """What of this a stage is told."""
        return Devices(mesh=self.mesh, hosts=self.hosts, checkpoints=self.checkpoints)


class Recipe(Spec):
    """A comparison. See the fields' own words; defaults are documented there."""

    name: str
    language: str
    """ISO 639-3."""
    corpus: str | None = None
    """A corpus card, by name or path; needed by methods that pretrain."""
    tasks: tuple[str, ...] = ()
    """Task cards. None: the corpus and the language models are built, and that is all."""
    train_sizes: tuple[TrainSize, ...] = ()
    """Labels a classifier may use; "full" is always there."""
    subsets: int = Field(default=1, ge=1)
    """Draws of labelled documents at every size but "full"."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Of the classifiers."""
    lm_seed: int = 0
    """Of the language models."""
    dev: Literal["matched", "all"] = "matched"
    """Dev labels a method may use: at most the train size, or all."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    segment: Segmentation | None = None
    """How words are told, for tokenizers of whole words and for fertility: "stanza" by `segmenter`; "whitespace"."""
    segmenter: str | None = None
    """A treebank card, on which one is trained, or the folder of a segmenter."""
    words: Words = Words()
    normalisation: Normalisation = Normalisation()
    markup: Markup = Markup()
    filters: Filters = Filters()
    splits: Splits = Splits()
    budget: Budget = Budget()
    run: RunSettings = RunSettings()
    methods: dict[str, Any] = Field(min_length=1)
    """Name -> the family's method block."""

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(f"{value!r} names a folder; use small letters, digits, '.', '_' and '-'")
        return value

    @field_validator("language")
    @classmethod
    def _language_is_known(cls, value: str) -> str:
        check_language(value)
        return value

    @field_validator("seeds", "train_sizes", "tasks")
    @classmethod
    def _no_repeats(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"{list(value)} names something twice")
        return value

    @property
    def sizes(self) -> tuple[int | Literal["full"], ...]:
        """The train sizes in rising order, "full" last."""
        return (*sorted(size for size in self.train_sizes if size != "full"), "full")


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with the cards it names. path is None for a recipe made in Python."""

    recipe: Recipe
    corpus: tuple[CorpusCard, Path] | None
    tasks: tuple[tuple[TaskCard, Path], ...]
    path: Path | None = None
    content: dict[str, Any] = field(default_factory=dict)
    """As TOML would hold it, overrides applied and presets replaced by their settings."""
    others: tuple[tuple[CorpusCard, Path], ...] = ()
    """Corpora in other languages that a filter learns from."""
    treebank: tuple[TreebankCard, Path] | None = None
    """What a segmenter is trained on; None where there is none, or where it is a folder."""

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name


def load_recipe(name: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> LoadedRecipe:
    """The recipe at a path or of a name, with `key=value` overrides. Raises RecipeError with all its faults at once."""
    path = find_file("recipes", str(name))
    content = read_toml(path)
    for override in overrides:
        apply_override(content, override)
    return build_recipe(content, str(path), path)


def build_recipe(content: dict[str, Any], where: str = "recipe", path: Path | None = None) -> LoadedRecipe:
    """A recipe from its TOML content. Raises RecipeError with all its faults at once."""
    found: list[str] = []
    content = _resolved(content, where, found)
    methods = _methods(content, where, found)
    recipe = None
    try:
        recipe = Recipe.model_validate({**content, "methods": methods or {"": None}})
    except ValidationError as error:
        found.extend(faults(Recipe, error, where))
    corpus = _corpus(content, where, found)
    tasks = _tasks(content, where, found)
    if recipe is not None:
        found.extend(_cross_faults(recipe, methods, where))
        found.extend(_tokenizer_faults(recipe, methods, where))
        found.extend(_kind_faults(methods, tasks, where))
    others = _others(recipe, where, found) if recipe is not None else ()
    treebank = _treebank(recipe, where, found) if recipe is not None else None
    if found or recipe is None:
        raise RecipeError(found)
    return LoadedRecipe(recipe, corpus, tuple(tasks), path, content, others, treebank)


def _resolved(content: dict[str, Any], where: str, found: list[str]) -> dict[str, Any]:
    """`content` with presets replaced by their settings. A block with a fault in its preset stays as it is."""
    blocks = content.get("methods")
    if not isinstance(blocks, dict):
        return content
    resolved = dict(blocks)
    for name, block in blocks.items():
        if isinstance(block, dict) and "preset" in block:
            try:
                resolved[name] = with_preset(block)
            except RecipeError as error:
                found.extend(f"{where}: methods.{name}.{fault}" for fault in error.faults)
    return {**content, "methods": resolved}


def _methods(content: dict[str, Any], where: str, found: list[str]) -> dict[str, MethodBlock]:
    blocks = content.get("methods")
    if not isinstance(blocks, dict) or not blocks:
        found.append(f"{where}: methods is missing; a recipe compares one [methods.NAME] block or more")
        return {}
    methods: dict[str, MethodBlock] = {}
    for name, block in blocks.items():
        key = f"methods.{name}"
        if not _NAME.match(name):
            found.append(f"{where}: {key}: use small letters, digits, '.', '_' and '-' in a method's name")
        if isinstance(block, dict) and "preset" in block:
            continue  # what is wrong with it is said
        if not isinstance(block, dict) or "family" not in block:
            found.append(f"{where}: {key}.family is missing; it is one of {', '.join(NAMES)}")
            continue
        if block["family"] not in NAMES:
            near = difflib.get_close_matches(str(block["family"]), NAMES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(NAMES)}"
            found.append(f"{where}: {key}.family is {block['family']!r}; {hint}")
            continue
        model = family(block["family"]).method
        try:
            methods[name] = model.model_validate(block)
        except ValidationError as error:
            found.extend(faults(model, error, where, f"{key}."))
    return methods


def _corpus(content: dict[str, Any], where: str, found: list[str]) -> tuple[CorpusCard, Path] | None:
    name = content.get("corpus")
    if not isinstance(name, str):
        return None
    try:
        card, path = read_card(name, CorpusCard)
    except RecipeError as error:
        found.extend(f"{where}: corpus: {fault}" for fault in error.faults)
        return None
    if card.language != content.get("language"):
        found.append(
            f"{where}: corpus {name} is in {card.language!r}, the recipe's language is {content.get('language')!r}"
        )
    found.extend(unpinned(card, path))
    return card, path


def _tasks(content: dict[str, Any], where: str, found: list[str]) -> list[tuple[TaskCard, Path]]:
    tasks = []
    names = content.get("tasks", [])
    for name in names if isinstance(names, list) else []:
        try:
            card, path = read_card(str(name), TaskCard)
        except RecipeError as error:
            found.extend(f"{where}: tasks: {fault}" for fault in error.faults)
            continue
        found.extend(unpinned(card, path))
        tasks.append((card, path))
    return tasks


def _others(recipe: Recipe, where: str, found: list[str]) -> tuple[tuple[CorpusCard, Path], ...]:
    """The corpora of `filters.language.against`, each in a language of its own that is not the recipe's."""
    others: dict[str, tuple[CorpusCard, Path]] = {}
    for name in recipe.filters.language.against:
        try:
            card, path = read_card(name, CorpusCard)
        except RecipeError as error:
            found.extend(f"{where}: filters.language.against: {fault}" for fault in error.faults)
            continue
        if card.language in (recipe.language, *recipe.filters.language.accept, *others):
            found.append(
                f"{where}: filters.language.against: {name} is in {card.language!r}; name one corpus for each language "
                "that is to be told from the recipe's"
            )
        found.extend(unpinned(card, path))
        others[card.language] = (card, path)
    return tuple(others.values())


def _treebank(recipe: Recipe, where: str, found: list[str]) -> tuple[TreebankCard, Path] | None:
    """The card of `segmenter`, unless that is a folder."""
    if (recipe.segment == "stanza") != (recipe.segmenter is not None):
        found.append(f'{where}: segment = "stanza" and segmenter (a treebank card, or a folder) go together')
    if recipe.segmenter is None or Path(recipe.segmenter).is_dir():
        return None
    try:
        card, path = read_card(recipe.segmenter, TreebankCard)
    except RecipeError as error:
        found.extend(f"{where}: segmenter: {fault}" for fault in error.faults)
        return None
    if card.language != recipe.language:
        found.append(f"{where}: segmenter {card.name} is in {card.language!r}, the recipe's is {recipe.language!r}")
    found.extend(unpinned(card, path))
    return card, path


def _cross_faults(recipe: Recipe, methods: dict[str, MethodBlock], where: str) -> list[str]:
    """What single fields cannot see."""
    found = []
    if recipe.corpus is None:
        for name, method in methods.items():
            init = getattr(method, "init", None)
            own = init == "random" and (recipe.tokenizer.kind == "hf" or getattr(method, "tokenizer", None) == "gpt2")
            if init in ("pretrain", "random") and not own:
                found.append(
                    f'{where}: methods.{name} needs a corpus (for its tokenizer); name one: corpus = "vi/mini"'
                )
    if recipe.segment is None:
        for name, method in methods.items():
            if getattr(method, "tokens", None) == "word":
                found.append(
                    f'{where}: methods.{name}.tokens is "word"; say how words are told: segment = "stanza" (with a '
                    'segmenter) or "whitespace"'
                )
    if not recipe.tasks and recipe.corpus is None:
        found.append(f"{where}: neither tasks nor a corpus; there is nothing to do")
    return found


def _kind_faults(methods: dict[str, MethodBlock], tasks: list[tuple[TaskCard, Path]], where: str) -> list[str]:
    """Of methods whose family has no classifier for a task's kind."""
    return [
        f"{where}: methods.{name}: the family {method.family} has no classifier for kind = {card.kind!r}, which "
        f"{card.name} is; leave out the method or the task"
        for name, method in methods.items()
        for card, _ in tasks
        if card.kind not in family(method.family).kinds
    ]


def _tokenizer_faults(recipe: Recipe, methods: dict[str, MethodBlock], where: str) -> list[str]:
    """Of a tokenizer that exists, and of methods that ask of it what it cannot do."""
    if recipe.tokenizer.kind != "hf":
        return []
    found = []
    try:
        hf_tokenizer(recipe.tokenizer)
    except (DataError, OSError) as error:
        found.append(f"{where}: tokenizer: {error}")
    for name, method in methods.items():
        samples = getattr(method, "samples", None)
        if samples and getattr(method, "init", None) in ("pretrain", "random"):
            found.append(f'{where}: methods.{name}.{samples} is set, and a tokenizer of kind "hf" {CANNOT_DRAW}')
    return found


Settings = TypeVar("Settings", bound=Spec)


def settings_of(model: type[Settings], overrides: Sequence[str]) -> Settings:
    """A settings table by itself, from `key=value` overrides. Raises RecipeError with all faults."""
    content: dict[str, Any] = {}
    for override in overrides:
        apply_override(content, override)
    return validated(model, content, "--set")


def apply_override(content: dict[str, Any], text: str) -> None:
    """Applies `a.b=value`; value is TOML, and a bare word is a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text}: write it as key=value, e.g. --set seeds=[0,1,2]")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    *folders, last = key.strip().split(".")
    target = content
    for folder in folders:
        target = target.setdefault(folder, {})
        if not isinstance(target, dict):
            raise RecipeError(f"--set {text}: {folder} is a value, it has no keys below it")
    target[last] = parsed
