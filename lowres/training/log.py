"""The log of a training: JSON lines, one every few steps and one an epoch, the same after a kill and a resume."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEPS_BETWEEN = 10
"""Steps from one line to the next."""


class TrainingLog:
    """Appends to a file of JSON lines, each with its `step`. No wall times: two equal trainings have equal logs."""

    def __init__(self, path: Path):
        self.path = path

    def go_on_from(self, step: int) -> None:
        """Drops the lines behind `step`, which a killed training wrote after its last checkpoint."""
        if self.path.is_file():
            kept = [json.dumps(line) + "\n" for line in read_log(self.path) if line["step"] <= step]
            self.path.write_text("".join(kept), encoding="utf-8")

    def due(self, step: int) -> bool:
        """Whether a line is wanted at this step."""
        return step % STEPS_BETWEEN == 0

    def add(self, step: int, **values: Any) -> None:
        """One line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def keep(self, target: Path) -> None:
        """Copies it to where it stays."""
        self.path.touch()
        shutil.copyfile(self.path, target)


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log. One that a kill cut short is left out."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return
