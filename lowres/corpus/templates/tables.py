"""The tables of inline templates: those that are shipped, a language card's, and the rules that come of them."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lowres.corpus.templates import numbers, words
from lowres.corpus.templates.arguments import Rule
from lowres.templates import Dates, Numbers, TemplateTable

_FOLDER = Path(__file__).parent
_ANY = "any"


@cache
def _shipped(name: str) -> TemplateTable:
    """The table of a language by ISO 639-3, or of `any`; empty where none is shipped."""
    path = _FOLDER / f"{name}.toml"
    if not (name.isalpha() and path.is_file()):
        return TemplateTable()
    return TemplateTable.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))["templates"])


def _merged(earlier: TemplateTable, later: TemplateTable) -> TemplateTable:
    """Both tables; what the later says of a name, a unit, numbers or dates counts."""
    return _table(
        earlier.names() | later.names(),
        units=earlier.units | later.units,
        numbers=later.numbers or earlier.numbers,
        dates=later.dates or earlier.dates,
    )


def _table(names: Mapping[str, tuple[str, str]], **more: Any) -> TemplateTable:
    """The table in which names have these rules; see `TemplateTable.names`."""
    content: dict[str, Any] = {"shows": {name: shown for name, (rule, shown) in names.items() if rule == "shows"}}
    for name, (rule, _) in names.items():
        if rule != "shows":
            content.setdefault(rule, []).append(name)
    return TemplateTable.model_validate({**content, **more})


@cache
def _default(language: str) -> TemplateTable:
    return _merged(_shipped(_ANY), _shipped(language))


def additions(language: str, table: TemplateTable) -> TemplateTable:
    """What of a card's `table` differs from what is shipped for the language: this is what a corpus is named by."""
    default = _default(language)
    known = default.names()
    nothing = ("drop", "")
    changed = {
        name: rule for name, rule in table.names().items() if rule != known.get(name, known.get(_star(name), nothing))
    }
    return _table(
        changed,
        units={code: unit for code, unit in table.units.items() if default.units.get(code) != unit},
        numbers=table.numbers if table.numbers != default.numbers else None,
        dates=table.dates if table.dates != default.dates else None,
    )


def rules_for(language: str, more: TemplateTable | None = None) -> Mapping[str, Rule]:
    """Name in lower case, with spaces for underscores -> rule: of any language, this one, and a card's `more`."""
    table = _default(language)
    return MappingProxyType(_rules(_merged(table, more) if more else table))


def _rules(table: TemplateTable) -> dict[str, Rule]:
    policy, dates = table.numbers or Numbers(), table.dates or Dates()
    made: dict[str, Rule] = {
        "number": numbers.number(policy),
        "convert": numbers.convert(policy, table.units),
        "date": numbers.date(dates, policy),
        "as_of": numbers.as_of(dates, policy),
        "value": numbers.value,
        "power": numbers.power,
        "fraction": numbers.fraction,
    }
    found: dict[str, Rule] = {}
    for name, (rule, shown) in table.names().items():
        found[name] = words.shows(shown) if rule == "shows" else made.get(rule) or getattr(words, rule)
    return found


_STAR = re.compile(r"[^/-]++[/-]")

TEMPLATES: Mapping[str, Rule] = rules_for(_ANY)
"""The rules that hold for every language."""


def rule_for(name: str, templates: Mapping[str, Rule]) -> Rule | None:
    """The rule of a template, by its name in lower case, or None where its text is left out."""
    return templates.get(name) or templates.get(_star(name))


def _star(name: str) -> str:
    """`lang-fr` -> `lang-*`: one rule for a template that each language has."""
    found = _STAR.match(name)
    return f"{found.group()}*" if found else ""
