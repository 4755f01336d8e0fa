"""What this machine has for lowres and what it lacks. Each framework is asked in a process of its own."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from lowres import __version__
from lowres.experiment.results import processor_name
from lowres.processor import cores

_EXTRAS = {
    "ray": ("a cluster executor", "pip install 'lowres[ray]'"),
    "jupyterlab": ("notebooks", "pip install 'lowres[notebooks]'"),
    "pytest": ("the tests", "pip install 'lowres[test]'"),
}
_NEEDED = (
    ("fastai", "torch", "sentencepiece", "transformers"),
    ("jax", "datasets", "stanza", "scikit-learn", "pyarrow"),
)
_ROOMS = {"ulmfit": "lowres.families.ulmfit.abilities", "gptj": "lowres.families.gptj.abilities"}
_SECONDS_TO_ANSWER = 600.0


def findings(store: Path, benchmark: bool = False) -> Iterator[tuple[str, str]]:
    """(name, what was found), a line each. store: the store's folder. benchmark: speeds too, half a minute of work."""
    yield "lowres", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    for names in _NEEDED:
        yield "libraries", ", ".join(map(_version, names))
    for name, (purpose, command) in _EXTRAS.items():
        found = _version(name)
        yield "extra", f"{found}, needed for {purpose} only: {command}" if "missing" in found else found
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(store)
    yield "processor", processor_name()
    yield "cores", f"{cores()}, of which a run gives run.threads to each worker, and as many workers as fit"
    threads = os.environ.get("OMP_NUM_THREADS", "")
    yield "threads", f"OMP_NUM_THREADS is {threads or 'not set'}; it holds outside of runs only"
    yield "memory", f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free"
    yield "store", f"{store}, {disk.free / 2**30:.1f} GiB free"
    yield "accelerator", accelerators()
    for family, module in _ROOMS.items():
        yield from ask(family, module, benchmark)


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} is missing"


def accelerators() -> str:
    """Drivers that are there, by their files."""
    if shutil.which("nvidia-smi"):
        return "NVIDIA driver found; JAX on it: pip install 'lowres[gpu]'"
    if any(Path("/dev").glob("accel*")):
        return "TPU found; JAX on it: pip install 'lowres[tpu]'"
    return "none found; the processor is used"


def ask(family: str, module: str, benchmark: bool) -> list[tuple[str, str]]:
    """What a family's framework says of itself; one line of why where it does not start."""
    command = [sys.executable, "-W", "ignore", "-m", module, *(["--benchmark"] if benchmark else [])]
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=_SECONDS_TO_ANSWER, check=True
        )
        return [(name, said) for name, said in json.loads(done.stdout.splitlines()[-1])]
    except subprocess.TimeoutExpired:
        return [(family, f"did not answer within {_SECONDS_TO_ANSWER:.0f} s")]
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        return [(family, f"does not start: {lines[-1] if lines else f'exit code {error.returncode}'}")]
    except (ValueError, IndexError):
        return [(family, "does not answer")]
