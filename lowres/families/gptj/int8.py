"""Matrices in 8 bits: round(127 w / absmax) with one absmax a block of the axis that a product sums over.

Linear codes in blocks of 64 to 128 beat tables of values at those sizes (relative RMSE .006 against .0095 on Gaussian
weights, blocks of 64). Matrices are dequantised where a layer uses them, so one layer's floats are there at a time.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lowres.families.gptj.config import MATRICES

BLOCK = 64
"""Numbers that share an absmax; fewer where the axis is no multiple of it."""
LEVELS = 127
AT_ONCE = 1 << 18
"""Numbers rounded at a time: 1 MiB of float32."""
AXES = {"wte": -1}
"""The axis of the blocks, -2 (the inputs) unless said: rows of the embedding are looked up, each with its scales."""


def quantise(params: Mapping[str, Any], block: int = BLOCK) -> dict[str, Any]:
    """Each matrix as NAME_int8 and float32 NAME_scale (blocks along its axis); other arrays as they are."""
    stored: dict[str, Any] = {}
    for name, array in params.items():
        if name not in MATRICES:
            stored[name] = array
            continue
        axis = AXES.get(name, -2)
        layers = [quantised(np.asarray(one), axis, block) for one in (array if array.ndim == 3 else array[None])]
        codes, scales = (np.empty((len(layers), *part.shape), part.dtype) for part in layers[0])
        for layer, (some_codes, some_scales) in enumerate(layers):
            codes[layer], scales[layer] = some_codes, some_scales
        shape = slice(None) if array.ndim == 3 else 0
        stored[f"{name}_int8"], stored[f"{name}_scale"] = jnp.asarray(codes[shape]), jnp.asarray(scales[shape])
    return stored


def quantised(matrix: np.ndarray, axis: int = -2, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """(int8, float32 scales) of a matrix of any float type, in its order of memory; beside them some rows are held."""
    if not matrix.flags.c_contiguous and matrix.flags.f_contiguous:
        codes, scales = quantised(matrix.T, -3 - axis, block)
        return codes.T, scales.T
    block = math.gcd(matrix.shape[axis], block)
    rows = block if axis == -2 else 1  # a block lies in so many
    codes = np.empty(matrix.shape, np.int8)
    shape = list(matrix.shape)
    shape[axis] //= block
    scales = np.empty(shape, np.float32)
    some = max(AT_ONCE // (rows * matrix.shape[1]), 1)
    for start in range(0, len(scales), some):
        part = slice(start * rows, (start + some) * rows)
        blocks = _blocked(np.array(matrix[part], np.float32), axis, block)
        found = scales[start : start + some]
        found[...] = np.maximum(blocks.max(axis), -blocks.min(axis)) / LEVELS
        blocks /= np.expand_dims(np.where(found > 0, found, 1), axis)
        codes[part] = np.rint(blocks, out=blocks).reshape(-1, matrix.shape[1])
    return codes, scales


def _blocked(array: Any, axis: int, block: int) -> Any:
    """The axis (-1 or -2) cut in two: (blocks, block)."""
    shape = array.shape
    if axis == -1:
        return array.reshape(*shape[:-1], -1, block)
    return array.reshape(*shape[:-2], -1, block, shape[-1])


@partial(jax.jit, static_argnames=("dtype", "axis"))
def dequantised(codes: Array, scales: Array, dtype: Any, axis: int = -2) -> Array:
    """The matrix, or the looked-up rows (axis -1), in `dtype`."""
    blocks = _blocked(codes, axis, codes.shape[axis] // scales.shape[axis])
    return (blocks.astype(dtype) * jnp.expand_dims(scales, axis).astype(dtype)).reshape(codes.shape)


def root(name: str) -> str:
    """The matrix that an array is of: q of q_int8 and q_scale; of other arrays their own name."""
    stem, _, part = name.rpartition("_")
    return stem if part in ("int8", "scale") and stem in MATRICES else name


def whole(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What `quantise` stored as float32 matrices again."""
    params = {name: array for name, array in stored.items() if root(name) == name}
    for name in MATRICES:
        if f"{name}_int8" in stored:
            axis = AXES.get(name, -2)
            params[name] = dequantised(stored[f"{name}_int8"], stored[f"{name}_scale"], jnp.float32, axis)
    return params
