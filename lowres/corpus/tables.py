"""The three tables of a corpus, written from the texts of its documents in row groups of about 2 MiB."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowres.artifacts import CORPUS_SPLITS, Run
from lowres.corpus.candidates import Candidates

SCHEMA = pa.schema(
    [("id", pa.int64()), ("title", pa.string()), ("text", pa.string()), ("bytes", pa.int64()), ("split", pa.string())]
)
_ROW_GROUP_BYTES = 1 << 21
_READ_AS_RANGES = ["id", "bytes", "split"]


def write_tables(run: Run, found: Candidates, splits: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Writes the three tables. Returns documents and bytes by split."""
    total, done = sum(len(places) for places in splits.values()), 0
    for split in CORPUS_SPLITS:
        with _Table(run.out / f"{split}.parquet") as table:
            for places in _row_groups(splits[split], found.sizes):
                table.write(_row_group(places, split, found))
                done += len(places)
                run.progress(done, total, "documents", f"writing {split}")
    return {
        "documents": {split: len(places) for split, places in splits.items()},
        "bytes": {split: int(found.sizes[places].sum()) for split, places in splits.items()},
    }


class _Table:
    """A Parquet file whose row groups are compressed in a thread, one while the caller makes the next."""

    def __init__(self, path: Path):
        # No dictionary of texts, which seldom repeat, and no least and greatest text.
        settings = {"compression": "zstd", "use_dictionary": ["split"], "write_statistics": _READ_AS_RANGES}
        self._writer = pq.ParquetWriter(path, SCHEMA, **settings)
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, *fault: object) -> None:
        try:
            if self._writing:
                self._writing.result()
        finally:
            self._thread.shutdown()
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        if self._writing:
            self._writing.result()
        self._writing = self._thread.submit(self._writer.write_table, table)


def _row_groups(places: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Runs of places whose texts hold about 2 MiB."""
    ends = np.cumsum(sizes[places], dtype=np.int64)
    start = 0
    while start < len(places):
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + _ROW_GROUP_BYTES)) + 1
        yield places[start:stop]
        start = stop


def _row_group(places: np.ndarray, split: str, found: Candidates) -> pa.Table:
    pairs = found.titles_and_texts(places)
    columns = [
        _integers(found.ids[places]),
        _strings([title for title, _ in pairs]),
        _strings([text for _, text in pairs]),
        _integers(found.sizes[places].astype(np.int64)),
        _strings([split.encode()] * len(places)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


# Columns are made by their buffers: no text becomes a str on the way, and pa.array() would import pandas, 50 MB.


def _integers(values: np.ndarray) -> pa.Array:
    """A column of (n,) int64."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _strings(encoded: Sequence[bytes]) -> pa.StringArray:
    """A column of UTF-8 texts."""
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64).astype(np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))
