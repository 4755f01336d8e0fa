"""The three tables of a corpus, written from the texts of its documents in row groups of about 16 MiB."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowres.artifacts import CORPUS_SPLITS, Run
from lowres.corpus.candidates import Candidates, Texts

SCHEMA = pa.schema(
    [("id", pa.int64()), ("title", pa.string()), ("text", pa.string()), ("bytes", pa.int64()), ("split", pa.string())]
)
_ROW_GROUP_BYTES = 1 << 24


def write_tables(run: Run, found: Candidates, splits: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Writes the three tables. Returns documents and bytes by split."""
    total = sum(len(places) for places in splits.values())
    done = 0
    texts = Texts(found)
    for split in CORPUS_SPLITS:
        with pq.ParquetWriter(run.out / f"{split}.parquet", SCHEMA, compression="zstd") as writer:
            for places in _row_groups(splits[split], found):
                writer.write_table(_table(places, split, found, texts))
                done += len(places)
                run.progress(done, total, "documents", f"writing {split}")
    sizes = np.array(found.sizes)
    return {
        "documents": {split: len(places) for split, places in splits.items()},
        "bytes": {split: int(sizes[places].sum()) for split, places in splits.items()},
    }


def _row_groups(places: np.ndarray, found: Candidates) -> Iterator[np.ndarray]:
    """Runs of places whose texts hold about 16 MiB."""
    start = size = 0
    for index, place in enumerate(places):
        size += found.sizes[place]
        if size >= _ROW_GROUP_BYTES:
            yield places[start : index + 1]
            start, size = index + 1, 0
    if start < len(places):
        yield places[start:]


def _table(places: np.ndarray, split: str, found: Candidates, texts: Texts) -> pa.Table:
    pairs = [texts.title_and_text(place) for place in places]
    columns = [
        [found.ids[place] for place in places],
        [title for title, _ in pairs],
        [text for _, text in pairs],
        [found.sizes[place] for place in places],
        [split] * len(places),
    ]
    return pa.Table.from_arrays(
        [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )
