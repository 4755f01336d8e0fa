"""What a run left in its folder, read back: the one source of every table, curve and page."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from pydantic import ValidationError

from lowres.artifacts import Predictions
from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.experiment.records import (
    CellRecord,
    CorpusRecord,
    LanguageModelRecord,
    MachineRecord,
    PlannedCell,
    PlanRecord,
    Record,
    TaskRecord,
)
from lowres.fingerprint import canonical_json

if TYPE_CHECKING:
    import pandas as pd

TrainSize = int | Literal["full"]
Coordinates = tuple[str, str, TrainSize, int, int]
"""(method, task, train size, subset, seed)."""
AnyRecord = TypeVar("AnyRecord", bound=Record)
_SCORES = ("macro_f1", "accuracy", "weighted_f1", "mcc", "log_loss", "ece")
"""Columns of every frame; scores of other kinds of task come behind them where a cell has them."""


def size_order(size: TrainSize) -> tuple[bool, int]:
    """Sorts train sizes, "full" last."""
    return (True, 0) if size == "full" else (False, size)


@dataclass(frozen=True)
class TestPredictions:
    """One cell's test predictions, in the order of the file: ids, gold and predicted labels, each (items,) of str.

    kind: how the labels are spelled (lowres.labels).
    """

    __test__ = False  # pytest: not a test class

    ids: np.ndarray
    gold: np.ndarray
    predicted: np.ndarray
    kind: TaskKind = "classification"


@dataclass(frozen=True)
class Results:
    """A run as its folder tells it.

    plan: every cell the recipe asks for, in its order. cells: the latest attempt of those that were tried, in the same
    order. left_out: cells in the folder that the plan does not name. language_models: one a method that has one.
    recipe: the file's text, "" for a recipe made in Python. machine is None where the run never finished.
    """

    folder: Path
    name: str
    recipe: str
    plan: PlanRecord
    cells: tuple[CellRecord, ...]
    left_out: int
    language_models: tuple[LanguageModelRecord, ...]
    tasks: tuple[TaskRecord, ...]
    corpora: tuple[CorpusRecord, ...]
    machine: MachineRecord | None

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Method names in the recipe's order; where it has no tasks, by name (JSON keeps no order of keys)."""
        return tuple(dict.fromkeys(cell.method for cell in self.plan.cells)) or tuple(self.plan.methods)

    @cached_property
    def families(self) -> dict[str, str]:
        """Method name -> family."""
        return {cell.method: cell.family for cell in self.plan.cells}

    @cached_property
    def task_names(self) -> tuple[str, ...]:
        """Tasks in the recipe's order."""
        return tuple(dict.fromkeys(cell.task for cell in self.plan.cells))

    def train_sizes(self, task: str) -> tuple[TrainSize, ...]:
        """Train sizes of one task, ascending, "full" last."""
        sizes: set[TrainSize] = {cell.train_size for cell in self.plan.cells if cell.task == task}
        return tuple(sorted(sizes, key=size_order))

    def settings(self, method: str) -> dict[str, Any]:
        """The block of a method as resolved; {} where nothing says it."""
        tried = (cell.settings for cell in self.cells if cell.method == method)
        return self.plan.methods.get(method) or next(tried, {})

    @cached_property
    def by_cell(self) -> dict[str, CellRecord]:
        """Cell id -> its latest attempt."""
        return {cell.cell: cell for cell in self.cells}

    @property
    def unfinished(self) -> tuple[tuple[PlannedCell, CellRecord | None], ...]:
        """Planned cells that failed (with their record) or were never tried (with None)."""
        pairs = ((planned, self.by_cell.get(planned.cell)) for planned in self.plan.cells)
        return tuple((planned, cell) for planned, cell in pairs if cell is None or cell.status != "ok")

    def task(self, name: str) -> TaskRecord | None:
        """The record of a task, by name or id; None where the run died before it was read."""
        return next((task for task in self.tasks if name in (task.name, task.id)), None)

    def kind(self, task: str) -> TaskKind:
        """What the task asks of a text; "classification" where the run died before the task was read."""
        record = self.task(task)
        return record.kind if record else "classification"

    def language_model(self, method: str) -> LanguageModelRecord | None:
        """The language model of a method; None for a family without one."""
        wanted = self.plan.language_models.get(method)
        own = [model for model in self.language_models if model.method == method]
        shared = [model for model in self.language_models if wanted is not None and model.id == wanted]
        return (own or shared or [None])[0]

    def predictions(self, cell: CellRecord) -> TestPredictions:
        """The test predictions of a cell that ended ok. Raises DataError where their copy is missing."""
        folder = self.folder / "predictions" / cell.artifacts.get("predictions", "unnamed")
        if not (folder / "predictions.parquet").is_file():
            raise DataError(
                f"{folder}: the predictions of a cell ({cell.method}, {cell.task}, {cell.train_size}) are not there; "
                "copy this folder from where the run was made, or run the recipe again"
            )
        predictions = Predictions(folder)
        columns = predictions.table().select(["id", "split", "label", "predicted"]).to_pydict()
        test = np.asarray(columns["split"]) == "test"
        ids, gold, predicted = (np.asarray(columns[name], dtype=object)[test] for name in ("id", "label", "predicted"))
        return TestPredictions(ids, gold, predicted, predictions.kind)

    def frame(self) -> "pd.DataFrame":
        """A row a planned cell, flat columns; a cell that was never tried has status "missing" and empty scores.

        train_size is text, since it may be "full"; labels_used is its number. settings is JSON.
        """
        import pandas as pd

        said = {score for cell in self.cells for scores in cell.scores.values() for score in scores}
        scores = (*_SCORES, *sorted(said - set(_SCORES)))
        rows = [_row(planned, self.by_cell.get(planned.cell), scores) for planned in self.plan.cells]
        first = ["cell", "method", "family", "task", "train_size", "labels_used", "subset", "seed", "status", "attempt"]
        frame = pd.DataFrame(rows, columns=None if rows else first)
        whole = ["labels_used", "attempt", "parameters", "peak_bytes", "bytes_seen", "tokens_seen"]
        return frame.astype({name: "Int64" for name in whole if name in frame})


def _row(planned: PlannedCell, cell: CellRecord | None, scores: Iterable[str]) -> dict[str, object]:
    """One row of the frame."""
    row: dict[str, object] = {**planned.model_dump(), "train_size": str(planned.train_size)}
    row["labels_used"] = cell.labels_used if cell else None
    row["status"] = cell.status if cell else "missing"
    row["attempt"] = cell.attempt if cell else None
    for split in ("test", "dev"):
        for score in scores:
            row[f"{split}_{score}"] = cell.scores.get(split, {}).get(score) if cell else None
    row["parameters"] = cell.parameters if cell else None
    for name in ("wall_s", "cpu_s", "accelerator_s", "peak_bytes", "bytes_seen", "tokens_seen"):
        row[name] = getattr(cell.cost, name) if cell else None
    row["language_model"] = cell.language_model if cell else None
    row["error"] = cell.error if cell else None
    row["finished"] = cell.finished if cell else None
    row["settings"] = canonical_json(cell.settings) if cell else None
    return row


def load_results(run_folder: Path) -> Results:
    """Reads a run folder. The latest attempt of every cell counts.

    Raises DataError where the folder is not a run's, or a record in it is damaged.
    """
    folder = Path(run_folder)
    plan_file, machine_file, recipe = (folder / name for name in ("plan.json", "machine.json", "recipe.toml"))
    if not (plan_file.is_file() or recipe.is_file()):
        raise DataError(f"{folder}: no plan.json there; a report is made from a run folder, e.g. runs/quickstart")
    latest = {cell.cell: cell for cell in _latest(_read_all(folder / "cells", "*/*.json", CellRecord))}
    plan = _read(plan_file, PlanRecord) if plan_file.is_file() else _observed_plan(folder.name, list(latest.values()))
    cells = tuple(latest[planned.cell] for planned in plan.cells if planned.cell in latest)
    return Results(
        folder=folder,
        name=plan.name,
        recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
        plan=plan,
        cells=cells,
        left_out=len(latest) - len(cells),
        language_models=_models_in_use(_read_all(folder / "models", "*.json", LanguageModelRecord), plan),
        tasks=_in_use(_read_all(folder / "tasks", "*.json", TaskRecord), list(plan.tasks.values())),
        corpora=_in_use(_read_all(folder / "corpora", "*.json", CorpusRecord), [plan.corpus] if plan.corpus else []),
        machine=_read(machine_file, MachineRecord) if machine_file.is_file() else None,
    )


def _read(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """One record. Raises DataError where it is damaged."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path}: not a {kind.__name__}: {what}; delete the file and run the recipe again") from error


def _read_all(folder: Path, pattern: str, kind: type[AnyRecord]) -> list[AnyRecord]:
    """All records that match, in order of their paths."""
    return [_read(path, kind) for path in sorted(folder.glob(pattern))]


def _latest(attempts: Iterable[CellRecord]) -> list[CellRecord]:
    """The highest attempt of every cell."""
    latest: dict[str, CellRecord] = {}
    for record in attempts:
        if record.cell not in latest or record.attempt > latest[record.cell].attempt:
            latest[record.cell] = record
    return list(latest.values())


def _observed_plan(name: str, cells: list[CellRecord]) -> PlanRecord:
    """The plan of a folder that holds none: every method at every (task, train size, subset, seed) that any method was
    tried at. Of cells with equal coordinates (two recipes in one folder) the one finished last counts.
    """
    tried: dict[Coordinates, CellRecord] = {}
    for cell in sorted(cells, key=lambda cell: cell.finished):
        tried[(cell.method, cell.task, cell.train_size, cell.subset, cell.seed)] = cell
    grid = sorted({place[1:] for place in tried}, key=str)
    families = {cell.method: cell.family for cell in sorted(cells, key=lambda cell: (cell.family, cell.method))}
    planned = []
    for method, family in families.items():
        for task, size, subset, seed in grid:
            record = tried.get((method, task, size, subset, seed))
            cell = record.cell if record else f"untried:{method}:{task}:{size}:{subset}:{seed}"
            place = {"task": task, "train_size": size, "subset": subset, "seed": seed}
            planned.append(PlannedCell.model_validate({"cell": cell, "method": method, "family": family, **place}))
    return PlanRecord(name=name, cells=planned)


def _in_use(records: list[AnyRecord], ids: list[str]) -> tuple[AnyRecord, ...]:
    """The records that the plan names, in its order; all of them where it names none."""
    by_id = {record.id: record for record in records}  # type: ignore[attr-defined]
    return tuple(by_id[i] for i in dict.fromkeys(ids) if i in by_id) if ids else tuple(records)


def _models_in_use(models: list[LanguageModelRecord], plan: PlanRecord) -> tuple[LanguageModelRecord, ...]:
    """The language models of the plan, in the recipe's order; where it names none, those of its methods."""
    order = list(dict.fromkeys([cell.method for cell in plan.cells] + list(plan.language_models)))
    kept = [
        model
        for model in models
        if model.method in order and (not plan.language_models or plan.language_models.get(model.method) == model.id)
    ]
    return tuple(sorted(kept, key=lambda model: order.index(model.method)))
