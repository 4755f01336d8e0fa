"""Tables of what a comparison was made from and on: tasks, corpora, the machine."""

from lowres.artifacts import CORPUS_SPLITS
from lowres.experiment.records import CorpusRecord, TaskRecord
from lowres.report import format as fmt
from lowres.report.results import Results
from lowres.report.tables import Cell, Column, Table, number_columns, text_columns

_SPLIT_NAMES = {"train": "train", "dev": "dev", "test": "test", "corpus": "the language models' corpus"}


def task_table(results: Results) -> Table:
    """Every task: its documents by split, what was cut, what the audit found."""
    columns = (
        *text_columns("Task", "Language"),
        *number_columns("Labels", "Train", "Dev", "Test", "Bytes cut"),
        *text_columns("Found by the audit"),
    )
    rows = []
    for task in results.tasks:
        sizes = [documents_of(task, split) for split in ("train", "dev", "test")]
        found = "; ".join(audit_findings(task)) or "nothing"
        rows.append(
            (
                Cell(task.name),
                Cell(task.language),
                Cell(fmt.count(len(task.labels)), "" if task.kind == "classification" else task.kind),
                *(Cell(fmt.count(size)) for size in sizes),
                Cell(fmt.percent(task.share_of_bytes_cut)),
                Cell(found, tone="" if found == "nothing" else "warning"),
            )
        )
    return Table("Tasks", columns, tuple(rows), ("Bytes cut: share of the text over the length limit, equal for all.",))


def documents_of(task: TaskRecord, split: str) -> int:
    """Labelled documents of a split."""
    return task.documents.get(split, sum(task.counts.get(split, {}).values()))


def audit_findings(task: TaskRecord) -> list[str]:
    """What audit_leaks found, in words; an empty list where it found nothing."""
    found = []
    for name, fact in sorted(task.audit.items()):
        split, between, other = name.partition("_in_")
        if not (between and isinstance(fact, dict) and fact.get("count")):
            continue
        count, of = int(fact["count"]), int(fact.get("of") or 0)
        share = f" of {of:,} ({fmt.percent(count / of)})" if of else ""
        how = f"share a run of {task.audit.get('ngram', 'many')} words with" if other == "corpus" else "stand also in"
        found.append(f"{count:,}{share} {split} texts {how} {_SPLIT_NAMES.get(other, other)}")
    return found


def label_table(task: TaskRecord) -> Table:
    """Labels of one task with their documents in each split."""
    splits = [split for split in ("train", "dev", "test") if task.counts.get(split)]
    rows = tuple(
        (Cell(label), *(Cell(fmt.count(task.counts[split].get(label, 0))) for split in splits)) for label in task.labels
    )
    notes = [_sets_note(task, split) for split in splits] if task.kind == "multi-label" else []
    return Table(f"Labels of {task.name}", (Column("Label", numeric=False), *number_columns(*splits)), rows, (*notes,))


def _sets_note(task: TaskRecord, split: str) -> str:
    """How many labels the texts of a split have."""
    documents = documents_of(task, split)
    mean = fmt.number(sum(task.counts[split].values()) / max(documents, 1))
    without = task.without_labels.get(split, 0)
    return f"{split}: {fmt.count(documents)} texts, {mean} labels a text, {fmt.count(without)} texts without a label."


def corpus_table(corpus: CorpusRecord) -> Table:
    """One corpus: documents and bytes of its splits and the pages left out, each with its reason."""
    rows = []
    documents, sizes = (corpus.facts.get(name) or {} for name in ("documents", "bytes"))
    for split in (split for split in CORPUS_SPLITS if split in documents):
        size = sizes.get(split)
        rows.append((Cell(f"kept: {split}"), Cell(fmt.count(documents[split])), Cell(fmt.large(size, "B")), Cell("")))
    for step in corpus.facts.get("funnel") or ():
        if not step.get("pages"):
            continue
        examples = ", ".join(str(example) for example in step.get("example_ids", ())[:3])
        rows.append(
            (
                Cell(f"left out: {str(step.get('reason', '')).replace('_', ' ')}"),
                Cell(fmt.count(step.get("pages"))),
                Cell(""),
                Cell(examples),
            )
        )
    date, checksum = corpus.facts.get("date"), corpus.facts.get("source_sha256")
    notes = (f"Source of {date}, sha256 {str(checksum)[:12]}.",) if date and checksum else ()
    columns = (*text_columns("Pages"), *number_columns("Number", "Size"), *text_columns("For example (ids)"))
    return Table(f"From {corpus.name} ({corpus.language}) to text", columns, tuple(rows), notes)


def statements(results: Results) -> list[tuple[str, str, str]]:
    """(name, licence, data statement) of every corpus and task."""
    return [(one.name, one.licence, one.statement) for one in (*results.corpora, *results.tasks)]


def machine_facts(results: Results) -> list[tuple[str, str]]:
    """Where and how the run was made, as (what, value)."""
    machine = results.machine
    if machine is None:
        return []
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return [
        ("Command", machine.command),
        ("Date", machine.date),
        ("Time of the last run", fmt.duration(machine.wall_s)),
        ("Processor", f"{machine.processor}; cores: {machine.cores}; threads of each worker: {machine.threads}"),
        ("Memory", fmt.large(machine.memory_bytes, "B")),
        ("System", machine.platform),
        ("Versions", versions),
    ]
