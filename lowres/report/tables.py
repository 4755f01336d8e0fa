"""The tables of a report, as text in cells, whatever they are then written to: page, Markdown or terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lowres.experiment.records import CellRecord, PlannedCell
from lowres.metrics.paired import Difference
from lowres.report import format as fmt
from lowres.report.results import Results, TrainSize, size_order
from lowres.report.summary import Comparison, Summary

Tone = Literal["", "good", "bad", "muted", "warning"]
METRIC_NAMES = {
    "macro_f1": "Macro-F1",
    "accuracy": "Accuracy",
    "micro_f1": "Micro-F1",
    "subset_accuracy": "Subset accuracy",
}


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table. detail: smaller, after the text. span: drawn as an interval where that can
    be drawn.
    """

    text: str
    detail: str = ""
    tone: Tone = ""
    span: Difference | None = None

    @property
    def joined(self) -> str:
        """Text and detail in one line: a detail of words stands in brackets, an interval has its own."""
        if not self.detail or self.detail.startswith("["):
            return f"{self.text} {self.detail}".strip()
        return f"{self.text} ({self.detail})"


@dataclass(frozen=True)
class Column:
    """A heading; numeric columns are set to the right."""

    name: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def text_columns(*names: str) -> tuple[Column, ...]:
    """Columns of words."""
    return tuple(Column(name, numeric=False) for name in names)


def number_columns(*names: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(name) for name in names)


def method_cell(results: Results, method: str) -> Cell:
    """A method with, in small, what it is: its language model by architecture, size and origin, or its family."""
    model = results.language_model(method)
    return Cell(method, fmt.model_name(model) if model else results.families.get(method, ""))


def size_name(summary: Summary, task: str, size: TrainSize) -> str:
    """For example "100 labels" or "all 1,200 labels"."""
    return fmt.labels(size, summary.labels_used(task, size))


def score_table(summary: Summary, task: str, metric: str) -> Table:
    """Methods in rows, train sizes in columns: mean and interval, or how many cells ended ok where not all did."""
    results = summary.results
    sizes = results.train_sizes(task)
    rows = []
    for method in results.methods:
        cells = [_score_cell(summary, task, size, method, metric) for size in sizes]
        if any(cell.text for cell in cells):
            rows.append((method_cell(results, method), *cells))
    columns = (*text_columns("Method"), *number_columns(*(size_name(summary, task, size) for size in sizes)))
    return Table(f"{METRIC_NAMES[metric]} on the test set of {task}", columns, tuple(rows))


def _score_cell(summary: Summary, task: str, size: TrainSize, method: str, metric: str) -> Cell:
    try:
        score = summary.score(task, size, method, metric)
    except KeyError:
        return Cell("")
    if score.mean is not None:
        return Cell(fmt.score(score.mean.mean), fmt.bounds(score.mean))
    if score.ok < score.planned:
        return Cell(f"{score.ok} of {score.planned} cells", tone="warning")
    return Cell("no mean", "uneven grid", "warning")


def difference_table(summary: Summary, task: str) -> Table:
    """Paired differences in macro-F1: gain from pretraining first, then every method against the best baseline."""
    columns = (
        *text_columns("Labels", "Comparison"),
        *number_columns("Difference"),
        *text_columns("95 % interval", "Verdict"),
        *number_columns("p, Holm"),
    )
    chosen = [*summary.of_kind("pretraining", task), *summary.of_kind("baseline", task)]
    shown = {d.pairing for d in chosen}
    extra = [d for d in summary.of_kind("family", task) if d.pairing not in shown]
    sizes = summary.results.train_sizes(task)
    ordered = sorted([*chosen, *extra], key=lambda d: sizes.index(d.train_size))
    rows = tuple(_difference_row(summary, task, difference) for difference in ordered)
    notes = ["Differences are paired: both methods saw the same subsets and seeds and are tested on the same items."]
    pairs = {c.pairing for c in summary.comparisons}
    notes.append(
        f"p is adjusted by Holm over the {len(pairs)} differences of this report; verdicts are of one interval each."
    )

    for one, other, apart in dict.fromkeys((d.method, d.other, d.also_differ) for d in ordered if d.also_differ):
        notes.append(f"{one} and {other} differ not only in their weights at the start but also in {', '.join(apart)}.")
    return Table(f"Differences on {task}", columns, rows, tuple(notes))


def prompt_table(results: Results, task: str) -> Table:
    """Of each prompted method at each train size: how far the prompts lie apart on dev, and which were chosen."""
    rows = []
    for method in results.methods:
        for size in results.train_sizes(task):
            here = [c for c in results.cells if (c.method, c.task, c.train_size) == (method, task, size) and c.prompts]
            scores = [score for cell in here for score in cell.prompts.values()]
            if not scores:
                continue
            chosen = Counter(str(cell.prompt) for cell in here).most_common()
            names = ", ".join(name if len(chosen) == 1 else f"{name} ({times})" for name, times in chosen)
            figures = (sum(scores) / len(scores), min(scores), max(scores))
            numbers = (Cell(str(len(here[0].prompts))), *(Cell(fmt.score(figure)) for figure in figures))
            rows.append((Cell(method), Cell(fmt.labels(size, here[0].labels_used)), *numbers, Cell(names)))
    columns = (
        *text_columns("Method", "Labels"),
        *number_columns("Prompts", "Mean", "Least", "Greatest"),
        *text_columns("Chosen"),
    )
    note = (
        "Macro-F1 on dev texts, over prompts, subsets and seeds. The prompt is chosen there, and scored on test alone."
    )
    return Table(f"Prompts on {task}", columns, tuple(rows), (note,))


def _difference_row(summary: Summary, task: str, difference: Comparison) -> tuple[Cell, ...]:
    what = f"{difference.method} against {difference.other}"
    families = summary.results.families
    next_best = "best of another family" if families[difference.method] != families[difference.other] else "next best"
    why = {"pretraining": "gain from pretraining", "baseline": "best baseline", "family": next_best}[difference.kind]
    return (
        Cell(size_name(summary, task, difference.train_size)),
        Cell(what, why),
        Cell(fmt.score(difference.estimate.mean, signed=True)),
        Cell(fmt.bounds(difference.estimate, signed=True), span=difference.estimate),
        Cell(difference.estimate.verdict, tone=verdict_tone(difference.estimate.verdict)),
        Cell(fmt.p_value(difference.p_holm)),
    )


def verdict_tone(verdict: str) -> Tone:
    """How a verdict is coloured."""
    return {"better": "good", "worse": "bad"}.get(verdict, "muted")  # type: ignore[return-value]


def language_model_table(results: Results) -> Table:
    """Every language model by architecture, size and origin, with what it reaches on the held-out text."""
    columns = (
        *text_columns("Method", "Language model", "Tokenizer"),
        *number_columns("Bits per byte", "Fertility", "Unknown", "Bytes seen", "Time"),
    )
    rows = [
        (
            Cell(model.method),
            Cell(fmt.model_name(model), model.architecture),
            Cell(f"{model.tokenizer}, {fmt.count(model.vocab_size)}"),
            Cell(fmt.number(model.bits_per_byte, 3)),
            Cell(fmt.number(model.fertility)),
            Cell(fmt.percent(model.unknown_rate)),
            Cell(fmt.large(model.cost.bytes_seen or None, "B")),
            Cell(fmt.duration(model.cost.seconds or None)),
        )
        for model in results.language_models
    ]
    held_out = sorted({model.held_out_bytes for model in results.language_models if model.held_out_bytes})
    notes = [
        "Bits per byte of raw text is comparable across tokenizers (lower is better); every unknown token is charged "
        "8 bits for each byte it hides. Fertility: tokens a word between spaces. Bytes seen count repetitions. Time is "
        "that of one processor core, or of the accelerator."
    ]
    segmented = [model for model in results.language_models if model.segmented_fertility is not None]
    if segmented:
        each = "; ".join(f"{model.method} {fmt.number(model.segmented_fertility)}" for model in segmented)
        notes.append(f"Tokens a word as the recipe's `segment` tells words, on the corpus's valid split: {each}.")
    if held_out:
        notes.append(f"Held-out text: {' or '.join(fmt.count(size) for size in held_out)} bytes.")
    return Table("Language models", columns, tuple(rows), tuple(notes))


def cost_table(results: Results) -> Table:
    """What methods cost: pretraining once, apart from each cell."""
    sizes: dict[TrainSize, None] = {}
    for task in results.task_names:
        sizes.update(dict.fromkeys(results.train_sizes(task)))
    order = sorted(sizes, key=size_order)
    columns = (
        *text_columns("Method"),
        *number_columns("Parameters", "Pretraining", "its bytes", "its peak memory", "Tuning"),
        *number_columns(*(f"Cell, {'all' if size == 'full' else fmt.count(size)}" for size in order)),
        *number_columns("Bytes seen", "Peak memory"),
    )
    rows = tuple(_cost_row(results, method, order) for method in results.methods)
    notes = [
        "Pretraining is paid once for a language model, however many cells use it; so is tuning, its adaptation to a "
        "task's unlabelled text (mean over the tuned models). Time is that of one processor core, or of the "
        "accelerator; time and bytes seen are means over the cells that ended ok, peak memory is the largest of a "
        "cell. Bytes seen count repetitions."
    ]
    shared: dict[str, list[str]] = {}
    for model in results.language_models:
        shared.setdefault(model.id, []).append(model.method)
    notes += [f"{' and '.join(names)} share one language model." for names in shared.values() if len(names) > 1]
    return Table("Cost", columns, rows, tuple(notes))


def _cost_row(results: Results, method: str, sizes: Iterable[TrainSize]) -> tuple[Cell, ...]:
    model = results.language_model(method)
    done = [cell for cell in results.cells if cell.method == method and cell.status == "ok"]
    parameters = max((cell.parameters for cell in done if cell.parameters is not None), default=None)
    parameters = model.parameters if parameters is None and model else parameters
    times = []
    for size in sizes:
        seconds = [cell.cost.seconds for cell in done if cell.train_size == size]
        times.append(Cell(fmt.duration(sum(seconds) / len(seconds)) if seconds else "-"))
    seen = sum(cell.cost.bytes_seen for cell in done) / len(done) if done else None
    trained = model.cost if model and model.cost.seconds else None
    return (
        Cell(method),
        Cell(fmt.large(parameters)),
        Cell(fmt.duration(trained.seconds) if trained else "-"),
        Cell(fmt.large(trained.bytes_seen, "B") if trained else "-"),
        Cell(fmt.large(trained.peak_bytes, "B") if trained else "-"),
        Cell(_tuning_time(done)),
        *times,
        Cell(fmt.large(seen, "B")),
        Cell(fmt.large(max((cell.cost.peak_bytes for cell in done), default=None), "B")),
    )


def _tuning_time(cells: Sequence[CellRecord]) -> str:
    """Mean seconds of the tuned language models; cells that share one say the same cost."""
    costs = {(cell.task, cell.tuning.seconds) for cell in cells if cell.tuning}
    return fmt.duration(sum(seconds for _, seconds in costs) / len(costs)) if costs else "-"


def failure_table(results: Results) -> Table:
    """The planned cells that did not end ok, those of one method, task, size and fault in one row."""
    groups: dict[tuple[str, str, TrainSize, str, str], list[str]] = {}
    for planned, cell in results.unfinished:
        key = (planned.method, planned.task, planned.train_size, *_fault(planned, cell))
        groups.setdefault(key, []).append(f"{planned.subset}/{planned.seed}")
    rows = tuple(
        (
            Cell(method),
            Cell(task),
            Cell("all" if size == "full" else fmt.count(size)),
            Cell(", ".join(places)),
            Cell(status, tone="warning"),
            Cell(error),
        )
        for (method, task, size, status, error), places in groups.items()
    )
    columns = (
        *text_columns("Method", "Task"),
        *number_columns("Labels"),
        *text_columns("Subset/seed", "Ended", "What was said"),
    )
    return Table("Failures", columns, rows, ("They are tried again when the recipe is run again.",))


def _fault(planned: PlannedCell, cell: CellRecord | None) -> tuple[str, str]:
    """(status, message) of a cell that did not end ok."""
    return ("not tried", "") if cell is None else (cell.status, cell.error or "")
