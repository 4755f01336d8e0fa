"""Finds and loads the compiled kernels, and says why where it cannot. torch says the processor's level."""

import ctypes
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowres.families.ulmfit.kernels.build import LEVELS, RECORD, SOURCES, sources_digest

KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float64: "float64"}
_SIGNATURES = {  # p: a tensor, i: an integer, d: a number
    "qrnn_forward": "pppp" + "d" + "pp" + "iiii",
    "qrnn_backward": "pppp" + "d" + "ppp" + "iiii",
    "lstm_forward": "ppppp" + "iii",
    "lstm_backward": "pppppppp" + "iii",
    "softmax_errors": "pppp" + "iii",
    "drop_weights": "ppp" + "ii" + "d" + "i",
    "drop_gradient": "ppp" + "i" + "d" + "i",
}
_OF_BYTES = {"int8_product": "pppppppp" + "iiii", "int8_lstm": "pppppppppp" + "iiii"}
"""What one kind of numbers alone has, where int8_product_runs_here says so."""
_TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double}
_REBUILD = "pip install -e . builds them"


@dataclass(frozen=True)
class Kernels:
    """The loaded library. level: the processor's level that it was compiled for; openmp: whether it uses threads."""

    level: str
    compiler: str
    openmp: bool
    functions: dict[str, Callable[..., None]]

    @property
    def of_bytes(self) -> bool:
        """Whether there are the kernels int8_product and int8_lstm on this processor."""
        return "int8_product" in self.functions

    def call(self, name: str, dtype: torch.dtype | None, *arguments: Tensor | float | None) -> None:
        """Runs a kernel on contiguous CPU tensors, with torch's number of threads. dtype: None for int8_*."""
        given = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        whole = name if dtype is None else f"{name}_{KINDS[dtype]}"
        self.functions[whole](*given, torch.get_num_threads() if self.openmp else 1)


@dataclass(frozen=True)
class Missing:
    """Why there are no compiled kernels, in a line."""

    why: str


@cache
def kernels(folder: Path = SOURCES) -> Kernels | Missing:
    """The kernels in `folder`, once a process."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Missing(f"not built here; {_REBUILD} where a C compiler is found")
    if record["sources"] != sources_digest():
        return Missing(f"built from other sources; {_REBUILD} anew")
    if record["machine"] != platform.machine():
        return Missing(f"built for {record['machine']}, this is {platform.machine()}; {_REBUILD}")
    level = _level(record["libraries"])
    if level is None:
        able = torch.backends.cpu.get_cpu_capability()
        return Missing(f"built for processors with {' or '.join(record['libraries'])}, this one has {able}")
    try:
        if record["openmp"]:
            ctypes.CDLL(_torchs_openmp(), mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(folder / record["libraries"][level]))
        functions = _functions(library)
    except (OSError, AttributeError) as error:
        return Missing(f"the library does not load ({error}); {_REBUILD} anew")
    return Kernels(level, record["compiler"], record["openmp"], functions)


def has_kernels() -> bool:
    """Whether there are compiled kernels in this process."""
    return isinstance(kernels(), Kernels)


def _level(libraries: dict[str, str]) -> str | None:
    """The highest level among `libraries` that the processor has."""
    levels = list(LEVELS.get(platform.machine(), {"DEFAULT": []}))
    able = torch.backends.cpu.get_cpu_capability()
    first = next((k for k, name in enumerate(levels) if able.startswith(name) or name == "DEFAULT"), len(levels))
    return next((name for name in levels[first:] if name in libraries), None)


def _torchs_openmp() -> str:
    """The path of the OpenMP library that torch has loaded; the system's name for it where that is not told."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    paths = [line.split(maxsplit=5)[5] for line in lines if line.count("/") and "libgomp" in line]
    return paths[0] if paths else "libgomp.so.1"


def _functions(library: Any) -> dict[str, Callable[..., None]]:
    wanted = {f"{name}_{kind}": letters for name, letters in _SIGNATURES.items() for kind in KINDS.values()}
    wanted |= _OF_BYTES if library.int8_product_runs_here() else {}
    found = {}
    for name, letters in wanted.items():
        found[name] = getattr(library, name)
        found[name].argtypes, found[name].restype = [_TYPES[letter] for letter in letters], None
    return found
