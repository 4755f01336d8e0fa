"""The main job from Python: plan a recipe, run it, load what it trained. `import lowres` offers these lazily."""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowres import processor
from lowres.artifacts import Manifest, Node
from lowres.cards import TaskKind
from lowres.download import Patience
from lowres.errors import DataError
from lowres.experiment.drive import Driver, Observer, Outcome
from lowres.experiment.jobs import imported
from lowres.experiment.local import LocalExecutor
from lowres.experiment.plan import Plan, make_plan
from lowres.experiment.results import RunFolder
from lowres.families import family
from lowres.fetch import Finder, all_mirrors
from lowres.labels import labelling
from lowres.packages import is_package, open_package
from lowres.recipe import LoadedRecipe, load_recipe
from lowres.store import Store, default_store

if TYPE_CHECKING:
    from lowres.report.results import Results


@dataclass(frozen=True)
class Where:
    """Where a run keeps things and takes them from."""

    store: Path | None = None
    mirrors: Sequence[Path] = ()
    offline: bool = False
    runs: Path = Path("runs")

    def open_store(self) -> Store:
        """The store: the one named, else `LOWRES_HOME`, else the user's cache folder."""
        return open_store(self.store)


class Quiet:
    """An observer that says nothing."""

    def planned(self, plan: Plan, missing: list[Node]) -> None:
        """Says nothing."""

    def started(self, node: Node, label: str) -> None:
        """Says nothing."""

    def progressed(self, node: Node, done: float, total: float, unit: str, note: str) -> None:
        """Says nothing."""

    def finished(self, node: Node, seconds: float) -> None:
        """Says nothing."""

    def failed(self, node: Node, label: str, error: str) -> None:
        """Says nothing."""


def open_store(path: Path | str | None = None) -> Store:
    """The store at `path`, else at `LOWRES_HOME`, else in the user's cache folder."""
    return Store(Path(path) if path else default_store())


def plan(recipe: LoadedRecipe | str | Path, until: str | None = None) -> Plan:
    """All that a recipe asks for, as nodes; nothing is computed."""
    loaded = recipe if isinstance(recipe, LoadedRecipe) else load_recipe(recipe)
    return make_plan(loaded, until)


def execute(
    planned: Plan, where: Where, observer: Observer, on_fetch: Callable[[str, int, int], None] = lambda *_: None
) -> tuple[Path, Outcome]:
    """Runs a plan to its end. Returns the run's folder and how its cells ended."""
    store, recipe = where.open_store(), planned.loaded.recipe
    folder = RunFolder(where.runs / recipe.name, planned, store)
    settings = recipe.run
    # hosts that work together do one thing at a time, in one order
    threads = settings.threads if settings.hosts == 1 else max(settings.threads, processor.cores())
    executor = LocalExecutor(
        store.root, folder.root / "logs", threads, settings.device, settings.timeout_s, where.offline
    )
    started = time.monotonic()
    with interrupts() as stop:
        patience = Patience(stop_requested=stop.is_set)
        finder = Finder(store, all_mirrors(where.mirrors), where.offline, on_fetch, patience)
        try:
            outcome = Driver(planned, store, finder, folder, executor, observer, stop.is_set).run()
        finally:
            if folder.root.is_dir():
                folder.write_machine(_command(), settings.threads, time.monotonic() - started)
    return folder.root, outcome


def run(
    recipe: LoadedRecipe | str | Path,
    *,
    store: Path | str | None = None,
    mirrors: Sequence[Path | str] = (),
    offline: bool = False,
    runs: Path | str = "runs",
    until: str | None = None,
    observer: Observer | None = None,
) -> "Results":
    """Runs a recipe and returns its results; `.frame()` is a DataFrame with a row a cell.

    Raises a LowresError on faulty input. A cell that fails is a row with its status, not an exception.
    """
    from lowres.report.results import load_results

    where = Where(Path(store) if store else None, [Path(mirror) for mirror in mirrors], offline, Path(runs))
    folder, _ = execute(plan(recipe, until), where, observer or Quiet())
    return load_results(folder)


def _command() -> str:
    """The command line, where this is one."""
    program = Path(sys.argv[0])
    if program.name == "lowres" or program.parts[-2:] == ("lowres", "__main__.py"):
        return shlex.join(["lowres", *sys.argv[1:]])
    return "lowres.run(...)"


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event, at which the run stops cleanly; a second Ctrl-C interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Prediction:
    """A label and its probability."""

    label: str
    probability: float


@dataclass(frozen=True)
class LoadedClassifier:
    """A stored classifier with its text policy: raw texts in, labels out. Of one label a text, or of sets of labels."""

    model: Any
    policy: Any

    @property
    def labels(self) -> tuple[str, ...]:
        """The order of predict_proba's columns."""
        return self.model.labels

    @property
    def kind(self) -> TaskKind:
        """As task cards call it: a text has one label ("classification"), or a set of them ("multi-label")."""
        return self.model.kind

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, labels) float32; where a text has one label, rows sum to 1."""
        if not len(texts):
            return np.zeros((0, len(self.labels)), np.float32)
        return self.model.predict_proba([self.policy.apply(text) for text in texts])

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """The most probable label of each text. Raises DataError where texts have sets of labels."""
        if self.kind != "classification":
            raise DataError("predict: this classifier gives each text a set of labels; call predict_sets")
        return [predicted for (predicted,) in self.predict_sets(texts)]

    def predict_sets(self, texts: Sequence[str]) -> list[tuple[Prediction, ...]]:
        """The predicted labels of each text, the most probable first: the one label, or those of .5 or more."""
        rows = self.predict_proba(texts)
        return [self.chosen(row) for row in rows]

    def chosen(self, row: np.ndarray) -> tuple[Prediction, ...]:
        """What is predicted by a row of predict_proba."""
        own = labelling(self.kind)
        there = own.members(own.decided(row[None]), len(self.labels))[0]
        found = [Prediction(self.labels[k], float(row[k])) for k in np.flatnonzero(there)]
        return tuple(sorted(found, key=lambda prediction: -prediction.probability))


def load_classifier(path: Path | str, *, onnx: bool = False) -> LoadedClassifier:
    """A classifier from its folder: an exported one, an artifact of the store, or one of `runs/NAME/classifiers/`.

    onnx: by the exported folder's ONNX graphs. Raises DataError where a file of an exported folder is not as it was.
    """
    from lowres.training.classifier import TextPolicy

    folder = Path(path)
    if is_package(folder):
        return LoadedClassifier(_packaged(folder, onnx)(folder), TextPolicy.read(folder))
    if onnx:
        raise DataError(f"{folder}: holds no ONNX graphs; make a folder that does: lowres export RUN METHOD --onnx")
    name, _, stage = Manifest.read(folder).stage.partition(".")
    if stage != "train_classifier":
        raise DataError(f"{folder}: made by the stage {name}{'.' if stage else ''}{stage}; a classifier is needed")
    return LoadedClassifier(imported(family(name).loader)(folder), TextPolicy.read(folder))


def _packaged(folder: Path, onnx: bool) -> Callable[[Path], Any]:
    """What reads the classifier of a package, whose files are checked here."""
    package = open_package(folder)
    if package.kind != "classifier":
        raise DataError(f"{folder}: a package of a {package.kind}; a classifier is needed")
    own = family(package.family)
    if onnx and own.onnx_loader is None:
        raise DataError(f"{folder}: a classifier of the family {package.family}, which has no ONNX form")
    return imported(str(own.onnx_loader if onnx else own.package_loader or own.loader))


def load_generator(path: Path | str, *, int8: bool = False) -> Any:
    """A language model from its folder, ready to continue text: `.generate(prompt, max_tokens, ...)`.

    int8: by matrices of 8 bits. Raises DataError where the family has no such model.
    """
    folder = Path(path)
    name = open_package(folder).family if is_package(folder) else Manifest.read(folder).stage.partition(".")[0]
    generator = family(name).generator
    if generator is None:
        raise DataError(f"{folder}: the family {name} has no language model that generates")
    return imported(generator)(folder / "forward" if (folder / "forward").is_dir() else folder, int8)
