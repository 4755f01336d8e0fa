"""Finding what a run kept: the classifier of a cell, the language model of a method."""

from dataclasses import dataclass
from pathlib import Path

from lowres.errors import DataError
from lowres.experiment.records import CellRecord, LanguageModelRecord, PlanRecord


@dataclass(frozen=True)
class ChosenClassifier:
    """A stored classifier and the cell it is of."""

    folder: Path
    cell: CellRecord

    @property
    def described(self) -> str:
        """Which classifier it is, in words."""
        cell = self.cell
        score = cell.scores.get("dev", {}).get("macro_f1")
        dev = f"dev macro-F1 {score:.3f}" if score is not None else "no dev score"
        return f"{cell.method} on {cell.task}: {cell.train_size} labels, subset {cell.subset}, seed {cell.seed} ({dev})"


def choose_classifier(
    run: Path, method: str, task: str | None, train_size: str | None, subset: int | None, seed: int | None
) -> ChosenClassifier:
    """The kept classifier with the best dev macro-F1 among those asked for. Raises DataError where none fits."""
    cells = [cell for cell in ok_cells(run) if cell.method == method]
    if not cells:
        methods = sorted({cell.method for cell in ok_cells(run)})
        raise DataError(f"{run}: no finished cell of a method {method!r}; methods here: {', '.join(methods) or 'none'}")
    tasks = sorted({cell.task for cell in cells})
    if task is None and len(tasks) > 1:
        raise DataError(f"{run}: {method} was trained on several tasks; choose one with --task: {', '.join(tasks)}")
    wanted = {"task": task, "train_size": train_size, "subset": subset, "seed": seed}
    fitting = [
        cell
        for cell in cells
        if all(value is None or str(getattr(cell, key)) == str(value) for key, value in wanted.items())
    ]
    asked = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in wanted.items() if value is not None)
    if not fitting:
        raise DataError(f"{run}: {method} has no finished cell with {asked}")
    kept = [cell for cell in fitting if (run / "classifiers" / cell.cell).is_dir()]
    if not kept:
        raise DataError(
            f'{run}: the classifier of {method} with {asked} was not kept (run.keep = "best"); run again with '
            "--set run.keep=all"
        )
    best = max(kept, key=lambda cell: cell.scores.get("dev", {}).get("macro_f1", -1.0))
    return ChosenClassifier(run / "classifiers" / best.cell, best)


def ok_cells(run: Path) -> list[CellRecord]:
    """The cells of a run's plan that ended ok, in the plan's order, newest attempt each."""
    plan = PlanRecord.model_validate_json((run / "plan.json").read_text(encoding="utf-8"))
    found = []
    for planned in plan.cells:
        files = sorted((run / "cells" / planned.cell).glob("*.json"), key=lambda path: int(path.stem), reverse=True)
        records = (CellRecord.model_validate_json(path.read_text(encoding="utf-8")) for path in files)
        ok = next((record for record in records if record.status == "ok"), None)
        if ok is not None:
            found.append(ok)
    return found


def model_record(run: Path, method: str) -> LanguageModelRecord:
    """The record of a method's language model. Raises DataError naming the methods that have one."""
    path = run / "models" / f"{method}.json"
    if not path.is_file():
        known = sorted(file.stem for file in (run / "models").glob("*.json"))
        raise DataError(
            f"{run}: no language model of a method {method!r}; those with one: {', '.join(known) or 'none'}"
        )
    return LanguageModelRecord.model_validate_json(path.read_text(encoding="utf-8"))
