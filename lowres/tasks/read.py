"""The rows of a labelled set from its raw files: CSV, TSV, JSON lines, Parquet, or parallel line files.

Encodings are strict and never guessed; a file that is not what its layout says is an error that names the place and the
mend. Compression (gzip, xz, bzip2) is told by a file's first bytes.
"""

import bz2
import codecs
import csv
import difflib
import gzip
import io
import json
import lzma
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowres.cards import Layout, TaskKind
from lowres.errors import DataError
from lowres.tasks.label_sets import label_of, plain

ROLES = ("train", "dev", "test", "all")
_PARTS = ("text", "label", "group", "id")
_PACKED = {b"\x1f\x8b": gzip.decompress, b"\xfd7zXZ\x00": lzma.decompress, b"BZh": bz2.decompress}
_MARKS = (("utf-8", codecs.BOM_UTF8), ("utf-16", codecs.BOM_UTF16_LE), ("utf-16", codecs.BOM_UTF16_BE))


@dataclass(frozen=True)
class RawFile:
    """A raw file: its role on the card, its path, and how errors call it."""

    role: str
    path: Path
    shown: str


@dataclass(frozen=True)
class Row:
    """One item as its file gives it. label and group are None where the file has none or they are blank."""

    id: str
    split: str
    text: str
    label: str | None
    group: str | None


def read_rows(files: Iterable[RawFile], layout: Layout, kind: TaskKind = "classification") -> list[Row]:
    """All rows of a task's files, in the order of the files; splits are the roles, "all" included.

    A row is called by its id column, or else by its split and place: `train-000017`, counted from 0.
    Raises DataError where a file is not as `layout` says, a label has no name, or an id repeats.
    """
    by_role = _grouped(list(files), layout)
    rows: list[Row] = []
    for split, parts in by_role.items():
        if layout.format == "lines":
            records = _lines(split, parts, layout)
        else:
            records = _records(parts["whole"], layout)
        shown = next(iter(parts.values())).shown
        for place, values in enumerate(records):
            where = f"{shown}: item {place + 1}"
            text, label = _text(values["text"], layout, where), label_of(values["label"], kind, layout, where)
            name = plain(values["id"]) or f"{split}-{place:06d}"
            rows.append(Row(name, split, text, label, plain(values["group"])))
    _check_ids(rows, layout)
    return rows


def read_bytes(file: RawFile) -> bytes:
    """The file's bytes, unpacked. Raises DataError where it is damaged or cut short."""
    data = file.path.read_bytes()
    for magic, unpack in _PACKED.items():
        if data.startswith(magic):
            try:
                return unpack(data)
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
                raise DataError(
                    f"{file.shown}: its compression is damaged or cut short ({error}); fetch it again"
                ) from error
    return data


def decoded(data: bytes, encoding: str, shown: str) -> str:
    """`data` as text without a byte-order mark. Raises DataError naming the byte that does not fit and the mend."""
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise DataError(f'{shown}: there is no encoding {encoding!r}; name one, e.g. encoding = "utf-8"') from error
    except UnicodeDecodeError as error:
        begins = [name for name, mark in _MARKS if data.startswith(mark)]
        meant = begins[0] if begins else "cp1252"
        hint = "it begins as that does" if begins else "if that is what it was saved as"
        raise DataError(
            f"{shown}: byte {error.start} (0x{data[error.start]:02x}) is not {encoding}; name the file's own encoding, "
            f'e.g. encoding = "{meant}" ({hint})'
        ) from error


def _grouped(files: list[RawFile], layout: Layout) -> dict[str, dict[str, RawFile]]:
    """Split -> part -> file; the part of a table is "whole". Raises DataError on roles that do not fit together."""
    grouped: dict[str, dict[str, RawFile]] = {}
    for file in files:
        split, _, part = file.role.partition(":")
        wanted = _PARTS if layout.format == "lines" else ("",)
        if split not in ROLES or part not in wanted:
            example = "train:text and train:label" if layout.format == "lines" else "train, dev, test or all"
            raise DataError(f"{file.shown}: role {file.role!r} does not fit format {layout.format!r}; use {example}")
        if (part or "whole") in grouped.setdefault(split, {}):
            raise DataError(f"{file.shown}: role {file.role!r} is given twice; one file a role")
        grouped[split][part or "whole"] = file
    if "all" in grouped and len(grouped) > 1:
        raise DataError(
            f"{files[0].shown}: role 'all' is carved into splits and stands alone; call it 'train' beside others"
        )
    if not grouped.keys() & {"train", "all"}:
        raise DataError(f"{files[0].shown if files else 'task'}: no file has role 'train' or 'all'; a task needs one")
    return grouped


def _text(value: Any, layout: Layout, where: str) -> str:
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: {layout.text} is {type(value).__name__}, not text; name another column")
    return value or ""


def _check_ids(rows: list[Row], layout: Layout) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise DataError(
                f"id {row.id!r} (column {layout.id!r}) stands in two rows; name a column without repeats, or none"
            )
        seen.add(row.id)


# --- line files ------------------------------------------------------------------------------------------------------


def _lines(split: str, parts: Mapping[str, RawFile], layout: Layout) -> Iterator[dict[str, Any]]:
    """The records of parallel files, one item a line."""
    if missing := {"text"} - parts.keys() | ({"label"} - parts.keys()):
        shown = next(iter(parts.values())).shown
        raise DataError(
            f"{shown}: no file has role '{split}:{min(missing)}'; line files come as {split}:text and {split}:label"
        )
    columns = {
        part: _split_lines(decoded(read_bytes(file), layout.encoding, file.shown)) for part, file in parts.items()
    }
    for part, lines in columns.items():
        if len(lines) != len(columns["text"]):
            raise DataError(
                f"{parts[part].shown}: {len(lines)} lines, but {parts['text'].shown} has {len(columns['text'])}; "
                "parallel files have one item a line"
            )
    for k in range(len(columns["text"])):
        yield {part: columns[part][k] if part in columns else None for part in _PARTS}


def _split_lines(text: str) -> list[str]:
    r"""Lines ended by \n or \r\n alone: str.splitlines also cuts at U+0085 and U+2028, which occur inside texts."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


# --- tables ----------------------------------------------------------------------------------------------------------


def _records(file: RawFile, layout: Layout) -> Iterator[dict[str, Any]]:
    """The records of a table under the names text, label, group and id. Raises DataError on a missing column."""
    label = None if layout.label_columns else layout.label
    wanted = {"text": layout.text, "label": label, "group": layout.group, "id": layout.id}
    every = (*wanted.values(), *layout.label_columns)
    for place, values in enumerate(_tables(file, layout)):
        # JSON lines may leave out a label or a group, and each line has keys of its own
        needed = every if layout.format != "jsonl" or place == 0 else (layout.text,)
        for column in needed:
            if column is not None and column not in values:
                raise DataError(_missing_column(file, column, list(values), layout.format, place))
        record = {name: values.get(column) if column else None for name, column in wanted.items()}
        if layout.label_columns:
            record["label"] = {column: values.get(column) for column in layout.label_columns}
        yield record


def _missing_column(file: RawFile, column: str, there: list[str], format: str, place: int) -> str:
    folded = {name.casefold(): name for name in there}
    near = difflib.get_close_matches(column.casefold(), folded, n=1, cutoff=0.5)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    where = f"line {place + 1}: no key" if format == "jsonl" else "no column"
    return f"{file.shown}: {where} {column!r}; there are {', '.join(map(repr, there))}{hint}"


def _tables(file: RawFile, layout: Layout) -> Iterator[dict[str, Any]]:
    """Each row of a table as column -> value."""
    if layout.format == "parquet":
        yield from _parquet(file)
        return
    text = decoded(read_bytes(file), layout.encoding, file.shown)
    yield from _json_lines(text, file) if layout.format == "jsonl" else _separated(text, file, layout)


def _parquet(file: RawFile) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(read_bytes(file)))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file.shown}: not a Parquet file ({error}); name its own format") from error
    for batch in table.to_batches(1024):
        yield from batch.to_pylist()


def _json_lines(text: str, file: RawFile) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_split_lines(text), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{file.shown}: line {number} is not JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(value, dict):
            raise DataError(f"{file.shown}: line {number} is not a JSON object; each line holds one item's keys")
        yield value


def _separated(text: str, file: RawFile, layout: Layout) -> Iterator[dict[str, Any]]:
    """CSV or TSV rows; quoted fields may hold line breaks. Raises DataError on a row of another width."""
    separator = "\t" if layout.format == "tsv" else ","
    quoting = csv.QUOTE_MINIMAL if layout.quoting == "minimal" else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting, strict=True)
    other = "none" if layout.quoting == "minimal" else "minimal"
    mend = f'check the separator, or set quoting = "{other}"'
    with _long_fields():
        header: list[str] | None = None
        while True:
            start = reader.line_num + 1
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise DataError(f"{file.shown}: line {start}: {error}; {mend}") from error
            if fields is None:
                return
            if header is None:
                header = fields
            elif fields and len(fields) != len(header):
                raise DataError(
                    f"{file.shown}: line {start} has {len(fields)} fields, the header has {len(header)}; {mend}"
                )
            elif fields:
                yield dict(zip(header, fields, strict=True))


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lets a CSV field be longer than Python's 131,072 characters while a file is read."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
