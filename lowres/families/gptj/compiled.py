"""Reading on without XLA: matrices of 8 bits by a kernel in C, the rest by numpy. For generation on a CPU.

XLA makes floats of a layer's matrices before it multiplies them, four times the bytes to write and to read again. At
one token at a time a product is bound by memory; the kernel reads the 8 bits once and widens them in registers. Inputs
stay float32, so nothing is rounded that `layered` does not round.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as once
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from lowres.families.gptj.config import MATRICES, Config
from lowres.families.gptj.layered import Arrays, Layered, rows_of
from lowres.kernels.load import Missing, library
from lowres.processor import cores

LANES = 64
"""Outputs that the kernel works at together (int8_blocks.h)."""
_PRODUCT = "int8_blocks_product"
_ALONE = 1 << 20
"""Codes up to which one thread is faster."""
_RUNS = 4
"""Runs of outputs a thread."""


@once
def kernel() -> Callable[..., None] | Missing:
    """The kernel, or why there is none."""
    found = library()
    return found if isinstance(found, Missing) else found.functions({_PRODUCT: "pppp" + "iiiiii"})[_PRODUCT]


def threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return cores()


@dataclass(frozen=True)
class Packed:
    """A matrix (inputs, outputs) as the kernel reads it, front to back.

    codes: int8 (outputs / 64, inputs, 64); scales: float32 (outputs / 64, blocks, 64); outputs are padded with zeros.
    """

    codes: np.ndarray
    scales: np.ndarray
    outputs: int

    @classmethod
    def of(cls, codes: np.ndarray, scales: np.ndarray) -> "Packed":
        """From what int8.quantised gives."""
        return cls(_in_lanes(codes), _in_lanes(scales), codes.shape[1])


def _in_lanes(array: np.ndarray) -> np.ndarray:
    """(rows, columns) -> (columns / 64, rows, 64)."""
    rows, columns = array.shape
    packed = np.zeros((-(-columns // LANES), rows, LANES), array.dtype)
    for place in range(len(packed)):
        some = array[:, place * LANES : (place + 1) * LANES]
        packed[place, :, : some.shape[1]] = some
    return packed


def keep(name: str, made: Arrays) -> Arrays:
    """For load_layered: matrices of 8 bits packed, but for the embedding."""
    packs = name in MATRICES and name != "wte"
    return {name: Packed.of(made[f"{name}_int8"], made[f"{name}_scale"])} if packs else made


def product(x: np.ndarray, matrix: Packed) -> np.ndarray:
    """X (rows, inputs) float32 times a matrix: (rows, outputs) float32. A row does not depend on the others.

    Threads take runs of outputs in turn and never wait spinning, as OpenMP's do: with another process on the second of
    two cores OpenMP took 2.5 times as long. What a helping thread has not begun when all is taken is not waited for.
    """
    multiply = kernel()
    assert not isinstance(multiply, Missing)
    x = np.ascontiguousarray(x, np.float32)
    out = np.empty((len(x), matrix.outputs), np.float32)
    pointers = [array.ctypes.data for array in (x, matrix.codes, matrix.scales, out)]
    sizes = len(x), x.shape[1], matrix.outputs, x.shape[1] // matrix.scales.shape[1]
    groups, count = len(matrix.codes), threads() if matrix.codes.size > _ALONE else 1
    run = -(-groups // (_RUNS * count))
    starts = iter(range(0, groups, run))

    def work() -> None:
        for first in starts:
            multiply(*pointers, *sizes, first, min(first + run, groups))

    helping = [_helpers(count - 1).submit(work) for _ in range(count - 1)]
    work()
    for future in helping:
        if not future.cancel():
            future.result()
    return out


@once
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "int8")


class HostCache(NamedTuple):
    """As cache.Cache, in numpy; keys and values are written in place."""

    keys: np.ndarray
    values: np.ndarray
    lengths: np.ndarray


def empty_cache(config: Config, rows: int, size: int) -> HostCache:
    """Nothing read yet, and room for `size` tokens a row; memory is taken where it is written."""
    shape = config.n_layer, rows, config.n_head, size, config.head_dim
    return HostCache(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(rows, np.int32))


def read_on(
    params: Layered, tokens: np.ndarray, counts: np.ndarray, cache: HostCache, config: Config
) -> tuple[np.ndarray, HostCache]:
    """What cache.read_on does; padding is not computed with."""
    tokens = np.concatenate([row[:count] for row, count in zip(tokens, counts, strict=True)])
    spans = [range(length, length + count) for length, count in zip(cache.lengths, counts, strict=True)]
    x = rows_of(params.ends, tokens)
    with _blas().limit(limits=1, user_api="blas"):
        x = _through(params, x, spans, cache, config)
    ends = np.cumsum(counts)
    last = _layer_norm(x[ends - 1], params.ends["ln_f_scale"], params.ends["ln_f_bias"], config.layer_norm_epsilon)
    scores = product(last, params.ends["head"]) + params.ends["head_bias"]
    return scores, cache._replace(lengths=cache.lengths + counts)


@once
def _blas() -> ThreadpoolController:
    """For attention by one thread: OpenBLAS's wait spinning, and beside other work took fifty times as long."""
    return ThreadpoolController()


def _through(params: Layered, x: np.ndarray, spans: Sequence[range], cache: HostCache, config: Config) -> np.ndarray:
    """What is behind all layers of x (tokens, D): row after row, of each the tokens at the places `spans`."""
    tables = _rotary_tables(np.concatenate([np.asarray(span) for span in spans]), config.rotary_dim)
    ends = np.cumsum([len(span) for span in spans])
    for layer, keys, values in zip(params.layers, cache.keys, cache.values, strict=True):
        h = _layer_norm(x, layer["ln_scale"], layer["ln_bias"], config.layer_norm_epsilon)
        q, k, v = (product(h, layer[name]).reshape(len(x), config.n_head, -1) for name in ("q", "k", "v"))
        q, k = _rotate(q, *tables), _rotate(k, *tables)
        attended = np.empty_like(v)
        for row, (span, end) in enumerate(zip(spans, ends, strict=True)):
            own, kept = slice(end - len(span), end), slice(span.start, span.stop)
            keys[row, :, kept], values[row, :, kept] = k[own].swapaxes(0, 1), v[own].swapaxes(0, 1)
            attended[own] = _attend(q[own], keys[row, :, : span.stop], values[row, :, : span.stop])
        inner = _gelu(product(h, layer["fc_in"]) + layer["fc_in_bias"])
        x = x + product(attended.reshape(x.shape), layer["out"]) + product(inner, layer["fc_out"])
        x += layer["fc_out_bias"]
    return x


def _layer_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + epsilon) * scale + bias


def _rotary_tables(positions: np.ndarray, rotary_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """(sin, cos), as model.rotary_tables, each (tokens, 1, rotary_dim / 2)."""
    frequencies = 1.0 / 10000 ** (np.arange(0, rotary_dim, 2, dtype=np.float32) / rotary_dim)
    angles = positions[:, None, None].astype(np.float32) * frequencies.astype(np.float32)
    return np.sin(angles), np.cos(angles)


def _rotate(x: np.ndarray, sin: np.ndarray, cos: np.ndarray) -> np.ndarray:
    """As model.rotate; x: (tokens, heads, head dim), overwritten."""
    even, odd = (x[..., start : 2 * sin.shape[-1] : 2].copy() for start in (0, 1))
    x[..., 0 : 2 * sin.shape[-1] : 2] = even * cos - odd * sin
    x[..., 1 : 2 * sin.shape[-1] : 2] = odd * cos + even * sin
    return x


def _attend(q: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Softmax attention of one row's last tokens q (time, heads, head dim) to all its tokens (heads, n, head dim)."""
    time, length = len(q), keys.shape[1]
    scores = q.swapaxes(0, 1) @ keys.swapaxes(1, 2) / np.float32(q.shape[-1] ** 0.5)  # (heads, time, n)
    if time > 1:
        hidden = np.arange(length) > np.arange(length - time, length)[:, None]
        scores = np.where(hidden, np.float32(-np.inf), scores)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return ((scores / scores.sum(-1, keepdims=True)) @ values).swapaxes(0, 1)


def _gelu(x: np.ndarray) -> np.ndarray:
    """gelu_new."""
    return 0.5 * x * (1 + np.tanh(np.float32((2 / np.pi) ** 0.5) * (x + 0.044715 * x * x * x)))
