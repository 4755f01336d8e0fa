"""A worker: one long-lived process that runs the stages of one family, or those of data.

It is started as `python -m lowres.experiment.worker READ_FD WRITE_FD STORE` with its threads fixed in the environment,
reads one JSON job a line and answers in JSON lines: progress, then one of done, busy, stopped, failed. It leaves at
once when its pipe closes, so no orphan outlives a killed driver.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lowres.artifacts import Manifest, Run, write_json
from lowres.errors import LowresError, NotFinite, Stopped, StoreError
from lowres.experiment.jobs import Job
from lowres.experiment.meter import CostMeter
from lowres.fingerprint import file_sha256
from lowres.store import Store, disk_faults

_SECONDS_BETWEEN_MESSAGES = 0.2
_WITH_CHILDREN = ("data", "segment")
"""Workers whose processes end theirs by SIGTERM."""
_OOM_SIGNS = ("out of memory", "resource_exhausted", "can't allocate memory", "failed to allocate")


class Channel:
    """The worker's end of its two pipes."""

    def __init__(self, read_fd: int, write_fd: int):
        self._out = os.fdopen(write_fd, "w", encoding="utf-8", buffering=1)
        self._in = os.fdopen(read_fd, "r", encoding="utf-8")
        self._lock = threading.Lock()
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self.stop = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Takes jobs and the stop word; the end of the pipe ends the process."""
        for line in self._in:
            message = json.loads(line)
            if message["type"] == "stop":
                self.stop.set()
            else:
                self.jobs.put(Job.model_validate(message["job"]))
        os._exit(0)

    def send(self, **message: Any) -> None:
        """One JSON line to the driver; a closed pipe ends the process."""
        try:
            with self._lock:
                self._out.write(json.dumps(message, ensure_ascii=False) + "\n")
        except (BrokenPipeError, ValueError):
            os._exit(0)


def build(job: Job, store: Store, channel: Channel) -> str:
    """Builds the artifact of `job` unless it stands by now. Returns "done" or "busy" (another process builds it)."""
    with store.locked(job.id, timeout_s=0) as mine:
        if store.has(job.id):
            return "done"
        if not mine:
            return "busy"
        out, work = store.start_building(job.id), store.work(job.id)
        meter = CostMeter(work / "cost.json")
        run = Run(
            out=out,
            work=work,
            seed=int(job.id[:8], 16),
            threads=job.threads,
            device=job.device,
            devices=job.devices,
            files={sha: Path(path) for sha, path in job.files.items()},
            on_progress=_progress(channel, meter),
            stop_requested=channel.stop.is_set,
        )
        try:
            with disk_faults(str(store.root)):
                stage = job.load()
                inputs = {role: store.path(artifact) for role, artifact in job.inputs.items()}
                stage(inputs, job.typed_spec(), run)
                _finish(job, run, meter)
            store.put(job.id, out)
        except BaseException:
            store.discard(out)
            with suppress(OSError):  # a disk that is full is what went wrong, and is told as it is
                meter.save()
            raise
    return "done"


def _progress(channel: Channel, meter: CostMeter) -> Callable[[float, float, str, str], None]:
    last = 0.0

    def send(done: float, total: float, unit: str, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_MESSAGES:
            last = now
            meter.save_if_due()
            channel.send(type="progress", done=done, total=total, unit=unit, note=note)

    return send


def _finish(job: Job, run: Run, meter: CostMeter) -> None:
    """Hashes what was written and writes the manifest, last."""
    from datetime import UTC, datetime

    from lowres import __version__

    files = {
        path.relative_to(run.out).as_posix(): file_sha256(path) for path in sorted(run.out.rglob("*")) if path.is_file()
    }
    counted = {key: run.facts.get(key, 0) for key in ("bytes_seen", "tokens_seen")}
    manifest = Manifest(
        id=job.id,
        stage=job.stage,
        version=job.version,
        spec=job.spec,
        inputs=job.inputs,
        files=files,
        facts=run.facts,
        cost=meter.cost(on_accelerator=job.device != "cpu", **counted),
        threads=job.threads,
        device=job.device,
        lowres=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(run.out / "manifest.json", manifest.model_dump(mode="json"))


def failure(error: BaseException) -> Mapping[str, Any]:
    """How an exception is told to the driver: status, one line, and whether the user can mend it."""
    line = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, NotFinite):
        return {"status": "nan", "error": line, "usage": False}
    if isinstance(error, LowresError):
        return {"status": "error", "error": str(error), "usage": True, "store": isinstance(error, StoreError)}
    lowered = line.lower()
    if isinstance(error, MemoryError) or any(sign in lowered for sign in _OOM_SIGNS):
        return {"status": "oom", "error": line[:500], "usage": False}
    return {"status": "error", "error": f"{type(error).__name__}: {line}"[:500], "usage": False}


def serve(store: Store, channel: Channel) -> None:
    """Runs jobs until the pipe closes."""
    while True:
        job = channel.jobs.get()
        if job.worker not in _WITH_CHILDREN:  # a machine that is taken away: save, and stop
            signal.signal(signal.SIGTERM, lambda *_: channel.stop.set())
        try:
            channel.send(type=build(job, store, channel), id=job.id)
        except Stopped:
            channel.send(type="stopped", id=job.id)
        except BaseException as error:  # noqa: BLE001 - whatever a stage raises is a recorded failure of its cell
            if not isinstance(error, LowresError):
                traceback.print_exc()
            channel.send(type="failed", id=job.id, **failure(error))


def main(arguments: list[str]) -> None:
    """Entry of the process. Standard output goes to the log (standard error): libraries print there."""
    read_fd, write_fd, root = int(arguments[0]), int(arguments[1]), Path(arguments[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which tells us in its own words
    os.dup2(2, 1)
    serve(Store(root), Channel(read_fd, write_fd))


if __name__ == "__main__":
    # the module is imported again under its own name, so that errors and jobs are the same classes everywhere
    import_module("lowres.experiment.worker").main(sys.argv[1:])
