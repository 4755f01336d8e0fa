"""The local executor: workers on this machine, each of one family or of data, within the machine's cores."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from lowres import processor
from lowres.experiment.jobs import Job

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "NPROC",  # XLA on CPU: the others leave it at two threads a core
)
_SECONDS_TO_LEAVE = 5.0
_MOST_COMPILED = str(1 << 30)  # bytes; what was not used for longest goes
# bz2 and expat walk over megabytes at random: 7 % less time where Linux gives large pages to who asks.
_LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def worker_environment(threads: int, device: str, offline: bool, store: Path) -> dict[str, str]:
    """A worker's environment: threads fixed before any library is imported, hashes stable, hubs shut if offline.

    What JAX compiled is kept in the store, by processor, and read by the next worker; what the user set stays.
    """
    environment = dict(os.environ)
    environment.update({name: str(threads) for name in _THREAD_VARIABLES})
    environment["TOKENIZERS_PARALLELISM"] = "false"
    environment["PYTHONHASHSEED"] = "0"
    environment["JAX_PLATFORMS"] = device if device == "cpu" else f"{device},cpu"
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} intra_op_parallelism_threads={threads}"
    environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(store / "compiled" / processor.digest()))
    environment.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", _MOST_COMPILED)
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
        environment["HF_DATASETS_OFFLINE"] = "1"
    return environment


class Worker:
    """A worker process and its two pipes."""

    def __init__(self, kind: str, store: Path, log: Path, environment: dict[str, str]):
        self.kind = kind
        self.job: Job | None = None
        self.started = time.monotonic()
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        command = [sys.executable, "-m", "lowres.experiment.worker", str(to_read), str(from_write), str(store)]
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                pass_fds=(to_read, from_write),
                env={**_LARGE_PAGES, **environment} if kind == "data" else environment,
            )
        os.close(to_read)
        os.close(from_write)
        self._out = os.fdopen(to_write, "w", encoding="utf-8", buffering=1)
        self.read_fd = from_read
        self._left = b""

    def start(self, job: Job) -> None:
        """Hands over a job."""
        self.job, self.started = job, time.monotonic()
        self._send({"type": "job", "job": job.model_dump(mode="json")})

    def stop(self) -> None:
        """Asks the running stage to save and stop."""
        self._send({"type": "stop"})

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):
            self._out.write(json.dumps(message, ensure_ascii=False) + "\n")

    def messages(self) -> list[dict[str, Any]] | None:
        """What has come; None at the end of the pipe: the process is gone."""
        data = os.read(self.read_fd, 1 << 16)
        if not data:
            return None
        *lines, self._left = (self._left + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self, kill: bool = False) -> int:
        """Closes the pipe, at which the worker leaves, and waits. Returns its exit code."""
        if kill:
            self.process.kill()
        with suppress(BrokenPipeError):
            self._out.close()
        try:
            code = self.process.wait(_SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        os.close(self.read_fd)
        return code


class LocalExecutor:
    """Runs jobs on workers of this machine.

    At most cores // threads workers live at a time, so their threads never exceed the cores; an idle worker of another
    family leaves to make room.
    """

    def __init__(self, store: Path, logs: Path, threads: int, device: str, timeout_s: float | None, offline: bool):
        self.slots = max(1, processor.cores() // threads)
        self._store, self._logs, self._timeout_s = store, logs, timeout_s
        self._environment = worker_environment(threads, device, offline, store)
        self._workers: list[Worker] = []
        self._selector = DefaultSelector()

    @property
    def running(self) -> list[Job]:
        """The jobs under way."""
        return [worker.job for worker in self._workers if worker.job]

    def warm(self, kind: str) -> bool:
        """Whether an idle worker of this kind lives."""
        return any(worker.kind == kind and worker.job is None for worker in self._workers)

    def has_room(self) -> bool:
        """Whether a job could start now."""
        return len(self.running) < self.slots

    def start(self, job: Job) -> None:
        """Starts a job on an idle worker of its kind, or on a new one."""
        idle = [worker for worker in self._workers if worker.job is None]
        worker = next((worker for worker in idle if worker.kind == job.worker), None)
        if worker is None:
            if len(self._workers) >= self.slots:
                self._retire(idle[0])
            self._logs.mkdir(parents=True, exist_ok=True)
            log = self._logs / f"{job.worker}.log"
            worker = Worker(job.worker, self._store, log, self._environment)
            self._workers.append(worker)
            self._selector.register(worker.read_fd, EVENT_READ, worker)
        worker.start(job)

    def stop_all(self) -> None:
        """Asks every running stage to save and stop."""
        for worker in self._workers:
            worker.stop()

    def events(self, wait_s: float) -> Iterator[tuple[Job, dict[str, Any]]]:
        """What workers said within `wait_s`: (job, message). A dead worker or a timeout is a failure of its job."""
        for key, _ in self._selector.select(wait_s):
            worker: Worker = key.data
            messages = worker.messages()
            if messages is None:
                yield from self._buried(worker)
                continue
            for message in messages:
                job = worker.job
                if message["type"] != "progress":
                    worker.job = None
                if job is not None:
                    yield job, message
        yield from self._overdue()

    def _buried(self, worker: Worker) -> Iterator[tuple[Job, dict[str, Any]]]:
        code = self._retire(worker)
        if worker.job is not None:
            log = self._logs / f"{worker.kind}.log"
            # SIGKILL that we did not send is, on a machine short of memory, the kernel's
            status = "oom" if code == -9 else "error"
            yield (
                worker.job,
                {
                    "type": "failed",
                    "status": status,
                    "error": f"the {worker.kind} worker died (exit code {code}); its log: {log}",
                    "usage": False,
                },
            )

    def _overdue(self) -> Iterator[tuple[Job, dict[str, Any]]]:
        if self._timeout_s is None:
            return
        for worker in list(self._workers):
            if worker.job is not None and time.monotonic() - worker.started > self._timeout_s:
                self._retire(worker, kill=True)
                error = f"{worker.job.stage} took longer than run.timeout_s = {self._timeout_s:g} s"
                yield worker.job, {"type": "failed", "status": "timeout", "error": error, "usage": False}

    def _retire(self, worker: Worker, kill: bool = False) -> int:
        self._selector.unregister(worker.read_fd)
        self._workers.remove(worker)
        code = worker.close(kill)
        if worker.job is not None:  # it left in the middle: what it was building is worth nothing, its checkpoints are
            shutil.rmtree(self._store / "building" / f"{worker.job.id}.{worker.process.pid}", ignore_errors=True)
        return code

    def close(self) -> None:
        """Ends every worker; one that still runs a job is killed (its artifact stays unbuilt, its checkpoints stay)."""
        for worker in list(self._workers):
            self._retire(worker, kill=worker.job is not None)
        self._selector.close()
