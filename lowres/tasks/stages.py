"""The stages of tasks: reading, drawing subsets, auditing leaks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lowres.artifacts import TASK_SPLITS, Corpus, Document, Run, Task, read_json, write_json
from lowres.errors import DataError
from lowres.tasks.audit import duplicates_between, duplicates_within, shared_passages
from lowres.tasks.read import RawFile, Row, read_rows
from lowres.tasks.spec import AuditSpec, SubsetSpec, TaskSpec
from lowres.tasks.splits import with_splits
from lowres.tasks.subsets import draw, label_counts, without_labels
from lowres.text.normalise import normalise

_EXAMPLES = 3
_ROWS_BETWEEN_PROGRESS = 2000


def read_task(inputs: Mapping[str, Path], spec: TaskSpec, run: Run) -> None:
    """Reads a task's files, carves what splits are missing, normalises and cuts: a Task artifact.

    Notes: counts (split -> label -> documents), documents (split -> labelled ones), without_labels (split -> those of
    them with an empty set), unlabelled, carved, empty_texts (split -> n), share_of_bytes_cut (of the normalised UTF-8
    text), texts_cut, bytes, duplicates_within (split -> n) and duplicates_between (pair -> n).
    Raises DataError where the files are not what the card says.
    """
    files = [
        RawFile(file.role, run.file(file.sha256), f"{spec.name} ({file.role}, {run.file(file.sha256).name})")
        for file in spec.files
    ]
    rows = with_splits(read_rows(files, spec.layout, spec.kind), spec.carving, spec.name, spec.kind)
    documents, cut_facts = _prepared(rows.rows, spec, run)
    labels = [*label_counts(documents, spec.kind)]
    _write_documents(run.out / "documents.parquet", documents)
    facts = {
        "name": spec.name,
        "kind": spec.kind,
        "language": spec.language,
        "labels": labels,
        "max_chars": spec.max_chars,
        "normalisation": spec.normalisation.model_dump(mode="json"),
    }
    write_json(run.out / "task.json", facts)
    by_split = {split: [document for document in documents if document.split == split] for split in TASK_SPLITS}
    run.note(
        labels=labels,
        counts={split: label_counts(by_split[split], spec.kind) for split in TASK_SPLITS},
        documents={split: sum(document.label is not None for document in by_split[split]) for split in TASK_SPLITS},
        without_labels={split: without_labels(by_split[split], spec.kind) for split in TASK_SPLITS},
        unlabelled=sum(document.label is None for document in documents),
        carved=list(rows.carved),
        empty_texts={split: sum(not document.text for document in by_split[split]) for split in TASK_SPLITS},
        duplicates_within=duplicates_within(documents),
        duplicates_between={pair: len(ids) for pair, ids in duplicates_between(documents).items()},
        **cut_facts,
    )


def _prepared(rows: Sequence[Row], spec: TaskSpec, run: Run) -> tuple[list[Document], dict[str, float | int]]:
    """Rows as documents, normalised and cut, and what the cut took."""
    documents = []
    whole_bytes = kept_bytes = texts_cut = 0
    for k, row in enumerate(rows, 1):
        whole = normalise(row.text, spec.normalisation)
        kept = whole[: spec.max_chars]
        whole_bytes += len(whole.encode("utf-8"))
        kept_bytes += len(kept.encode("utf-8"))
        texts_cut += len(kept) < len(whole)
        documents.append(Document(row.id, row.split, row.label, kept, row.group))
        if k % _ROWS_BETWEEN_PROGRESS == 0:
            run.progress(k, len(rows), "texts")
    run.progress(len(rows), len(rows), "texts")
    share = 1 - kept_bytes / whole_bytes if whole_bytes else 0.0
    return documents, {"share_of_bytes_cut": share, "texts_cut": texts_cut, "bytes": kept_bytes}


def _write_documents(path: Path, documents: Sequence[Document]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("id", "split", "label", "text", "group")
    columns = {name: pa.array([getattr(document, name) for document in documents], pa.string()) for name in names}
    pq.write_table(pa.table(columns), path)


def draw_subset(inputs: Mapping[str, Path], spec: SubsetSpec, run: Run) -> None:
    """Draws train and dev documents of `inputs["task"]`: a Subset artifact, in drawn order.

    It depends on the task alone, never on a method. Notes: labels_used, dev_used, counts (split -> label -> n).
    Raises DataError where train has fewer labels than are asked for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    task = Task(inputs["task"])
    train, dev = task.split("train"), task.split("dev")
    there, dev_there = (sum(document.label is not None for document in part) for part in (train, dev))
    size = there if spec.train_size == "full" else spec.train_size
    if size > there:
        raise DataError(
            f"{_name(task)}: train_size {size} is over its {there} labelled train texts; ask for {there} at most, or "
            'leave it to "full"'
        )
    drawn = draw(train, size, spec.subset, "train", task.kind)
    drawn_dev = draw(dev, min(size, dev_there) if spec.dev == "matched" else dev_there, spec.subset, "dev", task.kind)
    rows = [*drawn, *(replace(document, split="dev") for document in drawn_dev)]
    table = {"id": [document.id for document in rows], "split": [document.split for document in rows]}
    pq.write_table(pa.table(table), run.out / "subset.parquet")
    run.progress(1, 1, "draw")
    run.note(
        labels_used=len(drawn),
        dev_used=len(drawn_dev),
        counts={"train": label_counts(drawn, task.kind), "dev": label_counts(drawn_dev, task.kind)},
    )


def audit_leaks(inputs: Mapping[str, Path], spec: AuditSpec, run: Run) -> None:
    """Looks for leaks in `inputs["task"]`, and between it and the train split of `inputs["corpus"]` where there is one.

    Notes, each with count, of and up to 3 example ids: test_in_train, dev_in_train, test_in_dev (equal texts), and
    test_in_corpus, dev_in_corpus, train_in_corpus (a shared run of `spec.ngram` words; `of` counts the texts that are
    long enough to have one). All ids stand in `leaks.json`.
    """
    task = Task(inputs["task"])
    leaks = duplicates_between(task.documents)
    compared = {f"{split}_in_{other}": len(task.split(split)) for split, other in _pairs(leaks)}
    if "corpus" in inputs:
        corpus = Corpus(inputs["corpus"])
        total = _bytes(corpus)
        shared = shared_passages(
            task.documents,
            corpus.texts("train"),
            spec.ngram,
            lambda done: run.progress(min(done, total), total, "bytes"),
        )
        for split in TASK_SPLITS:
            names = {document.id for document in task.split(split)}
            leaks[f"{split}_in_corpus"] = [name for name in shared.ids if name in names]
            compared[f"{split}_in_corpus"] = len(shared.compared & names)
    write_json(run.out / "leaks.json", leaks)
    run.note(
        **{name: {"count": len(ids), "of": compared[name], "examples": ids[:_EXAMPLES]} for name, ids in leaks.items()},
        ngram=spec.ngram,
    )


def _pairs(leaks: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name.split("_in_")[0], name.split("_in_")[1]) for name in leaks]


def _bytes(corpus: Corpus) -> int:
    """UTF-8 bytes of the corpus's train split, from the table's own column."""
    import pyarrow.parquet as pq

    return sum(pq.read_table(corpus.path / "train.parquet", columns=["bytes"]).column("bytes").to_pylist())


def _name(task: Task) -> str:
    return str(read_json(task.path / "task.json")["name"])
