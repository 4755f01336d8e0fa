"""Builds the kernels with the C compiler that is at hand. Standard library alone: the build hook runs it.

A shared library is built for each level of the processor's family, so that one wheel serves every machine of its
kind; load.py takes the highest that the processor has. OpenMP is left unresolved when linking: load.py gives it
torch's own, for two pools of threads in one process would wait for each other.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent
RECORD = "built.json"
LEVELS = {
    "x86_64": {
        "AVX512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
        "AVX2": ["-march=x86-64-v3"],
    }
}
"""machine -> level (highest first; load.py says what each asks for) -> the compiler's flags. Others: their baseline."""
LEVELS["AMD64"] = LEVELS["x86_64"]
_FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]


class NotBuilt(Exception):
    """Why there are no kernels, in a line."""


def sources_digest() -> str:
    """SHA-256 of the C sources, to know kernels that were built from others."""
    found = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()


def find_compiler() -> str:
    """The path of $CC, cc, gcc or clang. Raises NotBuilt."""
    named = os.environ.get("CC")
    wanted = [named] if named else ["cc", "gcc", "clang"]
    for name in wanted:
        path = shutil.which(name)
        if path:
            return path
    raise NotBuilt(f"no C compiler ({', '.join(wanted)})")


def build(folder: Path) -> list[Path]:
    """Compiles the kernels into `folder`: a library for each level and built.json. Raises NotBuilt.

    Returns the files that it wrote; nothing is left half-written.
    """
    compiler = find_compiler()
    levels = LEVELS.get(platform.machine(), {"DEFAULT": []})
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as scratch:
        version = _version(compiler)
        # clang's OpenMP is another library than the one that torch brings along
        made, openmp = {}, "clang" not in version
        for level, flags in levels.items():
            made[level] = f"kernels-{level.lower()}.so"
            _compile(compiler, [*flags, *(["-fopenmp"] if openmp else [])], Path(scratch) / made[level])
        record = {
            "compiler": version,
            "machine": platform.machine(),
            "openmp": openmp,
            "libraries": made,
            "sources": sources_digest(),
        }
        (Path(scratch) / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        # replaced, never written over: another process may have the old library mapped
        return [(Path(scratch) / name).replace(folder / name) for name in (*made.values(), RECORD)]


def _version(compiler: str) -> str:
    """The first line of what the compiler says of itself. Raises NotBuilt where it does not start."""
    try:
        said = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NotBuilt(f"{compiler} does not start ({error})") from error
    return said.partition("\n")[0] or compiler


def _compile(compiler: str, flags: list[str], library: Path) -> None:
    part = library.with_suffix(".o")
    shared = ["-shared", *(["-undefined", "dynamic_lookup"] if platform.system() == "Darwin" else [])]
    for command in (
        [compiler, *_FLAGS, *flags, "-c", str(SOURCES / "kernels.c"), "-o", str(part)],
        [compiler, *shared, str(part), "-o", str(library), "-lm"],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        except OSError as error:
            raise NotBuilt(f"{compiler} does not start ({error.strerror})") from error
        except subprocess.SubprocessError as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise NotBuilt(f"{compiler} failed: {said[0] if said else 'without a word'}") from error


if __name__ == "__main__":
    for path in build(SOURCES):
        print(path)
