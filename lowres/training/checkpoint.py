"""Checkpoints of a training stage in its durable scratch folder: whole or absent, the newest kept."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

SECONDS_BETWEEN = 30.0


class Checkpoints:
    """Numbered checkpoint folders under `folder`; a kill at any moment leaves the last whole one.

    due() is true once `seconds` have passed since the last save; how often one saves never changes what is computed.
    """

    def __init__(self, folder: Path, seconds: float = SECONDS_BETWEEN):
        self.folder = folder
        self.seconds = seconds
        self._saved_at = time.monotonic()

    def latest(self) -> tuple[int, Path] | None:
        """(step, folder) of the newest whole checkpoint, or None."""
        whole = [path for path in self.folder.glob("step-*") if path.name[5:].isdigit()]
        if not whole:
            return None
        newest = max(whole, key=lambda path: int(path.name[5:]))
        return int(newest.name[5:]), newest

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved_at >= self.seconds

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Calls `write(folder)` on a fresh folder, then puts it in place and removes the older ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        building = self.folder / f"building-{step}"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        write(building)
        final = self.folder / f"step-{step}"
        shutil.rmtree(final, ignore_errors=True)
        building.rename(final)
        for other in self.folder.glob("*"):
            if other != final:
                shutil.rmtree(other, ignore_errors=True)
        self._saved_at = time.monotonic()
