"""What a command costs: seconds, processor seconds, and the peak memory of each of its processes. Needs Linux."""

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MB = 1e6
_POLL_S = 0.1


@dataclass(frozen=True)
class Sample:
    """One process and its children. cpu_s: user and system. peaks: role -> MB of the largest process of that role."""

    wall_s: float
    cpu_s: float
    peaks: dict[str, float]


@dataclass
class Measured:
    """Samples of one command. xml_bytes: what it read, decompressed. stages: wall and CPU seconds without the start."""

    xml_bytes: int
    samples: list[Sample] = field(default_factory=list)
    stages: list[tuple[float, float]] = field(default_factory=list)

    def walls(self) -> list[float]:
        return [sample.wall_s for sample in self.samples]

    def cpus(self) -> list[float]:
        return [sample.cpu_s for sample in self.samples]

    def rate(self, seconds: Sequence[float]) -> float:
        """MB of XML a second, from the median."""
        return self.xml_bytes / MB / statistics.median(seconds)

    def peak(self, *roles: str) -> float:
        """MB of the largest process of these roles, of all rounds."""
        return max((peak for sample in self.samples for role, peak in sample.peaks.items() if role in roles), default=0)


def measure(command: Sequence[str], cores: int, role: Callable[[str], str] = lambda line: "process") -> Sample:
    """Runs a command on the first `cores` cores, and waits. role: what to call a process, by its command line.

    Raises SystemExit with the end of its errors where it fails.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:cores])
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        os.sched_setaffinity(0, allowed)
        seen: dict[int, tuple[str, float]] = {}
        while not (waited := os.wait4(process.pid, os.WNOHANG))[0]:
            _note_peaks(process.pid, seen, role)
            time.sleep(_POLL_S)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(waited[1])
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{errors.read().decode()[-1500:]}")
    peaks: dict[str, float] = {}
    for name, peak in seen.values():
        peaks[name] = max(peak, peaks.get(name, 0.0))
    usage = waited[2]
    return Sample(wall, usage.ru_utime + usage.ru_stime, peaks)


def _note_peaks(root: int, seen: dict[int, tuple[str, float]], role: Callable[[str], str]) -> None:
    """The kernel's own high-water mark of the process and of each below it, as MB."""
    import psutil

    try:
        process = psutil.Process(root)
        for each in (process, *process.children(recursive=True)):
            peak = re.search(r"VmHWM:\s+(\d+) kB", (Path("/proc") / str(each.pid) / "status").read_text())
            if peak:
                seen[each.pid] = (role(" ".join(each.cmdline())), int(peak[1]) * 1024 / MB)
    except (psutil.Error, FileNotFoundError, ProcessLookupError):
        return  # it has just ended


def lowres_role(line: str) -> str:
    """driver: the command; stage: the process that builds the corpus; worker: one that reads and cleans blocks."""
    return "worker" if "lowres.corpus.blocks" in line else "stage" if "lowres.experiment.worker" in line else "driver"
