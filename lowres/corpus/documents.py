"""Documents that are plain text already: of JSON lines, of text files, of Parquet."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lowres.corpus.dump import Page
from lowres.errors import DataError

_BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")
_ROWS = 256


def document_id(title: str, text: str) -> int:
    """A 63-bit id for a document that has none: the first bits of SHA-256 over its title and text."""
    digest = hashlib.sha256(f"{title}\0{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def read_jsonl(
    lines: Iterable[bytes], path: Path, text_field: str, title_field: str, first_line: int = 1
) -> Iterator[Page]:
    """Documents of JSON lines as pages of namespace 0; blank lines are passed over.

    Raises DataError, with the line's number, where a line is not a JSON object, has no `text_field`, or its text or
    title is not a string. A missing title is the empty string.
    """
    for number, line in enumerate(lines, first_line):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as fault:
            raise DataError(f"{where} is not JSON ({fault}); each line must hold one JSON object") from None
        if not isinstance(record, dict):
            raise DataError(f"{where} holds a {type(record).__name__}; each line must hold one JSON object")
        if text_field not in record:
            fields = ", ".join(sorted(record)) or "none"
            raise DataError(f"{where} has no field {text_field!r} (it has: {fields}); set text_field")
        text, title = record[text_field], record.get(title_field) or ""
        if not isinstance(text, str) or not isinstance(title, str):
            raise DataError(f"{where}: {text_field!r} and {title_field!r} must be strings")
        yield _document(_encodable(title), _encodable(text))


def _document(title: str, text: str) -> Page:
    return Page(document_id(title, text), 0, title, None, text)


def _encodable(text: str) -> str:
    """`text` with lone surrogates, which JSON can spell and UTF-8 cannot, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_text(data: bytes, path: Path, whole: bool, first_line: int = 1) -> Iterator[Page]:
    """Documents of plain text, without titles, as pages of namespace 0. whole: the text is one document.

    Else a blank line ends a document. Raises DataError, with the line's number, where the text is not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig" if first_line == 1 else "utf-8")
    except UnicodeDecodeError as fault:
        line = first_line + data[: fault.start].count(b"\n")
        raise DataError(f"{path}: line {line} is not UTF-8; save the file as UTF-8 or UTF-16") from None
    for document in [text] if whole else _BLANK_LINES.split(text):
        if document.strip():
            yield _document("", document)


def parquet_groups(path: Path, columns: tuple[str, str]) -> list[int]:
    """Decompressed bytes of each row group of a Parquet file.

    Raises DataError where it is none, or where the first of `columns`, the text, is missing or not a string.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for name in columns:
                place = file.schema_arrow.get_field_index(name)
                if place < 0 and name == columns[0]:
                    fields = ", ".join(sorted(file.schema_arrow.names))
                    raise DataError(f"{path}: it has no column {name!r} (it has: {fields}); set text_field")
                kind = file.schema_arrow.field(place).type if place >= 0 else pa.string()
                if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    raise DataError(
                        f"{path}: the column {name!r} holds {kind}, not strings; set text_field, title_field"
                    )
            metadata = file.metadata
            return [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as fault:
        raise DataError(f"{path}: it cannot be read as Parquet ({fault}); fetch it again") from None


def read_parquet(path: Path, groups: Iterable[int], text_field: str, title_field: str) -> Iterator[Page]:
    """Documents of some row groups of a Parquet file as pages of namespace 0; a null is the empty string."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            wanted = [name for name in (text_field, title_field) if name in file.schema_arrow.names]
            for batch in file.iter_batches(_ROWS, row_groups=list(groups), columns=wanted, use_threads=False):
                for row in batch.to_pylist():
                    yield _document(row.get(title_field) or "", row[text_field] or "")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{path}: it cannot be read as Parquet ({fault}); fetch it again") from None
