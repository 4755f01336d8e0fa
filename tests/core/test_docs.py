"""The documents say what the code says: keys, types and defaults; examples; stages, layers, files, exit codes."""

import re
import tomllib
import types
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lowres.artifacts import Stage
from lowres.cards import (
    Card,
    CardFile,
    Carving,
    CorpusCard,
    LanguageCard,
    Layout,
    TaskCard,
    TokenizerCard,
    TreebankCard,
)
from lowres.cli import options
from lowres.experiment.plan import LAST_STAGES
from lowres.families import NAMES, family
from lowres.prompts import Prompt
from lowres.recipe import Recipe, apply_override, build_recipe
from lowres.templates import Dates, Numbers, TemplateTable
from lowres.text.spec import SegmenterSettings

DOCS = Path(__file__).parents[2] / "docs"
CARDS = {
    "corpus": CorpusCard,
    "task": TaskCard,
    "treebank": TreebankCard,
    "tokenizer": TokenizerCard,
    "language": LanguageCard,
}
ROOMS_WITH_STAGES = ("text", "corpus", "tokenizers", "tasks", "metrics", *(f"families.{name}" for name in NAMES))
_PLAIN = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "any"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """Heading, without backticks -> what stands below it, up to the next heading."""
    parts = re.split(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return {heading.replace("`", ""): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def rows(body: str) -> dict[str, tuple[str, ...]]:
    """First cell, without backticks -> the other cells, of every row of the tables in `body`; headers left out."""
    lines = [line for line in body.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({first for first, *_ in cells}) == len(cells), "a key stands twice"
    return {first.strip("`"): tuple(rest) for first, *rest in cells}


# --- keys, types, defaults -------------------------------------------------------------------------------------------


def bounded(words: str, metadata: list[Any]) -> str:
    found = {
        name: getattr(rule, name) for rule in metadata for name in _BOUNDS if getattr(rule, name, None) is not None
    }
    return words + "".join(f" {_BOUNDS[name]} {bound:g}" for name, bound in found.items())


def type_words(annotation: Any) -> str:
    """How the tables call a type: `integer ≥ 1`, `"a" or "b"`, `list of text`, `[number, number]`, `table`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return bounded(type_words(inner[0]), [rule for info in inner[1:] for rule in getattr(info, "metadata", [info])])
    if origin is Literal:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(type_words(part) for part in inner if part is not type(None))
    if origin is tuple and inner[-1] is Ellipsis:
        return "list of " + ("tables" if type_words(inner[0]) == "table" else type_words(inner[0]))
    if origin is tuple:
        return f"[{', '.join(map(type_words, inner))}]"
    if origin is dict or isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return _PLAIN[annotation]


def default_of(info: FieldInfo) -> Any:
    """The default as TOML would hold it; the string "required" or "unset" where there is none."""
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return {} if value == type(value)() else value.model_dump(mode="json")
    return "unset" if value is None else list(value) if isinstance(value, tuple) else value


def fields_of(model: type[BaseModel]) -> dict[str, tuple[str, Any]]:
    """Key -> (type, default) of a model's own fields: of a card, those that not every card has just so."""
    found = {n: (bounded(type_words(i.annotation), i.metadata), default_of(i)) for n, i in model.model_fields.items()}
    if issubclass(model, Card) and model is not Card:
        every = fields_of(Card)
        return {name: field for name, field in found.items() if every.get(name) != field}
    return found


def written(cell: str) -> Any:
    return cell if cell in ("required", "unset") else tomllib.loads(f"value = {cell.strip('`')}")["value"]


def nested(model: type[BaseModel], prefix: str) -> list[tuple[str, type[BaseModel]]]:
    """(heading, model) of the tables inside a model."""
    found = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += [(prefix.format(name), kind), *nested(kind, prefix.format(name + ".{}"))]
    return found


RECIPE_TABLES = [("Top level", Recipe), *nested(Recipe, "[{}]")]
for _name in NAMES:
    _method = family(_name).method
    RECIPE_TABLES += [(f'family = "{_name}"', _method), *nested(_method, f"{_name}: {{}}")]
CARD_TABLES = [
    ("Every card of data", Card),
    ("Files", CardFile),
    ("Layout", Layout),
    ("Carving", Carving),
    ("Prompts", Prompt),
]
CARD_TABLES += [("Templates", TemplateTable), ("Numbers", Numbers), ("Dates", Dates)]
CARD_TABLES += [("Training a segmenter", SegmenterSettings)]
CARD_TABLES += [(f"{name.capitalize()} cards", card) for name, card in CARDS.items()]
TABLES = [("recipes.md", *table) for table in RECIPE_TABLES] + [("cards.md", *table) for table in CARD_TABLES]


@pytest.mark.parametrize(("document", "heading", "model"), TABLES, ids=[f"{d} {h}" for d, h, _ in TABLES])
def test_a_table_has_every_key_with_its_type_and_default(document, heading, model):
    there = rows(sections(text_of(document))[heading])
    said = {key: (kind.replace("`", ""), written(default)) for key, (kind, default, _) in there.items()}
    assert said == fields_of(model)
    assert all(meaning for _, _, meaning in there.values())


# --- examples --------------------------------------------------------------------------------------------------------


def examples(document: str) -> list[dict[str, Any]]:
    return [tomllib.loads(block) for block in re.findall(r"^```toml\n(.*?)^```", text_of(document), re.M | re.S)]


def test_every_recipe_in_the_documents_is_valid():
    whole = [content for content in examples("recipes.md") if "methods" in content and "name" in content]
    assert len(whole) == 1
    assert build_recipe(whole[0]).recipe.methods


def test_every_card_in_the_documents_is_valid_and_there_is_one_of_each_kind():
    found = examples("cards.md")
    for content in found:
        CARDS[content["card"]].model_validate(content)
    assert {content["card"] for content in found} == CARDS.keys()


@pytest.mark.parametrize("override", sorted(set(re.findall(r"--set ([a-z][^\s`]*=[^\s`]+)", text_of("recipes.md")))))
def test_every_override_in_the_documents_works(override, repository):
    content = tomllib.loads((repository / "recipes/quickstart.toml").read_text(encoding="utf-8"))
    apply_override(content, override)
    build_recipe(content)


# --- names -----------------------------------------------------------------------------------------------------------


def test_exit_codes():
    codes = {int(code) for code in rows(sections(text_of("recipes.md"))["Exit codes"])}
    assert codes == {0, options.EXIT_FAULT, options.EXIT_USAGE, options.EXIT_CELLS_FAILED, options.EXIT_STOPPED}


def test_the_stages_at_which_a_run_can_stop():
    assert tuple(rows(sections(text_of("recipes.md"))["Stopping early"])) == LAST_STAGES


def test_every_stage_is_in_the_design():
    stages = {
        value.name
        for room in ROOMS_WITH_STAGES
        for value in vars(import_module(f"lowres.{room}.spec")).values()
        if isinstance(value, Stage)
    }
    assert set(rows(sections(text_of("design.md"))["Stages"])) == stages


def test_the_layers_are_those_of_the_import_linter(repository):
    contracts = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in contracts["contracts"] if contract["type"] == "layers")
    assert "\n".join(layers).replace("lowres.", "") in text_of("design.md")


@pytest.mark.parametrize("document", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_file_that_is_named_is_there(document, repository):
    named = set(re.findall(r"`((?:lowres|tests|docs)/[\w./-]+\.\w+)`", text_of(document)))
    assert not [name for name in sorted(named) if not (repository / name).is_file()]
