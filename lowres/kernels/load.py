"""Finds and loads the compiled kernels, and says why where it cannot."""

import ctypes
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowres import processor
from lowres.kernels.build import LEVELS, RECORD, SOURCES, sources_digest

NEEDED = {
    "AVX512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "AVX2": {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "DEFAULT": set(),
}
"""What Linux must say of a processor for a level: x86-64-v4 is AVX512 with AVX2, x86-64-v3 is AVX2."""
NEEDED["AVX512"] |= NEEDED["AVX2"]
_TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double}
_REBUILD = "pip install -e . builds them"


@dataclass(frozen=True)
class Library:
    """The loaded library. level: the processor's level that it was compiled for; openmp: whether it uses threads."""

    level: str
    compiler: str
    openmp: bool
    opened: Any

    def functions(self, signatures: Mapping[str, str]) -> dict[str, Callable[..., None]]:
        """Functions by name. A signature has a letter an argument: p a pointer, i an integer, d a number."""
        found = {}
        for name, letters in signatures.items():
            found[name] = getattr(self.opened, name)
            found[name].argtypes, found[name].restype = [_TYPES[letter] for letter in letters], None
        return found


@dataclass(frozen=True)
class Missing:
    """Why there are no compiled kernels, in a line."""

    why: str


def library(folder: Path = SOURCES) -> Library | Missing:
    """The library in `folder`."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Missing(f"not built here; {_REBUILD} where a C compiler is found")
    if record["sources"] != sources_digest():
        return Missing(f"built from other sources; {_REBUILD} anew")
    if record["machine"] != platform.machine():
        return Missing(f"built for {record['machine']}, this is {platform.machine()}; {_REBUILD}")
    able = _levels()
    level = next((name for name in able if name in record["libraries"]), None)
    if level is None:
        has = able[0] if able else "none of them"
        return Missing(f"built for processors with {' or '.join(record['libraries'])}, this one has {has}")
    try:
        if record["openmp"]:
            ctypes.CDLL(_openmp(), mode=ctypes.RTLD_GLOBAL)
        opened = ctypes.CDLL(str(folder / record["libraries"][level]))
    except OSError as error:
        return Missing(f"the library does not load ({error}); {_REBUILD} anew")
    return Library(level, record["compiler"], record["openmp"], opened)


def _levels() -> list[str]:
    """What this processor has of its family's levels, the highest first."""
    flags = processor.flags()
    return [name for name in LEVELS.get(platform.machine(), {"DEFAULT": []}) if NEEDED[name] <= flags]


def _openmp() -> str:
    """The path of the OpenMP library that is loaded already, torch's say; else the system's name for it."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    paths = [line.split(maxsplit=5)[5] for line in lines if line.count("/") and "libgomp" in line]
    return paths[0] if paths else "libgomp.so.1"
