"""Samples of a corpus, and two corpora compared: by ids and digests, a batch of rows at a time.

Memory holds some 50 bytes a document and one row group; the few texts that are shown are read again.
"""

import difflib
import hashlib
import heapq
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowres.artifacts import CORPUS_SPLITS, Corpus, Manifest
from lowres.corpus.spec import CorpusSpec
from lowres.errors import DataError

_ROWS = 256
_INDEX = np.dtype([("key", "i8"), ("text", "u8"), ("title", "u8"), ("bytes", "i8"), ("split", "i1"), ("row", "i8")])
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？।])(?= )")


@dataclass(frozen=True)
class Sample:
    """A document. bytes: of its UTF-8 text."""

    id: int
    split: str
    title: str
    bytes: int
    text: str


@dataclass(frozen=True)
class Named:
    """A document by its id and title."""

    id: int
    title: str


@dataclass(frozen=True)
class Group:
    """Documents that differ in one way: how many, their bytes (in A; of those only in B, in B), a few by name."""

    documents: int
    bytes: int
    samples: tuple[Named, ...]


@dataclass(frozen=True)
class Rewritten:
    """A document with another text in B. diff: lines of a unified diff, sentence by sentence."""

    id: int
    title: str
    diff: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """How corpus B differs from corpus A.

    by: "id", or "content" (title and text) where the one has ids of its source and the other has not. moved: by
    "split -> split". bytes_changed: of the changed documents, in A and in B. settings, funnel, documents, bytes: what
    differs between the manifests, (A, B) by key; None: not there.
    """

    by: Literal["id", "content"]
    equal: int
    only_a: Group
    only_b: Group
    changed: Group
    changed_bytes_b: int
    retitled: Group
    moved: dict[str, Group]
    rewritten: tuple[Rewritten, ...]
    settings: dict[str, tuple[Any, Any]]
    funnel: dict[str, tuple[int, int]]
    documents: dict[str, tuple[int, int]]
    bytes: dict[str, tuple[int, int]]


# --- reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def _table(corpus: Corpus, split: str) -> Iterator[pq.ParquetFile]:
    """One split, open. Raises DataError where the file is missing or damaged, or has other columns."""
    path: Path = corpus.path / f"{split}.parquet"
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, KeyError) as fault:
        line = " ".join(str(fault).split())
        raise DataError(f"{path}: it cannot be read as a table of a corpus ({line}); build it again") from None


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """All rows, by row groups: a batch that spans several would hold them all."""
    for group in range(file.metadata.num_row_groups):
        yield from file.iter_batches(_ROWS, [group], ["id", "title", "text", "bytes"], use_threads=False)


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _index(corpus: Corpus, by: Literal["id", "content"]) -> np.ndarray:
    """(n,) of _INDEX in the order of the keys; of documents with one key the first stays."""
    parts = [np.empty(0, _INDEX)]
    for place, split in enumerate(CORPUS_SPLITS):
        row = 0
        with _table(corpus, split) as file:
            for batch in _batches(file):
                part = np.empty(len(batch), _INDEX)
                titles, texts = (batch[name].cast(pa.binary()).to_pylist() for name in ("title", "text"))
                part["title"], part["text"] = [*map(_digest, titles)], [*map(_digest, texts)]
                part["bytes"], part["split"] = batch["bytes"].to_numpy(), place
                part["row"] = np.arange(row, row + len(batch))
                if by == "id":
                    part["key"] = batch["id"].to_numpy()
                else:
                    part["key"] = [_digest(b"\0".join(pair)) >> 1 for pair in zip(titles, texts, strict=True)]
                parts.append(part)
                row += len(batch)
    whole = np.concatenate(parts)
    return whole[np.unique(whole["key"], return_index=True)[1]]


def _drawn(keys: np.ndarray, count: int) -> np.ndarray:
    """Places of `count` keys, drawn by a hash of the key; not the one that splits are drawn by."""

    def draw(place: int) -> bytes:
        return hashlib.sha256(f"sample {keys[place]}".encode()).digest()

    return np.array(heapq.nsmallest(count, range(len(keys)), key=draw), dtype=np.int64)


def _read(corpus: Corpus, rows: Iterable[tuple[int, int]], text: bool) -> list[Sample]:
    """The documents at (split's place, row), in that order; their texts are left out unless `text`."""
    wanted = list(rows)
    found: dict[tuple[int, int], Sample] = {}
    columns = ["id", "title", "bytes", *(["text"] if text else [])]
    for place, split in enumerate(CORPUS_SPLITS):
        here = sorted({row for other, row in wanted if other == place})
        if not here:
            continue
        with _table(corpus, split) as file:
            start = 0
            for group in range(file.metadata.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                inside = [row for row in here if start <= row < end]
                if inside:
                    table = file.read_row_group(group, columns=columns, use_threads=False)
                    for row, content in zip(inside, table.take([r - start for r in inside]).to_pylist(), strict=True):
                        found[place, row] = Sample(**{"text": "", **content, "split": split})
                start = end
    return [found[row] for row in wanted]


def samples(corpus: Corpus, count: int, split: str | None = None) -> list[Sample]:
    """`count` documents, of one split or of all, drawn by a hash of the id: the same ones each time."""
    parts = [np.empty(0, _INDEX)]
    for place, name in enumerate(CORPUS_SPLITS):
        if split in (None, name):
            with _table(corpus, name) as file:
                ids = file.read(columns=["id"])["id"].to_numpy()
            part = np.zeros(len(ids), _INDEX)
            part["key"], part["split"], part["row"] = ids, place, np.arange(len(ids))
            parts.append(part)
    whole = np.concatenate(parts)
    return _read(corpus, _rows(whole[_drawn(whole["key"], count)]), text=True)


def _rows(index: np.ndarray) -> list[tuple[int, int]]:
    return [(int(split), int(row)) for split, row in zip(index["split"], index["row"], strict=True)]


# --- comparing -------------------------------------------------------------------------------------------------------


def difference(a: tuple[Corpus, Manifest], b: tuple[Corpus, Manifest], count: int) -> Difference:
    """How the second corpus differs from the first, with up to `count` documents of each kind by name."""
    (corpus_a, manifest_a), (corpus_b, manifest_b) = a, b
    numbered = {manifest.spec["format"] == "mediawiki" for manifest in (manifest_a, manifest_b)}
    by: Literal["id", "content"] = "id" if len(numbered) == 1 else "content"
    index_a, index_b = _index(corpus_a, by), _index(corpus_b, by)
    _, at_a, at_b = np.intersect1d(index_a["key"], index_b["key"], assume_unique=True, return_indices=True)
    both_a, both_b = index_a[at_a], index_b[at_b]
    changed = both_a["text"] != both_b["text"]
    retitled, moved = both_a["title"] != both_b["title"], both_a["split"] != both_b["split"]
    return Difference(
        by=by,
        equal=int(np.count_nonzero(~(changed | retitled | moved))),
        only_a=_group(corpus_a, np.delete(index_a, at_a), count),
        only_b=_group(corpus_b, np.delete(index_b, at_b), count),
        changed=_group(corpus_a, both_a[changed], count),
        changed_bytes_b=int(both_b["bytes"][changed].sum()),
        retitled=_group(corpus_a, both_a[retitled], count),
        moved=_moved(corpus_a, both_a[moved], both_b[moved], count),
        rewritten=_rewritten(corpus_a, corpus_b, both_a[changed], both_b[changed], count),
        settings=_differing(_settings(manifest_a), _settings(manifest_b), None),
        funnel=_differing(_funnel(manifest_a), _funnel(manifest_b), 0),
        documents=_differing(_by_split(manifest_a, "documents"), _by_split(manifest_b, "documents"), 0),
        bytes=_differing(_by_split(manifest_a, "bytes"), _by_split(manifest_b, "bytes"), 0),
    )


def _group(corpus: Corpus, index: np.ndarray, count: int) -> Group:
    few = _read(corpus, _rows(index[_drawn(index["key"], count)]), text=False)
    return Group(len(index), int(index["bytes"].sum()), tuple(Named(one.id, one.title) for one in few))


def _moved(corpus: Corpus, a: np.ndarray, b: np.ndarray, count: int) -> dict[str, Group]:
    found = {}
    for old, name in enumerate(CORPUS_SPLITS):
        for new, other in enumerate(CORPUS_SPLITS):
            these = a[(a["split"] == old) & (b["split"] == new)]
            if len(these):
                found[f"{name} -> {other}"] = _group(corpus, these, count)
    return found


def _rewritten(corpus_a: Corpus, corpus_b: Corpus, a: np.ndarray, b: np.ndarray, count: int) -> tuple[Rewritten, ...]:
    few = _drawn(a["key"], count)
    pairs = zip(_read(corpus_a, _rows(a[few]), True), _read(corpus_b, _rows(b[few]), True), strict=True)
    return tuple(Rewritten(old.id, old.title, unified(old.text, new.text)) for old, new in pairs)


def unified(old: str, new: str) -> tuple[str, ...]:
    """A unified diff of two texts, a sentence a line: a paragraph is too long for one changed word to be seen."""
    return tuple(difflib.unified_diff(_sentences(old), _sentences(new), "A", "B", n=1, lineterm=""))


def _sentences(text: str) -> list[str]:
    return [sentence for line in text.split("\n") for sentence in _SENTENCE_END.split(line)]


def _settings(manifest: Manifest) -> dict[str, Any]:
    """The corpus's settings, those included that are younger than it, and the corpora that its filters learnt from."""
    spec = CorpusSpec.model_validate(manifest.spec).model_dump(mode="json")
    settings = _flat({**spec, "inputs": manifest.inputs, "build_corpus": {"version": manifest.version}})
    return {name: value for name, value in settings.items() if name != "filters.language.model"}  # a path: see sha256


def _flat(spec: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"filters.min_bytes": 100} of nested settings."""
    found: dict[str, Any] = {}
    for name, value in spec.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _funnel(manifest: Manifest) -> dict[str, int]:
    return {row["reason"]: row["pages"] for row in manifest.facts["funnel"]}


def _by_split(manifest: Manifest, fact: str) -> dict[str, int]:
    return {split: manifest.facts[fact][split] for split in CORPUS_SPLITS}


def _differing(a: dict[str, Any], b: dict[str, Any], missing: Any) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (a.get(name, missing), b.get(name, missing)) for name in {**a, **b}}  # in the order of A
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
