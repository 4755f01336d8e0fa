"""The numbers of a report: mean scores with intervals, paired differences and their verdicts.

A method with a cell missing at some train size has no mean and no difference there: means over survivors mislead.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.experiment.records import CellRecord
from lowres.labels import labelling
from lowres.metrics import paired
from lowres.report.results import Results, TrainSize

BASELINES = "baselines"
METRICS: dict[TaskKind, tuple[paired.Metric, ...]] = {
    "classification": ("macro_f1", "accuracy"),
    "multi-label": ("macro_f1", "micro_f1", "subset_accuracy"),
}
"""What a report shows of a task; methods are compared by the first."""
METHOD = (
    "Intervals are at 95 %. Subsets, seeds and test items are crossed: Student's t on variance components "
    f"(Satterthwaite) where there are 2 to {paired.MANY - 1} subsets or seeds, else the percentiles of a crossed "
    "bootstrap. A difference is better or worse where its interval leaves out 0, equivalent where the interval lies "
    f"within {paired.MARGIN} on both sides, and unresolved otherwise."
)
Kind = Literal["baseline", "pretraining", "family"]
Pair = tuple[str, str, tuple[str, ...]]
"""(pretrained method, the same from random initialisation, other settings in which they differ)."""
Pairing = tuple[str, TrainSize, frozenset[str]]
"""(task, train size, the two methods)."""


@dataclass(frozen=True)
class Score:
    """A method at one task and train size under one metric.

    ok of planned cells ended ok; mean is None unless all did. labels_used: None where no cell says it.
    """

    task: str
    train_size: TrainSize
    labels_used: int | None
    method: str
    metric: str
    ok: int
    planned: int
    mean: paired.Interval | None


@dataclass(frozen=True)
class Comparison:
    """Macro-F1 of `method` minus that of `other`, paired over subset, seed and test item.

    kind: "baseline", against the best baseline; "pretraining", against the same method from random initialisation;
    "family", the leading method against the best one of another family. also_differ: settings
    other than init in which a pretraining pair differs. p_holm: the estimate's p after Holm over all of the report.
    """

    task: str
    train_size: TrainSize
    labels_used: int | None
    kind: Kind
    method: str
    other: str
    estimate: paired.Difference
    p_holm: float
    also_differ: tuple[str, ...] = ()

    @property
    def pairing(self) -> Pairing:
        """What is compared, whichever method comes first."""
        return self.task, self.train_size, frozenset((self.method, self.other))


@dataclass(frozen=True)
class Grid:
    """Test predictions of one method at one task and train size: gold (items,), predicted (subsets, seeds, items), both
    indices into the task's labels, or of sets of labels with an axis more, of 0 and 1 for each label; ids (items,) say
    which items; labels: how many there are.
    """

    labels: int
    ids: np.ndarray
    gold: np.ndarray
    predicted: np.ndarray

    def interval(self, metric: paired.Metric) -> paired.Interval:
        """The mean over runs, with its interval."""
        return paired.interval(self.predicted, self.gold, self.labels, metric=metric)


@dataclass(frozen=True)
class Summary:
    """All numbers of a report over the classifiers."""

    results: Results
    scores: tuple[Score, ...]
    comparisons: tuple[Comparison, ...]

    @cached_property
    def _by_place(self) -> dict[tuple[str, TrainSize, str, str], Score]:
        return {(score.task, score.train_size, score.method, score.metric): score for score in self.scores}

    def score(self, task: str, train_size: TrainSize, method: str, metric: str = "macro_f1") -> Score:
        """One score. Raises KeyError where the recipe has no such cells."""
        return self._by_place[(task, train_size, method, metric)]

    def labels_used(self, task: str, train_size: TrainSize) -> int | None:
        """Training labels at a train size, None where no cell says it."""
        return next((s.labels_used for s in self.scores if (s.task, s.train_size) == (task, train_size)), None)

    def metrics(self, task: str) -> tuple[paired.Metric, ...]:
        """What is shown of a task."""
        return METRICS[self.results.kind(task)]

    def of_kind(self, kind: Kind, task: str) -> tuple[Comparison, ...]:
        """The comparisons of one kind on one task, in order of train size."""
        return tuple(d for d in self.comparisons if d.kind == kind and d.task == task)


def summarise(results: Results) -> Summary:
    """Means, intervals and paired differences of a run, from its stored predictions. Deterministic.

    Raises DataError where the predictions of a cell are missing or two methods were tested on different items.
    """
    pairs = pretraining_pairs(results)
    scores: list[Score] = []
    compared: list[Comparison] = []
    for task in results.task_names:
        for size in results.train_sizes(task):
            used = _labels_used(results, task, size)
            grids: dict[str, Grid | None] = {}
            means: dict[str, float] = {}
            for method, (done, planned) in _cells(results, task, size).items():
                grid = grids[method] = _grid(results, task, done) if len(done) == planned else None
                for metric in METRICS[results.kind(task)]:
                    mean = grid.interval(metric) if grid else None
                    scores.append(Score(task, size, used, method, metric, len(done), planned, mean))
                    if mean and metric == "macro_f1":
                        means[method] = mean.mean
            compared += _comparisons((task, size, used), results, grids, means, pairs)
    return Summary(results, tuple(scores), _with_holm(compared))


def _labels_used(results: Results, task: str, size: TrainSize) -> int | None:
    """Training labels at a train size: the number itself, or for "full" what the cells say."""
    if size != "full":
        return size
    said = (cell.labels_used for cell in results.cells if (cell.task, cell.train_size) == (task, size))
    return next((used for used in said if used is not None), None)


def pretraining_pairs(results: Results) -> tuple[Pair, ...]:
    """(method, the same from random initialisation, other settings in which they differ).

    A random-init method is paired with the one of its family that shares most of its settings; where two share as many,
    with the one whose name it begins with ("multifit-random", "multifit"). Five or more settings apart are no pair.
    """
    pairs = []
    for random in results.methods:
        if results.settings(random).get("init") != "random":
            continue
        partners = []
        for method in results.methods:
            settings = results.settings(method)
            if results.families.get(method) != results.families.get(random) or settings.get("init") in ("random", None):
                continue
            apart = tuple(sorted(_apart(settings, results.settings(random)) - {"init"}))
            partners.append((len(apart), not random.startswith(method), method, apart))
        if partners and min(partners)[0] < 5:
            _, _, method, apart = min(partners)
            pairs.append((method, random, apart))
    return tuple(pairs)


def _apart(one: dict[str, object], other: dict[str, object], prefix: str = "") -> set[str]:
    """Dotted names of the settings in which two method blocks differ."""
    found: set[str] = set()
    for key in one.keys() | other.keys():
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= _apart(a, b, f"{prefix}{key}.")
        elif a != b:
            found.add(f"{prefix}{key}")
    return found


def _cells(results: Results, task: str, size: TrainSize) -> dict[str, tuple[list[CellRecord], int]]:
    """By method: (its cells that ended ok, how many are planned) at one task and train size."""
    found: dict[str, tuple[list[CellRecord], int]] = {}
    for planned in results.plan.cells:
        if (planned.task, planned.train_size) != (task, size):
            continue
        done, number = found.get(planned.method, ([], 0))
        cell = results.by_cell.get(planned.cell)
        ok = [cell] if cell is not None and cell.status == "ok" else []
        found[planned.method] = (done + ok, number + 1)
    return {method: found[method] for method in results.methods if method in found}


def _grid(results: Results, task: str, cells: list[CellRecord]) -> Grid | None:
    """The predictions of complete cells; None where subsets and seeds do not form a rectangle."""
    subsets, seeds = sorted({c.subset for c in cells}), sorted({c.seed for c in cells})
    if not cells or len(cells) != len(subsets) * len(seeds):
        return None
    read = {(cell.subset, cell.seed): results.predictions(cell) for cell in cells}
    first = read[(subsets[0], seeds[0])]
    if any(not np.array_equal(one.ids, first.ids) for one in read.values()):
        raise DataError(f"{results.folder}: cells of {task} were tested on different items; run the recipe again")
    record, kind = results.task(task), labelling(first.kind)
    said = {*first.gold, *(label for one in read.values() for label in one.predicted)}
    known = {name for label in said for name in kind.names(label)}
    order = sorted(known | set(record.labels if record else ()))
    rows = [[kind.targets(read[(subset, seed)].predicted, order) for seed in seeds] for subset in subsets]
    return Grid(len(order), first.ids, kind.targets(first.gold, order), np.array(rows))


def _comparisons(
    place: tuple[str, TrainSize, int | None],
    results: Results,
    grids: dict[str, Grid | None],
    means: dict[str, float],
    pairs: tuple[Pair, ...],
) -> list[Comparison]:
    """The chosen comparisons at one (task, train size, labels used), where both methods have the same grid."""
    task, size, used = place
    made: dict[tuple[str, str], paired.Difference] = {}
    found = []
    for kind, method, other, apart in _chosen(results, means, pairs):
        a, b = grids[method], grids[other]
        if a is None or b is None or a.predicted.shape != b.predicted.shape:
            continue
        if not np.array_equal(a.ids, b.ids) or a.labels != b.labels:
            raise DataError(f"{results.folder}: {method} and {other} were tested on different items of {task}")
        if (method, other) not in made:
            made[method, other] = paired.difference(a.predicted, b.predicted, a.gold, a.labels)
        estimate = made[method, other]
        found.append(Comparison(task, size, used, kind, method, other, estimate, estimate.p_value, apart))
    return found


def _with_holm(compared: list[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons with p adjusted over all; a pair that stands there twice, either way round, counts once."""
    p_values: dict[Pairing, float] = {}
    for one in compared:
        p_values.setdefault(one.pairing, one.estimate.p_value)
    adjusted = dict(zip(p_values, paired.holm(list(p_values.values())), strict=True))
    return tuple(replace(one, p_holm=adjusted[one.pairing]) for one in compared)


def _chosen(
    results: Results, means: dict[str, float], pairs: tuple[Pair, ...]
) -> Iterator[tuple[Kind, str, str, tuple[str, ...]]]:
    """(kind, method, other, also_differ): pretrained against random; every method against the best baseline; the leader
    against the best of another family, or where there is one family only, against the next. means: of macro-F1.
    """
    for one, other, apart in pairs:
        if one in means and other in means:
            yield "pretraining", one, other, apart
    baselines = [method for method in means if results.families[method] == BASELINES]
    if baselines:
        best = max(baselines, key=means.__getitem__)
        for method in means:
            if method not in baselines:
                yield "baseline", method, best, ()
    if means:
        leader = max(means, key=means.__getitem__)
        others = [method for method in means if results.families[method] != results.families[leader]]
        others = others or [method for method in means if method != leader]
        if others:
            yield "family", leader, max(others, key=means.__getitem__), ()
