"""Adam whose two moments take 8 bits a number each: blocks of a matrix share an absmax (Dettmers et al. 2022).

Codes are roots where the paper has a table, so that no device looks anything up: the mean as the root of its absolute
value with its sign, the mean square as its fourth root, which reaches down to 2e-10 of a block's largest. Matrices of
layers alone: embeddings, head, biases and norms stay float32, as the paper has it for embeddings.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import PartitionSpec as P

from lowres.families.gptj.config import LAYER_MATRICES

BLOCK = 128
"""Numbers that share an absmax; fewer where the axis is no multiple of it."""
AXES = dict.fromkeys(LAYER_MATRICES, -1) | {"out": -2, "fc_out": -2}
"""The axis of the blocks: the one that `tensor` cuts, which leaves whole heads and so whole blocks on a device."""
_STEPS = (2246822519, 3266489917, 668265263, 374761393)
"""Odd multipliers that spread the places of an array over 32 bits."""
_GOLDEN = 2654435769


class Coded(NamedTuple):
    """8 bits in the shape of the array, and float32 scales, one a block."""

    codes: Array
    scales: Array


class AdamState(NamedTuple):
    """Steps taken, and the moments by name: arrays, or Coded."""

    count: Array
    mean: dict[str, Any]
    square: dict[str, Any]


def scale_by_adam_in_8_bits(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """optax.scale_by_adam with Coded moments of layers' matrices."""

    def init(params: Any) -> AdamState:
        count, means, squares = jnp.zeros((), jnp.int32), {}, {}
        for name, array in params.items():  # a buffer each, for they are given away
            mean, square = jnp.zeros_like(array), jnp.zeros_like(array)
            coded = name in AXES
            means[name] = encoded_mean(mean, AXES[name]) if coded else mean
            squares[name] = encoded_square(square, AXES[name], count) if coded else square
        return AdamState(count, means, squares)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AdamState]:
        gradients = updates
        count = state.count + 1
        corrected = 1 - b1**count, 1 - b2**count
        updates, means, squares = {}, {}, {}
        for name, g in gradients.items():
            mean, square = state.mean[name], state.square[name]
            if name in AXES:
                mean, square = (lying_like(f(x, AXES[name]), g) for f, x in ((of_mean, mean), (of_square, square)))
            mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * jnp.square(g)
            updates[name] = mean / corrected[0] / (jnp.sqrt(square / corrected[1]) + eps)
            coded = name in AXES
            means[name] = encoded_mean(mean, AXES[name]) if coded else mean
            squares[name] = encoded_square(square, AXES[name], count) if coded else square
        return updates, AdamState(count, means, squares)

    return optax.GradientTransformation(init, update)


def encoded_mean(x: Array, axis: int) -> Coded:
    """int8 codes, sign(x) 127 sqrt(|x| / absmax). axis: -1 or -2."""
    blocks = in_blocks(x, axis)
    scales = jnp.abs(blocks).max(axis, keepdims=True)
    roots = jnp.sqrt(jnp.abs(blocks) / jnp.where(scales > 0, scales, 1))
    codes = (jnp.sign(blocks) * jnp.rint(127 * roots)).astype(jnp.int8)
    return Coded(codes.reshape(x.shape), scales.squeeze(axis))


def of_mean(coded: Coded, axis: int) -> Array:
    """What `encoded_mean` stored."""
    codes = in_blocks(coded.codes, axis).astype(jnp.float32)
    return (jnp.sign(codes) * jnp.square(codes / 127) * jnp.expand_dims(coded.scales, axis)).reshape(coded.codes.shape)


def encoded_square(x: Array, axis: int, count: Array | int) -> Coded:
    """uint8 codes, 255 (x / absmax)^(1/4), rounded up or down such that the mean over steps is x.

    To the nearest, changes of a thousandth a step (beta2 = 0.999) would be lost every time. Never 0 in a block that has
    a number over 0: the mean is divided by it. The scale is the root of the absmax.
    """
    blocks = in_blocks(x, axis)
    scales = jnp.sqrt(blocks.max(axis, keepdims=True))
    part = blocks / jnp.square(jnp.where(scales > 0, scales, 1))
    below = jnp.clip(jnp.floor(255 * jnp.sqrt(jnp.sqrt(part))), 1, 254)
    low, high = (below / 255) ** 4, ((below + 1) / 255) ** 4
    above = spread(blocks, count) * (high - low) < part - low
    codes = jnp.where(scales > 0, below + above, 0).astype(jnp.uint8)
    return Coded(codes.reshape(x.shape), scales.squeeze(axis))


def of_square(coded: Coded, axis: int) -> Array:
    """What `encoded_square` stored, but for its rounding."""
    codes = in_blocks(coded.codes, axis).astype(jnp.float32)
    roots = jnp.square(codes / 255) * jnp.expand_dims(coded.scales, axis)
    return jnp.square(roots).reshape(coded.codes.shape)


def in_blocks(x: Array, axis: int) -> Array:
    """The axis (-1 or -2) cut in two: (blocks, block). On a mesh that would cut a block, the axis is whole first."""
    size = x.shape[axis]
    block, place = math.gcd(size, BLOCK), x.ndim + axis
    lying = jax.typeof(x).sharding
    if not lying.mesh.empty and (cut := lying.spec[place]) and (size // block) % lying.mesh.shape[cut]:
        x = jax.reshard(x, P(*(None if at == place else one for at, one in enumerate(lying.spec))))
    return x.reshape(*x.shape[:place], size // block, block, *x.shape[place + 1 :])


def lying_like(x: Array, other: Array) -> Array:
    """X where `other` lies."""
    lying = jax.typeof(other).sharding
    return x if lying.mesh.empty else jax.reshard(x, lying.spec)


def spread(like: Array, count: Array | int) -> Array:
    """Numbers in [0, 1), one a place and step; those of a place step by the golden ratio, so soon they are even."""
    lying = jax.typeof(like).sharding
    spec = None if lying.mesh.empty else lying
    bits = jnp.uint32(count) * jnp.uint32(_GOLDEN)
    for axis, step in enumerate(_STEPS[: like.ndim]):
        place = jax.lax.broadcasted_iota(jnp.uint32, like.shape, axis, out_sharding=spec)
        bits = bits + place * jnp.uint32(step)
    return (bits >> 8).astype(jnp.float32) * 2.0**-24
