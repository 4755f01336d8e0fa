"""Driving a plan to its end: what is ready is built, what fails is recorded, what stands is never built again."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lowres.artifacts import Node
from lowres.errors import DataError, Stopped, StoreError
from lowres.experiment.jobs import Job
from lowres.experiment.local import LocalExecutor
from lowres.experiment.plan import Cell, Plan, every_node, labels_of, reach, walk_back
from lowres.experiment.records import CellRecord
from lowres.experiment.results import RunFolder, best_cells, dev_score
from lowres.fetch import Finder
from lowres.store import Store

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_WHEN_BUSY = 1.0
_SECONDS_TO_STOP = 20.0
_SECONDS_TO_STOP_DEVICES = 300.0
"""Where a state of many gigabytes may have to leave accelerators first."""
_PATIENCE_S = 300.0


class Observer(Protocol):
    """What a driver tells whoever watches."""

    def planned(self, plan: Plan, missing: list[Node]) -> None:
        """The plan, and what of it must be built; before anything runs."""

    def started(self, node: Node, label: str) -> None:
        """A stage begins."""

    def progressed(self, node: Node, done: float, total: float, unit: str, note: str) -> None:
        """How far a stage is; total is 0 where unknown."""

    def finished(self, node: Node, seconds: float) -> None:
        """A stage's artifact stands."""

    def failed(self, node: Node, label: str, error: str) -> None:
        """A stage failed; the run goes on."""


@dataclass
class Outcome:
    """How a run ended: cells by status, and nodes outside cells that failed."""

    ok: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass
class Driver:
    """One run of one plan.

    executor runs jobs (lowres.experiment.local). stop_requested is asked between events.
    """

    plan: Plan
    store: Store
    finder: Finder
    folder: RunFolder
    executor: LocalExecutor
    observer: Observer
    stop_requested: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._labels = labels_of(self.plan)
        self._nodes = every_node(self.plan)
        self._shared = _shared_by_cells(self.plan)
        self._files: dict[str, Path] = {}
        self._ready_since: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._failures: dict[str, tuple[str, str]] = {}
        self._open_cells: list[Cell] = []
        self._best: dict[tuple[str, str], tuple[tuple[float, int], Cell]] = {}
        self._place = {cell.id: place for place, cell in enumerate(self.plan.cells)}
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Builds what is missing.

        Raises DataError on faulty data and Stopped when asked to stop; both keep what stands.
        """
        missing = walk_back(self.plan.wanted(), self.store)
        for sha256 in (sha256 for node in missing for sha256 in node.spec.raw_files()):
            self._file(sha256)  # what is not to be had ends the run before anything was computed
        self.folder.begin()
        self.observer.planned(self.plan, missing)
        ends = {node.id for node in self.plan.wanted()}
        self._open_cells = [cell for cell in self.plan.cells if cell.scores.id in ends]
        try:
            self._build(missing)
            self._build(walk_back(self._keep_classifiers(), self.store))
            self._keep_classifiers()
        finally:
            self.executor.close()
            self.folder.write_models()
            self.folder.write_inputs()
        return self._outcome

    def _file(self, sha256: str) -> Path:
        """A raw file of the plan, looked for once."""
        if sha256 not in self._files:
            raw = self.plan.raw_files[sha256]
            self._files[sha256] = self.finder.find(raw.card, raw.card_path, raw.file)
        return self._files[sha256]

    def _build(self, nodes: list[Node]) -> None:
        """Builds `nodes`, inputs before what reads them."""
        waiting = {node.id: node for node in nodes}
        again_at: dict[str, float] = {}
        self._settle_cells()
        while waiting or self.executor.running:
            if self.stop_requested():
                self._stop()
            self._start_ready(waiting, again_at)
            for job, message in self.executor.events(_SECONDS_BETWEEN_LOOKS):
                node = self._nodes[job.id]
                if message["type"] == "progress":
                    self.observer.progressed(node, message["done"], message["total"], message["unit"], message["note"])
                elif message["type"] == "busy":
                    waiting[node.id] = node
                    again_at[node.id] = time.monotonic() + _SECONDS_WHEN_BUSY
                elif message["type"] == "done":
                    self.observer.finished(node, time.monotonic() - self._started[node.id])
                    self._settle_cells()
                elif message["type"] == "stopped":  # a signal reached the worker alone, or another host was stopped
                    self._stop()
                elif message["type"] == "failed":
                    self._failed(node, message, waiting)
                    self._settle_cells()

    def _start_ready(self, waiting: dict[str, Node], again_at: dict[str, float]) -> None:
        """Starts jobs whose inputs stand: what several cells wait for first, then those with a warm worker.

        A language model is the longest way to its cells, so another family's must not wait until this one's are done.
        Nor must what is short wait for ever, such as scores, because it needs another worker.
        """
        while self.executor.has_room():
            now = time.monotonic()
            self._pass_over_built(waiting)
            ready = [
                node
                for node in waiting.values()
                if again_at.get(node.id, 0) <= now and all(self.store.has(child.id) for child in node.inputs.values())
            ]
            if not ready:
                if not self.executor.running and not any(moment > now for moment in again_at.values()):
                    self._plan_again(waiting)
                return
            for node in ready:
                self._ready_since.setdefault(node.id, now)
            node = max(ready, key=self._urgency)
            del waiting[node.id]
            self._start(node)

    def _urgency(self, node: Node) -> tuple[bool, bool, bool]:
        waited = time.monotonic() - self._ready_since[node.id]
        # hosts that work together take the same order, whatever their clocks say
        patience_is_over = waited > _PATIENCE_S and self.plan.loaded.recipe.run.hosts == 1
        return node.id in self._shared, patience_is_over, self.executor.warm(node.stage.worker)

    def _start(self, node: Node) -> None:
        settings = self.plan.loaded.recipe.run
        files = {sha256: self._file(sha256) for sha256 in node.spec.raw_files()}
        if node.id not in self._started:
            self.observer.started(node, self._labels.get(node.id, node.stage.name))
            self._started[node.id] = time.monotonic()
        self.executor.start(Job.of(node, files, settings.threads, settings.device, settings.devices))

    def _pass_over_built(self, waiting: dict[str, Node]) -> None:
        """Another run on this store may have built what waits here."""
        built = [node for node in waiting.values() if self.store.has(node.id)]
        for node in built:
            del waiting[node.id]
            self.observer.finished(node, 0.0)
        if built:
            self._settle_cells()

    def _plan_again(self, waiting: dict[str, Node]) -> None:
        """Another run on this store may have pruned an input of what waits here: it is built again."""
        before = set(waiting)
        waiting.update({node.id: node for node in walk_back(list(waiting.values()), self.store)})
        if waiting and set(waiting) == before:
            raise StoreError("an input vanished from the store while this run read it; run the command again")

    def _failed(self, node: Node, message: dict[str, Any], waiting: dict[str, Node]) -> None:
        """Records a failure; what needed the node is not tried. Faulty data and a faulty store end the run."""
        if message.get("store"):
            raise StoreError(message["error"])
        if message["usage"] and node.stage.worker in ("data", "segment"):
            raise DataError(message["error"])
        label = self._labels.get(node.id, node.stage.name)
        self._failures[node.id] = (message["status"], message["error"])
        self._outcome.errors.append(f"{label}: {message['error']}")
        self.observer.failed(node, label, message["error"])
        for other in list(waiting.values()):
            if cause := self._cause(other):
                self._failures[other.id] = cause
                del waiting[other.id]

    def _cause(self, node: Node) -> tuple[str, str] | None:
        """The failure that keeps `node` from being built, if any."""
        if node.id in self._failures:
            return self._failures[node.id]
        if self.store.has(node.id):
            return None
        return next((cause for child in node.inputs.values() if (cause := self._cause(child))), None)

    def _settle_cells(self) -> None:
        """Records the cells that came to their end: scores stand, or something they need failed."""
        still_open = []
        for cell in self._open_cells:
            if self.store.has(cell.scores.id) and self.store.has(cell.subset_node.id):
                self._outcome.ok += 1
                done = [record for record in self.folder.attempts(cell) if record.status == "ok"]
                self._weigh(cell, done[-1] if done else self.folder.write_cell(cell, "ok"))
            elif cause := self._cause(cell.scores):
                self._outcome.failed += 1
                self.folder.write_cell(cell, cause[0], cause[1])  # type: ignore[arg-type]
            else:
                still_open.append(cell)
        self._open_cells = still_open

    def _weigh(self, cell: Cell, record: CellRecord) -> None:
        """With keep = "best", the classifiers of beaten cells leave the disk."""
        if self.plan.loaded.recipe.run.keep == "all":
            return
        key, rank = (cell.method, cell.task), (dev_score(record), -self._place[cell.id])
        beaten = cell
        if key not in self._best or self._best[key][0] < rank:
            beaten = self._best[key][1] if key in self._best else cell
            self._best[key] = (rank, cell)
        # cells may share a classifier: the baselines are deterministic, so every seed is the same request
        needed = {other.classifier.id for _, other in self._best.values()}
        needed |= {other.classifier.id for other in self._open_cells if not self.store.has(other.predictions.id)}
        if beaten.classifier.id not in needed:
            self.store.remove(beaten.classifier.id)

    def _keep_classifiers(self) -> list[Node]:
        """Puts the classifiers that are kept into the run's folder.

        Returns those that must be trained again for it, because they were pruned: by another run on this store, or by
        this one when it still kept the best alone.
        """
        if self.plan.loaded.recipe.run.keep == "all":
            cells = [cell for cell in self.plan.cells if self.store.has(cell.scores.id)]
        else:
            cells = [cell for cell, _ in best_cells(self.folder).values()]
        lost = []
        for cell in cells:
            if (self.folder.root / "classifiers" / cell.id).is_dir():
                continue
            if self.store.has(cell.classifier.id):
                self.folder.keep_classifier(cell)
            else:
                lost.append(cell.classifier)
        return lost

    def _stop(self) -> None:
        """Asks the workers to save and stop, waits a while, and leaves."""
        self.executor.stop_all()
        on_processor = self.plan.loaded.recipe.run.device == "cpu"
        until = time.monotonic() + (_SECONDS_TO_STOP if on_processor else _SECONDS_TO_STOP_DEVICES)
        while self.executor.running and time.monotonic() < until:
            for _ in self.executor.events(_SECONDS_BETWEEN_LOOKS):
                pass
        raise Stopped("stopped; what was reached is kept, and the same command goes on from there")


def _shared_by_cells(plan: Plan) -> set[str]:
    """Ids of the nodes that more than one cell is made from."""
    cells = Counter(node for cell in plan.cells for node in reach([cell.scores]))
    return {node for node, count in cells.items() if count > 1}
