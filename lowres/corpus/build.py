"""`build_corpus`: a raw dump or text file to three tables of documents.

The source is read once, in a stream. What may become a document goes to a scratch file, because three questions are
only answered at its end: how short is short, which 5-grams are common, and which templates mark disambiguation pages.
"""

import hashlib
import mmap
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowres.artifacts import CORPUS_SPLITS, Corpus, Run
from lowres.corpus.dump import Dump, Page, Source, read_jsonl
from lowres.corpus.filters import Disambiguation, Funnel, ShingleCounts, auto_min_bytes, table_bits
from lowres.corpus.language import foreign, identifier_for, sample, sample_of_corpus
from lowres.corpus.namespaces import MAIN, Namespaces
from lowres.corpus.near import Signatures, near_duplicate_groups
from lowres.corpus.spec import CorpusSpec, Splits
from lowres.corpus.wikitext import clean, plain_blocks
from lowres.errors import DataError
from lowres.text.normalise import normalise

SCHEMA = pa.schema(
    [("id", pa.int64()), ("title", pa.string()), ("text", pa.string()), ("bytes", pa.int64()), ("split", pa.string())]
)
_PAGES_A_REPORT = 64
_ROW_GROUP_BYTES = 1 << 24


def build_corpus(inputs: Mapping[str, Path], spec: CorpusSpec, run: Run) -> None:
    """Writes `{train,valid,test}.parquet` (see artifacts.Corpus) from the raw file `spec.source_sha256`.

    inputs: `against_<ISO 639-3>`, a corpus in another language, for each that the n-gram language filter learns from.

    Facts: funnel [{reason, pages, example_ids}], documents and bytes by split, source_pages, source_text_bytes,
    min_bytes. Memory holds some 300 bytes a document and the stub filter's table, at most 256 MiB.
    Raises DataError where the file is truncated, malformed or of another format, and where no document is left.
    """
    path = run.file(spec.source_sha256)
    funnel = Funnel()
    with _Scratch(run.work) as scratch:
        candidates = _read(path, spec, run, scratch, funnel)
        kept, min_bytes = _filter(candidates, spec, scratch, funnel)
        kept = _in_language(inputs, candidates, kept, spec, run, scratch, funnel)
        kept = _unlike(candidates, kept, spec, run, scratch, funnel)
        if not len(kept):
            raise _nothing_left(path, candidates.pages_read, funnel)
        splits = _split(candidates, kept, spec, funnel)
        facts = _write(run, candidates, splits, scratch)
    run.note(
        funnel=funnel.rows(),
        source_pages=candidates.pages_read,
        source_text_bytes=candidates.text_bytes_read,
        min_bytes=min_bytes,
        **facts,
    )


class _Scratch:
    """Files in the stage's work folder: titles and texts end to end, 5-grams, signatures. Removed at the end."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = tuple(folder / f"{name}.bin" for name in ("texts", "shingles", "signatures"))
        self.texts, self.shingles, self.signatures = (path.open("w+b") for path in self._paths)

    def __enter__(self) -> "_Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        for file, path in zip((self.texts, self.shingles, self.signatures), self._paths, strict=True):
            file.close()
            path.unlink(missing_ok=True)


@dataclass
class _Candidates:
    """What is known of each candidate, by its place in the source: ids, sizes in bytes, where its text is."""

    ids: array = field(default_factory=lambda: array("q"))
    sizes: array = field(default_factory=lambda: array("q"))
    title_sizes: array = field(default_factory=lambda: array("q"))
    offsets: array = field(default_factory=lambda: array("q"))
    shingles: array = field(default_factory=lambda: array("q"))
    disambiguation: list[bool] = field(default_factory=list)
    counts: ShingleCounts | None = None
    pages_read: int = 0
    text_bytes_read: int = 0


def _read(path: Path, spec: CorpusSpec, run: Run, scratch: _Scratch, funnel: Funnel) -> _Candidates:
    """Streams the source; pages that cannot be documents are counted, the others go to the scratch files."""
    found = _Candidates()
    seen: set[bytes] = set()
    disambiguation = Disambiguation(spec.language)
    with Source(path) as source:
        if spec.filters.stubs:
            found.counts = ShingleCounts(table_bits(source.size))
        for page, text in _texts(source, spec, disambiguation, funnel):
            found.pages_read += 1
            found.text_bytes_read += len(page.text.encode())
            if found.pages_read % _PAGES_A_REPORT == 0:
                run.progress(source.position() / 1e6, source.size / 1e6, "MB", f"{len(found.ids)} documents")
            if text is None:
                continue
            encoded = text.encode()
            digest = hashlib.blake2b(encoded, digest_size=16).digest()
            repeated = digest in seen
            seen.add(digest)
            if repeated and spec.filters.duplicates:
                funnel.leave_out("duplicate", page.id)
                continue
            # A text that stands four times over is a duplicate, not a stub: its 5-grams count once.
            places = found.counts.add(text) if found.counts and not repeated else np.zeros(0, dtype=np.uint32)
            scratch.shingles.write(places.tobytes())
            found.shingles.append(len(places))
            _keep(found, page, encoded, scratch)
            disambiguation.add(page.text if spec.format == "mediawiki" else "")
    run.progress(source.size / 1e6, source.size / 1e6, "MB", f"{len(found.ids)} documents")
    found.disambiguation = disambiguation.found()
    return found


def _keep(found: _Candidates, page: Page, encoded: bytes, scratch: _Scratch) -> None:
    title = page.title.encode()
    found.ids.append(page.id)
    found.sizes.append(len(encoded))
    found.title_sizes.append(len(title))
    found.offsets.append(scratch.texts.tell())
    scratch.texts.write(title)
    scratch.texts.write(encoded)


def _texts(
    source: Source, spec: CorpusSpec, disambiguation: Disambiguation, funnel: Funnel
) -> Iterator[tuple[Page, str | None]]:
    """Every page with its normalised text, or with None where it was counted in the funnel."""
    dump = Dump(source) if spec.format == "mediawiki" else None
    pages = dump or read_jsonl(source, spec.text_field, spec.title_field)
    namespaces: Namespaces | None = None
    for page in pages:
        if dump and namespaces is None:
            namespaces = dump.namespaces
        if namespaces is not None:
            disambiguation.learn(page, namespaces)
        reason = _no_article(page, disambiguation)
        if reason:
            funnel.leave_out(reason, page.id)
            yield page, None
            continue
        text = clean(page.text, namespaces, page.title) if namespaces is not None else plain_blocks(page.text)
        text = normalise(text, spec.normalisation)
        if not text:
            funnel.leave_out("empty", page.id)
        yield page, text or None


def _no_article(page: Page, disambiguation: Disambiguation) -> str | None:
    """Why a page needs no reading."""
    if page.ns != MAIN:
        return "other_namespace"
    if page.redirect is not None:
        return "redirect"
    return "disambiguation" if disambiguation.titled(page.title) else None


def _filter(found: _Candidates, spec: CorpusSpec, scratch: _Scratch, funnel: Funnel) -> tuple[np.ndarray, int]:
    """Places of the candidates that stay, in the source's order, and the least size that was asked of them."""
    articles = [size for size, other in zip(found.sizes, found.disambiguation, strict=True) if not other]
    wanted = spec.filters.min_bytes
    min_bytes = auto_min_bytes(articles) if wanted == "auto" else wanted
    kept: list[int] = []
    ids: set[int] = set()
    scratch.shingles.seek(0)
    for place, page_id in enumerate(found.ids):
        raw = scratch.shingles.read(4 * found.shingles[place])
        if found.disambiguation[place]:
            reason = "disambiguation"
        elif page_id in ids:
            reason = "duplicate"
        elif found.sizes[place] < min_bytes:
            reason = "too_short"
        elif found.counts and found.counts.share(np.frombuffer(raw, dtype=np.uint32)) > 0.5:
            reason = "stub"
        else:
            ids.add(page_id)
            kept.append(place)
            continue
        funnel.leave_out(reason, page_id)
    return np.array(kept, dtype=np.int64), min_bytes


def _in_language(
    inputs: Mapping[str, Path],
    found: _Candidates,
    kept: np.ndarray,
    spec: CorpusSpec,
    run: Run,
    scratch: _Scratch,
    funnel: Funnel,
) -> np.ndarray:
    """Those of `kept` that are not in another script or language."""
    settings = spec.filters.language
    if settings.script is None and settings.identifier is None:
        return kept
    samples = {role.removeprefix("against_"): sample_of_corpus(Corpus(path)) for role, path in inputs.items()}
    if samples:
        samples[spec.language] = sample(_texts_at(kept, found, scratch, run, "learning languages"), len(kept))
    identifier = identifier_for(settings, spec.language, samples)
    texts = _texts_at(kept, found, scratch, run, "telling languages")
    reasons = list(foreign(texts, spec.language, settings, identifier))
    for place, reason in zip(kept, reasons, strict=True):
        if reason is not None:
            funnel.leave_out(reason, found.ids[place])
    return kept[[reason is None for reason in reasons]]


def _unlike(
    found: _Candidates, kept: np.ndarray, spec: CorpusSpec, run: Run, scratch: _Scratch, funnel: Funnel
) -> np.ndarray:
    """Those of `kept` that are the smallest id of their group of near-duplicates, so no group has two splits."""
    if spec.filters.near_duplicates is None:
        return kept
    ids = np.array(found.ids)[kept]
    signatures = map(Signatures(), _texts_at(kept, found, scratch, run, "looking for near-duplicates"))
    groups = near_duplicate_groups(signatures, ids, spec.filters.near_duplicates, scratch.signatures)
    for page_id in ids[groups != ids]:
        funnel.leave_out("near_duplicate", int(page_id))
    return kept[groups == ids]


def _texts_at(places: np.ndarray, found: _Candidates, scratch: _Scratch, run: Run, note: str) -> Iterator[str]:
    """Texts of the candidates at `places`."""
    for done, place in enumerate(places):
        if done % _PAGES_A_REPORT == 0:
            run.progress(done, len(places), "documents", note)
        scratch.texts.seek(found.offsets[place] + found.title_sizes[place])
        yield scratch.texts.read(found.sizes[place]).decode()


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


def _write(run: Run, found: _Candidates, splits: dict[str, np.ndarray], scratch: _Scratch) -> dict[str, dict[str, int]]:
    """Writes the three tables. Returns documents and bytes by split."""
    scratch.texts.flush()
    total = sum(len(places) for places in splits.values())
    done = 0
    with mmap.mmap(scratch.texts.fileno(), 0, access=mmap.ACCESS_READ) as texts:
        for split in CORPUS_SPLITS:
            with pq.ParquetWriter(
                run.out / f"{split}.parquet",
                SCHEMA,
                compression="zstd",
            ) as writer:
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


def _table(places: np.ndarray, split: str, found: _Candidates, texts: mmap.mmap) -> pa.Table:
    rows = []
    for place in places:
        begin = found.offsets[place]
        middle = begin + found.title_sizes[place]
        size = found.sizes[place]
        title, text = texts[begin:middle].decode(), texts[middle : middle + size].decode()
        rows.append({"id": found.ids[place], "title": title, "text": text, "bytes": size, "split": split})
    return pa.Table.from_pylist(rows, schema=SCHEMA)
