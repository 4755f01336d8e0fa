"""Rows of float32 times matrices of 8 bits or of floats, and attention, by kernels in C; a processor alone has them.

XLA reads the matrix of a single row in one thread, and makes floats of a layer's 8 bits before it multiplies them: four
times the bytes to write and to read again. A token at a time is bound by memory; the kernels read a matrix once and
widen 8 bits in registers. Inputs stay float32, so nothing is rounded that `layered` does not round.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as once
from functools import partial

import numpy as np

from lowres.kernels.load import Missing, library
from lowres.processor import cores

LANES = 64
"""Outputs that a kernel works at together (lanes.h)."""
_SIGNATURES = {
    "lanes_product_int8": "pppp" + "iiiiii",
    "lanes_product_float32": "pppp" + "iiiiii",
    "gptj_remember": "ppppp" + "pppp" + "iiiii",
    "gptj_attend": "pppppp" + "iiiii",
    "gptj_gelu": "pp" + "ii",
}
ALONE = 1 << 24
"""Bytes of memory up to which one thread reads them faster than another one is woken."""
_ROWS = 8
"""Rows that cost as much as reading the matrix."""
_RUNS = 4
"""Runs of outputs a thread."""

Work = Callable[[], object]


@once
def kernels() -> dict[str, Callable[..., None]] | Missing:
    """The kernels, or why there are none."""
    found = library()
    return found if isinstance(found, Missing) else found.functions(_SIGNATURES)


def call(name: str, *arguments: np.ndarray | int | None) -> None:
    """Runs a kernel on contiguous arrays."""
    found = kernels()
    assert not isinstance(found, Missing)
    found[name](*(given.ctypes.data if isinstance(given, np.ndarray) else given for given in arguments))


def threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return cores()


def helpful(work: int) -> int:
    """How many threads to take for so many bytes of memory to read."""
    return threads() if work > ALONE else 1


def shared(works: Iterable[Work], count: int) -> None:
    """Does all of `works` in `count` threads, this one among them, which take the next in turn.

    None ever waits spinning, as OpenMP's do: with another process on the second of two cores OpenMP took 2.5 times as
    long. What a helping thread has not begun when all is taken is not waited for.
    """
    left = iter(list(works))

    def work() -> None:
        for one in left:
            one()

    helping = [_helpers(count - 1).submit(work) for _ in range(count - 1)]
    work()
    for future in helping:
        if not future.cancel():
            future.result()


@once
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "lanes")


@dataclass(frozen=True)
class Packed:
    """A matrix (inputs, outputs) as the kernels read it, front to back.

    codes: int8 or float32 (outputs / 64, inputs, 64); scales: float32 (outputs / 64, blocks, 64), None for floats;
    outputs are padded with zeros.
    """

    codes: np.ndarray
    scales: np.ndarray | None
    outputs: int

    @classmethod
    def of(cls, codes: np.ndarray, scales: np.ndarray | None = None) -> "Packed":
        """From what int8.quantised gives, or from floats of any width."""
        if scales is None:
            codes = np.asarray(codes, np.float32)
        return cls(_in_lanes(codes), None if scales is None else _in_lanes(scales), codes.shape[1])


def _in_lanes(array: np.ndarray) -> np.ndarray:
    """(rows, columns) -> (columns / 64, rows, 64)."""
    rows, columns = array.shape
    packed = np.zeros((-(-columns // LANES), rows, LANES), array.dtype)
    for place in range(len(packed)):
        some = array[:, place * LANES : (place + 1) * LANES]
        packed[place, :, : some.shape[1]] = some
    return packed


def products(given: Sequence[tuple[np.ndarray, Packed]]) -> list[np.ndarray]:
    """Each x (rows, inputs) float32 times its matrix: (rows, outputs) float32, all at once.

    A row does not depend on the others.
    """
    found = [np.empty((len(x), matrix.outputs), np.float32) for x, matrix in given]
    count = helpful(sum(matrix.codes.nbytes * (1 + len(x) // _ROWS) for x, matrix in given))
    works: list[Work] = []
    for (x, matrix), out in zip(given, found, strict=True):
        block = x.shape[1] // (1 if matrix.scales is None else matrix.scales.shape[1])
        arrays = np.ascontiguousarray(x, np.float32), matrix.codes, matrix.scales, out
        one = partial(call, f"lanes_product_{matrix.codes.dtype.name}", *arrays, *x.shape, matrix.outputs, block)
        works += [partial(one, *part) for part in parts(len(matrix.codes), count)]
    shared(works, count)
    return found


def parts(length: int, count: int) -> Iterator[tuple[int, int]]:
    """(first, last) of some parts of `length` for each of `count` threads; one part for one thread."""
    run = -(-length // (_RUNS * count if count > 1 else 1))
    return ((first, min(first + run, length)) for first in range(0, length, run))
