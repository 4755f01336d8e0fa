"""What a file says of a text's labels, as the string that tables hold: a label, or a set of them."""

from collections.abc import Mapping
from typing import Any

from lowres.cards import Layout, TaskKind
from lowres.errors import DataError
from lowres.labels import spelled_set

_FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def plain(value: Any) -> str | None:
    """A label, group or id as text: 1.0 is "1" (tables with gaps hold whole numbers so); blank and NaN are None."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def label_of(value: Any, kind: TaskKind, layout: Layout, where: str) -> str | None:
    """The label in a field, in a list, or in `layout.label_columns` (column -> value); None where none was given.

    A blank field of labels with a separator, an empty list and a row of 0 say that the text has no label: the empty
    set. A missing value (null), or a row of blanks, says that nobody labelled it. where: for errors, "file: item 3".
    Raises DataError where the field is not as `layout` says, or layout.names lacks a label.
    """
    if kind == "classification":
        if isinstance(value, list):
            raise DataError(f'{where}: {layout.label} holds a list; several labels a text are kind = "multi-label"')
        name = plain(value)
        return None if name is None else _named(name, layout, where)
    names = _names(value, layout, where)
    return None if names is None else spelled_set(_named(name, layout, where) for name in names)


def _named(name: str, layout: Layout, where: str) -> str:
    if not layout.names:
        return name
    if name not in layout.names:
        raise DataError(
            f"{where} has label {name!r}, which layout.names does not hold "
            f"({', '.join(sorted(layout.names))}); add it there"
        )
    return layout.names[name]


def _names(value: Any, layout: Layout, where: str) -> list[str] | None:
    if layout.label_columns:
        return _of_columns(value, where)
    if value is None or value != value:
        return None
    if layout.label_separator is not None:
        if isinstance(value, list):
            raise DataError(f"{where}: {layout.label} holds a list; leave out layout.label_separator")
        parts = (part.strip() for part in str(value).split(layout.label_separator))
        return [part for part in parts if part]
    if not isinstance(value, list):
        raise DataError(
            f"{where}: {layout.label} holds {value!r}, which is no list; set layout.label_separator if it is several "
            "labels in one field"
        )
    names = [plain(part) for part in value]
    if None in names:
        raise DataError(f"{where}: {layout.label} holds a list with a blank label; mend the file")
    return [name for name in names if name is not None]


def _of_columns(values: Mapping[str, Any], where: str) -> list[str] | None:
    found = {column: plain(value) for column, value in values.items()}
    if all(value is None for value in found.values()):
        return None
    for column, value in found.items():
        if value is None or value.lower() not in _FLAGS:
            said = "nothing" if value is None else repr(value)
            raise DataError(f"{where}: label column {column!r} holds {said}; it must hold 0 or 1")
    return [column for column, value in found.items() if _FLAGS[str(value).lower()]]
