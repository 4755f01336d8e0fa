"""What a stage costs: seconds, processor seconds and peak memory, added up over interrupted attempts."""

import json
import os
import resource
import time
from pathlib import Path

from lowres.artifacts import Cost

_SECONDS_BETWEEN_SAVES = 5.0
_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class CostMeter:
    """Measures from its making on, and keeps what was spent in `path` so that a killed attempt still counts."""

    def __init__(self, path: Path):
        self._path = path
        self._before = Cost.model_validate_json(path.read_text()) if path.is_file() else Cost()
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()
        self._saved = self._wall
        _reset_peak()

    def cost(self, on_accelerator: bool = False, bytes_seen: int = 0, tokens_seen: int = 0) -> Cost:
        """All that was spent so far, earlier attempts included."""
        wall = time.monotonic() - self._wall
        return Cost(
            wall_s=round(self._before.wall_s + wall, 3),
            cpu_s=round(self._before.cpu_s + _cpu_seconds() - self._cpu, 3),
            accelerator_s=round(self._before.accelerator_s + (wall if on_accelerator else 0.0), 3),
            peak_bytes=max(self._before.peak_bytes, _peak_bytes()),
            bytes_seen=bytes_seen,
            tokens_seen=tokens_seen,
        )

    def save(self) -> None:
        """Keeps the sum where the next attempt finds it."""
        if self._path.parent.is_dir():
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(self.cost().model_dump()))
            partial.rename(self._path)
        self._saved = time.monotonic()

    def save_if_due(self) -> None:
        """Saves every few seconds."""
        if time.monotonic() - self._saved >= _SECONDS_BETWEEN_SAVES:
            self.save()


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _reset_peak() -> None:
    """A long-lived worker's peak is cumulative; on Linux writing 5 here resets it."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return


def _peak_bytes() -> int:
    """Peak resident bytes since the reset; elsewhere than on Linux since the process began."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
