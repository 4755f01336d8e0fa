"""The logs of a plan's trainings, those that are done and those that go on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowres.errors import DataError
from lowres.experiment.plan import Plan, every_node, labels_of
from lowres.store import Store
from lowres.training.log import read_log


@dataclass(frozen=True)
class Training:
    """A training of a plan. label: as progress calls it. lines: see TrainingLog. done: whether its artifact stands."""

    label: str
    lines: tuple[dict[str, Any], ...]
    done: bool

    def last(self, name: str) -> Any:
        """The newest value of that name, or None."""
        return next((line[name] for line in reversed(self.lines) if name in line), None)


def trainings(plan: Plan, store: Store) -> Iterator[Training]:
    """The trainings of a plan that have a log in the store, in the plan's order."""
    labels = labels_of(plan)
    for artifact in every_node(plan):
        done = store.has(artifact)
        folder = store.path(artifact) if done else store.root / "work" / artifact
        for path in sorted(folder.glob("*.jsonl")):
            direction = path.stem.removeprefix("training").strip("-") if done else path.stem
            own = direction if direction in ("forward", "backward", "speed") else ""
            lines = tuple(read_log(path))
            if lines and "step" in lines[0]:
                label = labels.get(artifact, artifact[:12])
                yield Training(f"{label} · {own}" if own else label, lines, done)


def write_tensorboard(found: list[Training], folder: Path) -> None:
    """Writes every number of the logs as TensorBoard scalars, a folder a training. Raises DataError without it."""
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise DataError("--tensorboard needs tensorboard: pip install 'lowres[tensorboard]'") from error
    for training in found:
        writer = Writer(str(folder / training.label.replace(" · ", "/").replace(" ", "-")))
        for line in training.lines:
            for name, value in line.items():
                if name != "step":
                    # the step is the clock too: a log has no times
                    writer.add_scalar(name, float(value), line["step"], wall_time=float(line["step"]))
        writer.close()
