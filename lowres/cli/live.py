"""Live progress: a line for the whole run and one for every stage under way; plain lines without a terminal."""

import time
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from lowres.artifacts import Node
from lowres.experiment.logs import Training
from lowres.experiment.plan import Plan, every_node

_SECONDS_BETWEEN_LINES = 20.0


def plan_table(plan: Plan, missing: list[Node]) -> Table:
    """The stages of a plan: how many of each, how many stand already, how many are new."""
    every = every_node(plan)
    new = Counter(node.stage.name for node in missing)
    total = Counter(node.stage.name for node in every.values())
    table = Table(title=f"{plan.loaded.name}: {len(plan.cells)} cells", title_justify="left")
    table.add_column("stage")
    for name in ("all", "new", "cached or not needed"):
        table.add_column(name, justify="right")
    depth = {node.stage.name: 0 for node in every.values()}
    for node in every.values():
        depth[node.stage.name] = max(depth[node.stage.name], _depth(node))
    for name in sorted(total, key=lambda name: (depth[name], name)):
        table.add_row(name, str(total[name]), str(new[name]), str(total[name] - new[name]))
    return table


def trainings_table(found: list[Training]) -> Table:
    """A row for each training: how far it is, or how it ended."""
    table = Table(title="trainings", title_justify="left")
    table.add_column("training")
    for name in ("state", "steps", "lr", "loss", "held back"):
        table.add_column(name, justify="right")
    for training in found:
        loss = training.last("smooth_loss")
        losses = (training.last("loss") if loss is None else loss, training.last("valid_loss"))
        shown = ["" if value is None else f"{value:.3f}" for value in losses]
        rate = training.last("lr")
        rate = "" if rate is None else f"{rate:.2g}"
        table.add_row(
            training.label, "done" if training.done else "under way", str(training.last("step")), rate, *shown
        )
    return table


def _depth(node: Node) -> int:
    return 1 + max((_depth(child) for child in node.inputs.values()), default=0)


class Watcher:
    """An observer that shows a run on a console."""

    def __init__(self, console: Console):
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._labels: dict[str, str] = {}
        self._begun: dict[str, tuple[float, float]] = {}
        self._spoke: dict[str, float] = {}
        self._whole: TaskID | None = None
        self._done = self._all = 0

    def __enter__(self) -> "Watcher":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, plan: Plan, missing: list[Node]) -> None:
        """Prints the plan before it runs."""
        self.console.print(plan_table(plan, missing))
        self._all = len(missing)
        self._whole = self._progress.add_task("all stages", total=len(missing), rate="", left="")

    def fetched(self, name: str, done: int, total: int) -> None:
        """Shows a download."""
        if name not in self._tasks:
            self._add(name, f"fetching {name}")
        self._show(name, done, total, "B", "")
        if done >= total:
            self._remove(name)

    def started(self, node: Node, label: str) -> None:
        """Adds a line for a stage."""
        self._add(node.id, label)

    def progressed(self, node: Node, done: float, total: float, unit: str, note: str) -> None:
        """Moves a stage's line: how far, how fast, how long still."""
        self._show(node.id, done, total, unit, note)

    def finished(self, node: Node, seconds: float) -> None:
        """Prints what was done and how long it took."""
        self._done += 1
        line = f"[{self._done}/{self._all}] {self._labels.get(node.id, node.stage.name)}  {seconds:.1f} s"
        self.console.print(line, markup=False, soft_wrap=True)
        self._remove(node.id)

    def failed(self, node: Node, label: str, error: str) -> None:
        """Prints a failure; the run goes on."""
        self.console.print(f"failed: {label}: {error}", style="red", markup=False, soft_wrap=True)
        self._remove(node.id)

    def _add(self, key: str, label: str) -> None:
        self._labels[key] = label
        self._begun.pop(key, None)
        self._tasks[key] = self._progress.add_task(label, total=None, rate="", left="")

    def _remove(self, key: str) -> None:
        if key in self._tasks:
            self._progress.remove_task(self._tasks.pop(key))
        if self._whole is not None:
            self._progress.update(self._whole, completed=self._done)

    def _show(self, key: str, done: float, total: float, unit: str, note: str) -> None:
        now = time.monotonic()
        first_done, first_time = self._begun.setdefault(key, (done, now))
        rate = (done - first_done) / (now - first_time) if now > first_time else 0.0
        said = f"{rate:,.0f} {unit}/s {note}" if rate else note
        left = f"{(total - done) / rate:,.0f} s left" if rate and total else ""
        if key in self._tasks:
            self._progress.update(self._tasks[key], completed=done, total=total or None, rate=said, left=left)
        if not self.console.is_terminal and now - self._spoke.get(key, first_time) >= _SECONDS_BETWEEN_LINES:
            self._spoke[key] = now
            share = f"{done / total:.0%}" if total else f"{done:,.0f} {unit}"
            line = f"  {self._labels.get(key, key)}: {share}  {said}  {left}"
            self.console.print(line, markup=False, soft_wrap=True)


class Downloads:
    """A line with a bar for every file that is being downloaded; a line now and then without a terminal."""

    def __init__(self, console: Console):
        self.console = console
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
        )
        self._tasks: dict[str, TaskID] = {}
        self._spoke: dict[str, float] = {}

    def __enter__(self) -> "Downloads":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def moved(self, name: str, done: int, total: int) -> None:
        """So many bytes of a file are here."""
        if name not in self._tasks:  # the first bytes may be of an earlier download: they are no speed
            self._tasks[name] = self._progress.add_task(name, total=total, completed=done)
        self._progress.update(self._tasks[name], completed=done)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._spoke.setdefault(name, now) >= _SECONDS_BETWEEN_LINES:
            self._spoke[name] = now
            self.said(f"{name}: {done:,} of {total:,} bytes ({done / total:.0%})")

    def said(self, line: str) -> None:
        """Prints a line above the bars."""
        self.console.print(line, markup=False, soft_wrap=True)
