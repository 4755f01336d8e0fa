"""`build_corpus`: a raw dump or text file to three tables of documents.

The source is read once, block by block (`lowres.corpus.blocks`). What may become a document stays in the blocks'
files, because three questions are only answered at the end: how short is short, which 5-grams are common, and which
templates mark disambiguation pages.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lowres.artifacts import Corpus, Run
from lowres.corpus.block_file import BlockFile
from lowres.corpus.blocks import extracted
from lowres.corpus.candidates import Candidates
from lowres.corpus.dump import Head, read_head
from lowres.corpus.extract import Extraction, SourceFile, Unaligned
from lowres.corpus.filters import REASONS, Disambiguation, Funnel, auto_min_bytes
from lowres.corpus.identify import foreign, identifier_for, sample_of_corpus, stride
from lowres.corpus.languages import same_language
from lowres.corpus.near import near_duplicate_groups
from lowres.corpus.spec import CorpusSpec, Splits
from lowres.corpus.stubs import table_bits
from lowres.corpus.wikitext import FORMULA
from lowres.errors import DataError

_DOCUMENTS_A_REPORT = 64


def build_corpus(inputs: Mapping[str, Path], spec: CorpusSpec, run: Run) -> None:
    """Writes `{train,valid,test}.parquet` (see artifacts.Corpus) from the raw files of `spec`.

    inputs: `against_<ISO 639-3>`, a corpus in another language, for each that the n-gram language filter learns from.

    Facts: funnel [{reason, pages, example_ids}], documents and bytes by split, source_pages, source_characters,
    min_bytes. Memory holds some 50 bytes a page that may become a document, and else what a block needs. `run.threads`
    processes read, clean and hash; their number changes nothing in what is written. What a killed build had finished
    stays in `run.work`, and the next one goes on behind it.
    Raises DataError where the file is truncated, malformed or of another format, and where no document is left.
    """
    job = _job(spec, run)
    if spec.filters.language.identifier in ("fasttext", "lingua"):  # one that cannot serve says so before the reading
        identifier_for(spec.filters.language, spec.language, {})
    funnel = Funnel()
    try:
        try:
            candidates = _read(job, spec, run, funnel, whole=False)
        except Unaligned:
            funnel = Funnel()
            candidates = _read(job, spec, run, funnel, whole=True)
        kept, min_bytes = _filter(candidates, spec, job.bits, funnel, run.threads)
        kept = _without(_foreign(candidates, kept, spec, inputs, run), "other_language", candidates, kept, funnel)
        kept = _without(_repeated(candidates, kept, spec, job.folder), "near_duplicate", candidates, kept, funnel)
        if not len(kept):
            raise _nothing_left(job.files[0].path, candidates.pages_read, funnel)
        splits = _split(candidates, kept, spec, funnel)
        from lowres.corpus.tables import write_tables  # pyarrow: 35 MB that need not be held while the source is read

        facts = write_tables(run, candidates, splits)
    except (DataError, OSError):  # a full disk gets its room back
        shutil.rmtree(job.folder, ignore_errors=True)
        raise
    shutil.rmtree(job.folder)
    run.note(
        funnel=funnel.rows(),
        source_pages=candidates.pages_read,
        source_characters=candidates.characters_read,
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
        language=spec.language,
        templates=spec.templates,
        formula=FORMULA if spec.markup.math == "placeholder" else "",
        bits=table_bits(sum(file.size for file in files)) if spec.filters.stubs else 0,
        script=spec.filters.language.script,
        signatures=spec.filters.near_duplicates is not None,
    )


def _read(job: Extraction, spec: CorpusSpec, run: Run, funnel: Funnel, whole: bool) -> Candidates:
    """Takes the blocks in order; pages that cannot be documents are counted, the others become candidates."""
    found, disambiguation = Candidates(), Disambiguation(spec.language)
    size = sum(file.size for file in job.files) / 1e6
    for block in extracted(job, run.threads, whole):
        pages = block.pages()
        reasons = _reasons(block, pages, disambiguation)
        for reason in np.unique(reasons[reasons > 0]):
            funnel.leave_out(REASONS[reason - 1], pages["id"][reasons == reason])
        found.add(block, pages["id"], reasons > 0, spec.filters.language.least_in_script)
        found.pages_read += len(pages)
        found.characters_read += int(pages["source_characters"].sum(dtype=np.int64))
        run.progress(block.position / 1e6, size, "MB", f"{len(found)} documents")
    found.close(disambiguation.names())
    return found


def _reasons(block: BlockFile, pages: np.ndarray, disambiguation: Disambiguation) -> np.ndarray:
    """(pages,) why each page of a block cannot be a document: as PAGE, and whose title tells of disambiguation."""
    reasons = pages["reason"].copy()
    for note in block.notes():
        disambiguation.learn(note.told)
        if disambiguation.titled(note.suffix):
            reasons[note.row] = REASONS.index("disambiguation") + 1
    return reasons


def _filter(found: Candidates, spec: CorpusSpec, bits: int, funnel: Funnel, threads: int) -> tuple[np.ndarray, int]:
    """Places of the candidates that stay, in the source's order, and the least size that was asked of them."""
    repeated = found.repeated & spec.filters.duplicates
    funnel.leave_out("duplicate", found.ids[repeated])
    articles = found.sizes[~repeated & ~found.disambiguation]
    wanted = spec.filters.min_bytes
    min_bytes = auto_min_bytes(articles) if wanted == "auto" else wanted
    # A text that stands four times over is a duplicate, not a stub: its 5-grams count once.
    stubs = found.stubs(~found.repeated, bits, threads) if bits else np.zeros(len(found), dtype=bool)
    reasons = {
        "disambiguation": found.disambiguation,
        "too_short": found.sizes < min_bytes,
        "stub": stubs,
        "other_script": ~found.fitting.astype(bool),
    }
    left = ~repeated
    kept = left & ~np.any(list(reasons.values()), axis=0)
    reasons["duplicate"] = again = _id_again(found.ids, kept) & ~found.disambiguation
    for reason in ("disambiguation", "duplicate", "too_short", "stub", "other_script"):
        here = left & reasons[reason]
        funnel.leave_out(reason, found.ids[here])
        left &= ~here
    return np.flatnonzero(kept & ~again), min_bytes


def _id_again(ids: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(n,) bool: whose id is that of an earlier candidate of those kept. ids: (n,); kept: (n,) bool."""
    places = np.flatnonzero(kept)
    order = places[np.argsort(ids[places], kind="stable")]  # so that the earliest of an id comes first
    if not len(order):
        return np.zeros(len(ids), dtype=bool)
    first = np.minimum(np.searchsorted(ids[order], ids), len(order) - 1)
    return (ids[order][first] == ids) & (order[first] < np.arange(len(ids)))


def _foreign(found: Candidates, kept: np.ndarray, spec: CorpusSpec, inputs: Mapping[str, Path], run: Run) -> np.ndarray:
    """(n,) bool: which of the candidates at `kept` an identifier finds to be in another language."""
    settings = spec.filters.language
    if settings.identifier is None or not len(kept):
        return np.zeros(len(kept), dtype=bool)
    samples = {role.removeprefix("against_"): sample_of_corpus(Corpus(path)) for role, path in inputs.items()}
    if samples:
        samples[spec.language] = found.texts(kept[:: stride(len(kept))])
    identifier = identifier_for(settings, spec.language, samples)
    gone = np.zeros(len(kept), dtype=bool)
    for start in range(0, len(kept), _DOCUMENTS_A_REPORT):
        run.progress(start, len(kept), "documents", "telling languages")
        several = found.texts(kept[start : start + _DOCUMENTS_A_REPORT])
        gone[start : start + len(several)] = foreign(several, spec.language, settings, identifier)
    return gone


def _repeated(found: Candidates, kept: np.ndarray, spec: CorpusSpec, folder: Path) -> np.ndarray:
    """(n,) bool: which of the candidates at `kept` are near-duplicates of one with a smaller id. folder: for scratch.

    One of each group stays, so no group stands in two splits.
    """
    if spec.filters.near_duplicates is None:
        return np.zeros(len(kept), dtype=bool)
    ids = found.ids[kept]
    with (folder / "signatures.bin").open("w+b") as scratch:
        groups = near_duplicate_groups(found.signatures(kept), ids, spec.filters.near_duplicates, scratch)
    return groups != ids


def _without(gone: np.ndarray, reason: str, found: Candidates, kept: np.ndarray, funnel: Funnel) -> np.ndarray:
    """`kept` without those that are gone, which the funnel counts."""
    funnel.leave_out(reason, found.ids[kept[gone]])
    return kept[~gone]


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


def _split(found: Candidates, kept: np.ndarray, spec: CorpusSpec, funnel: Funnel) -> dict[str, np.ndarray]:
    """Split -> places of its documents in order of id. The byte budget takes train documents by position."""
    positions = np.fromiter(map(position, found.ids[kept].tolist()), dtype=np.float64, count=len(kept))
    order = np.argsort(positions, kind="stable")
    by_hash = kept[order]
    test, valid = split_ends(positions[order], spec.splits)
    train = by_hash[valid:]
    if spec.max_bytes is not None:
        sizes = np.cumsum(found.sizes[train], dtype=np.int64)
        fitting = int(np.searchsorted(sizes, spec.max_bytes, side="right"))
        if not fitting:
            raise DataError(
                f"max_bytes is {spec.max_bytes}, and the first document drawn for train has {sizes[0]} bytes; raise it"
            )
        funnel.leave_out("over_budget", found.ids[train[fitting:]])
        train = train[:fitting]
    splits = {"train": train, "valid": by_hash[test:valid], "test": by_hash[:test]}
    return {split: places[np.argsort(found.ids[places], kind="stable")] for split, places in splits.items()}
