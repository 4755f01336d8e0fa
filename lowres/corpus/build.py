"""`build_corpus`: a raw dump or text file to three tables of documents.

The source is read once, block by block (`lowres.corpus.blocks`). What may become a document stays in the blocks'
files, because three questions are only answered at the end: how short is short, which 5-grams are common, and which
templates mark disambiguation pages.
"""

import hashlib
import shutil
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowres.artifacts import CORPUS_SPLITS, Run
from lowres.corpus.blocks import extracted
from lowres.corpus.dump import Head, read_head
from lowres.corpus.extract import BlockFile, Extraction, Row, SourceFile, Unaligned
from lowres.corpus.filters import Disambiguation, Funnel, ShingleCounts, auto_min_bytes, table_bits
from lowres.corpus.languages import same_language
from lowres.corpus.spec import CorpusSpec, Splits
from lowres.errors import DataError

SCHEMA = pa.schema(
    [("id", pa.int64()), ("title", pa.string()), ("text", pa.string()), ("bytes", pa.int64()), ("split", pa.string())]
)
_ROW_GROUP_BYTES = 1 << 24
_OPEN_BLOCKS = 8


def build_corpus(inputs: Mapping[str, Path], spec: CorpusSpec, run: Run) -> None:
    """Writes `{train,valid,test}.parquet` (see artifacts.Corpus) from the raw files of `spec`; no inputs.

    Facts: funnel [{reason, pages, example_ids}], documents and bytes by split, source_pages, source_text_bytes,
    min_bytes. Memory holds some 300 bytes a document and the stub filter's table, at most 256 MiB. `run.threads`
    processes read and clean; their number changes nothing in what is written. What a killed build had finished stays in
    `run.work`, and the next one goes on behind it.
    Raises DataError where the file is truncated, malformed or of another format, and where no document is left.
    """
    job = _job(spec, run)
    funnel = Funnel()
    try:
        try:
            candidates = _read(job, spec, run, funnel, whole=False)
        except Unaligned:
            funnel = Funnel()
            candidates = _read(job, spec, run, funnel, whole=True)
        kept, min_bytes = _filter(candidates, spec, funnel)
        if not len(kept):
            raise _nothing_left(job.files[0].path, candidates.pages_read, funnel)
        splits = _split(candidates, kept, spec, funnel)
        facts = _write(run, candidates, splits)
    except (DataError, OSError):  # a full disk gets its room back
        shutil.rmtree(job.folder, ignore_errors=True)
        raise
    shutil.rmtree(job.folder)
    run.note(
        funnel=funnel.rows(),
        source_pages=candidates.pages_read,
        source_text_bytes=candidates.text_bytes_read,
        min_bytes=min_bytes,
        **facts,
    )


def _job(spec: CorpusSpec, run: Run) -> Extraction:
    """What every block is read by."""
    files = []
    for path in map(run.file, spec.raw_files()):
        head = read_head(path) if spec.format == "mediawiki" else Head({}, "", "utf-8")
        if not same_language(head.language, spec.language):
            raise DataError(
                f"{path}: it is a dump of the wiki in {head.language!r}, and the corpus is declared as "
                f"{spec.language!r}; take that language's dump, or declare the language that it is in"
            )
        files.append(SourceFile(path=path, size=path.stat().st_size, names=head.names, encoding=head.encoding))
    return Extraction(
        files=tuple(files),
        folder=run.work / "blocks",
        format=spec.format,
        text_field=spec.text_field,
        title_field=spec.title_field,
        documents=spec.documents,
        allow_truncated=spec.allow_truncated,
        normalisation=spec.normalisation,
        bits=table_bits(sum(file.size for file in files)) if spec.filters.stubs else 0,
    )


@dataclass
class _Candidates:
    """What is known of each candidate, by its place in the source: ids, sizes in bytes, where its text is.

    block: which block it is in. offsets: where its title and text begin among the block's texts, in bytes. places_at,
    shingles: where its shingle places begin among the block's, and how many count.
    """

    ids: array = field(default_factory=lambda: array("q"))
    sizes: array = field(default_factory=lambda: array("q"))
    title_sizes: array = field(default_factory=lambda: array("q"))
    offsets: array = field(default_factory=lambda: array("q"))
    places_at: array = field(default_factory=lambda: array("q"))
    shingles: array = field(default_factory=lambda: array("q"))
    block: array = field(default_factory=lambda: array("q"))
    blocks: list[BlockFile] = field(default_factory=list)
    disambiguation: list[bool] = field(default_factory=list)
    counts: ShingleCounts | None = None
    pages_read: int = 0
    text_bytes_read: int = 0


def _read(job: Extraction, spec: CorpusSpec, run: Run, funnel: Funnel, whole: bool) -> _Candidates:
    """Takes the blocks in order; pages that cannot be documents are counted, the others become candidates."""
    found = _Candidates(counts=ShingleCounts(job.bits) if job.bits else None)
    seen: set[bytes] = set()
    disambiguation = Disambiguation(spec.language)
    size = sum(file.size for file in job.files) / 1e6
    for block in extracted(job, run.threads, whole):
        places, at, offset = block.places(), 0, 0
        found.blocks.append(block)
        for row in block.rows():
            found.pages_read += 1
            found.text_bytes_read += row.source_bytes
            disambiguation.learn(row.told)
            here = places[at : at + row.shingles]
            reason, repeated = _no_candidate(row, disambiguation, seen, spec)
            if reason:
                funnel.leave_out(reason, row.id)
            else:
                # A text that stands four times over is a duplicate, not a stub: its 5-grams count once.
                _keep(found, row, offset, at, 0 if repeated else row.shingles)
                disambiguation.add(row.templates)
                if found.counts and not repeated:
                    found.counts.add(here)
            at, offset = at + row.shingles, offset + row.title_size + row.size
        run.progress(block.position / 1e6, size, "MB", f"{len(found.ids)} documents")
    found.disambiguation = disambiguation.found()
    return found


def _no_candidate(
    row: Row, disambiguation: Disambiguation, seen: set[bytes], spec: CorpusSpec
) -> tuple[str | None, bool]:
    """Why a page cannot be a document, if it cannot; and whether its text was seen before."""
    if row.reason in ("other_namespace", "redirect", "truncated"):
        return row.reason, False
    if disambiguation.titled(row.suffix):
        return "disambiguation", False
    if row.reason:
        return row.reason, False
    digest = bytes.fromhex(row.digest)
    repeated = digest in seen
    seen.add(digest)
    return ("duplicate" if repeated and spec.filters.duplicates else None), repeated


def _keep(found: _Candidates, row: Row, offset: int, places_at: int, shingles: int) -> None:
    found.ids.append(row.id)
    found.sizes.append(row.size)
    found.title_sizes.append(row.title_size)
    found.offsets.append(offset)
    found.places_at.append(places_at)
    found.shingles.append(shingles)
    found.block.append(len(found.blocks) - 1)


def _places(found: _Candidates) -> Iterator[np.ndarray]:
    """The shingle places of each candidate in order."""
    held, places = -1, np.zeros(0, dtype=np.uint32)
    for block, start, count in zip(found.block, found.places_at, found.shingles, strict=True):
        if block != held:
            held, places = block, found.blocks[block].places()
        yield places[start : start + count]


def _filter(found: _Candidates, spec: CorpusSpec, funnel: Funnel) -> tuple[np.ndarray, int]:
    """Places of the candidates that stay, in the source's order, and the least size that was asked of them."""
    articles = [size for size, other in zip(found.sizes, found.disambiguation, strict=True) if not other]
    wanted = spec.filters.min_bytes
    min_bytes = auto_min_bytes(articles) if wanted == "auto" else wanted
    kept: list[int] = []
    ids: set[int] = set()
    for place, (page_id, places) in enumerate(zip(found.ids, _places(found), strict=True)):
        if found.disambiguation[place]:
            reason = "disambiguation"
        elif page_id in ids:
            reason = "duplicate"
        elif found.sizes[place] < min_bytes:
            reason = "too_short"
        elif found.counts and found.counts.share(places) > 0.5:
            reason = "stub"
        else:
            ids.add(page_id)
            kept.append(place)
            continue
        funnel.leave_out(reason, page_id)
    return np.array(kept, dtype=np.int64), min_bytes


def _nothing_left(path: Path, pages: int, funnel: Funnel) -> DataError:
    if not pages:
        return DataError(
            f"{path}: it holds no pages, so there is no corpus to build; fetch it again or give another file"
        )
    reason, count = funnel.largest()
    return DataError(
        f"{path}: no document is left of {pages} pages; the largest filter, {reason!r}, took {count}: "
        "loosen the corpus's filters or give another file"
    )


def position(document_id: int) -> float:
    """Where a document stands in [0, 1): the first 64 bits of SHA-256 of its id in decimal. Splits are ranges of it."""
    return int.from_bytes(hashlib.sha256(str(document_id).encode()).digest()[:8], "big") / 2**64


def split_ends(positions: np.ndarray, splits: Splits) -> tuple[int, int]:
    """How many of the documents, sorted by `position`, are test, and how many are test or valid.

    positions: (n,) ascending. Documents below `test` are test, those below `test + valid` are valid, the rest are
    train, so more documents never move one from split to split. Only where that leaves a split empty, and there are
    three documents or more, the next document by position fills it; with fewer than three, all are train.
    """
    count = len(positions)
    if count < 3:
        return 0, 0
    test = max(1, int(np.searchsorted(positions, splits.test)))
    valid = max(test + 1, int(np.searchsorted(positions, splits.test + splits.valid)))
    return min(test, count - 2), min(max(valid, 2), count - 1)


def _split(found: _Candidates, kept: np.ndarray, spec: CorpusSpec, funnel: Funnel) -> dict[str, np.ndarray]:
    """Split -> places of its documents in order of id. The byte budget takes train documents by position."""
    positions = np.array([position(found.ids[place]) for place in kept])
    order = np.argsort(positions, kind="stable")
    by_hash = kept[order]
    test, valid = split_ends(positions[order], spec.splits)
    train = by_hash[valid:]
    if spec.max_bytes is not None:
        sizes = np.cumsum([found.sizes[place] for place in train])
        fitting = int(np.searchsorted(sizes, spec.max_bytes, side="right"))
        if not fitting:
            raise DataError(
                f"max_bytes is {spec.max_bytes}, and the first document drawn for train has {sizes[0]} bytes; raise it"
            )
        for place in train[fitting:]:
            funnel.leave_out("over_budget", found.ids[place])
        train = train[:fitting]
    splits = {"train": train, "valid": by_hash[test:valid], "test": by_hash[:test]}
    ids = np.array(found.ids)
    return {split: places[np.argsort(ids[places], kind="stable")] for split, places in splits.items()}


def _write(run: Run, found: _Candidates, splits: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Writes the three tables. Returns documents and bytes by split."""
    total = sum(len(places) for places in splits.values())
    done = 0
    texts = _Texts(found)
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


def _row_groups(places: np.ndarray, found: _Candidates) -> Iterator[np.ndarray]:
    """Runs of places whose texts hold about 16 MiB."""
    start = size = 0
    for index, place in enumerate(places):
        size += found.sizes[place]
        if size >= _ROW_GROUP_BYTES:
            yield places[start : index + 1]
            start, size = index + 1, 0
    if start < len(places):
        yield places[start:]


class _Texts:
    """Titles and texts of candidates out of their blocks' files; the last few blocks are held."""

    def __init__(self, found: _Candidates):
        self._found = found
        self._held: dict[int, bytes] = {}

    def title_and_text(self, place: int) -> tuple[str, str]:
        found, number = self._found, self._found.block[place]
        texts = self._held.pop(number, None)
        if texts is None:
            texts = found.blocks[number].texts()
            if len(self._held) >= _OPEN_BLOCKS:
                del self._held[next(iter(self._held))]
        self._held[number] = texts
        begin = found.offsets[place]
        middle = begin + found.title_sizes[place]
        return texts[begin:middle].decode(), texts[middle : middle + found.sizes[place]].decode()


def _table(places: np.ndarray, split: str, found: _Candidates, texts: _Texts) -> pa.Table:
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
