"""A recipe that takes seconds, an observer that remembers, and a place of its own to run in."""

from dataclasses import dataclass, field
from pathlib import Path

from lowres import api
from lowres.artifacts import Node
from lowres.experiment.plan import Plan
from lowres.recipe import build_recipe

BASELINES = {
    "name": "small",
    "language": "vie",
    "tasks": ["vi/mini_topics"],
    "train_sizes": [24, 72],
    "subsets": 2,
    "seeds": [0],
    "methods": {
        "majority": {"family": "baselines", "model": "majority"},
        "tfidf": {"family": "baselines", "model": "tfidf-lr"},
    },
}


@dataclass
class Notes:
    """An observer that remembers."""

    built: list[str] = field(default_factory=list)
    missing: int = -1
    failures: list[str] = field(default_factory=list)

    def planned(self, plan: Plan, missing: list[Node]) -> None:
        self.missing = len(missing)

    def started(self, node: Node, label: str) -> None: ...

    def progressed(self, node: Node, done: float, total: float, unit: str, note: str) -> None: ...

    def finished(self, node: Node, seconds: float) -> None:
        self.built.append(node.stage.name)

    def failed(self, node: Node, label: str, error: str) -> None:
        self.failures.append(error)


@dataclass
class Bench:
    """A place with a store and run folders of its own."""

    root: Path

    def plan(self, content=BASELINES, **changes) -> Plan:
        return api.plan(build_recipe({**content, **changes}))

    def run(self, plan: Plan, observer=None, store: str = "store"):
        where = api.Where(self.root / store, [], True, self.root / "runs")
        return api.execute(plan, where, observer or Notes())
