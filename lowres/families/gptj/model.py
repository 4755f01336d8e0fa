"""GPT-J as plain JAX functions over a dict of arrays: the exact architecture, at any size.

Wang and Komatsuzaki 2021 (mesh-transformer-jax). One layer norm a block, attention and MLP in parallel, rotary
positions on the first `rotary_dim` dims of every head (interleaved pairs), no biases in attention, gelu_new, an untied
head with a bias.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lowres.families.gptj.config import LAYER_NAMES, MATRICES, Config, shapes
from lowres.families.gptj.int8 import dequantised, root

Attention = Callable[[Array, Array, Array], Array]
Params = dict[str, Array]
"""wte (V, D); head (D, V), head_bias (V); ln_f_scale, ln_f_bias (D); and, stacked over L layers: ln_scale, ln_bias
(L, D); q, k, v, out (L, D, D); fc_in (L, D, F), fc_in_bias (L, F); fc_out (L, F, D), fc_out_bias (L, D). Weights are
(in, out), F = 4 D."""

UNROLLED_LAYERS = 8
"""Shallower models unroll the scan over layers: 10 % faster on CPU, and 3 layers compiled in 5 s against 9 s."""


def init(config: Config, seed: int) -> Params:
    """Float32 weights: matrices normal with SD 0.02, those that write to the residual stream over sqrt(2 L) (GPT-2).

    Drawn by numpy: no compilation, and the same on every device.
    """
    params = {}
    for index, (name, shape) in enumerate(sorted(shapes(config).items())):
        if name in MATRICES:
            sd = 0.02 / (2 * config.n_layer) ** 0.5 if name in ("out", "fc_out") else 0.02
            drawn = np.random.default_rng([seed, index]).standard_normal(shape, np.float32)
            params[name] = jnp.asarray(np.float32(sd) * drawn)
        else:
            params[name] = jnp.asarray((np.ones if name.endswith("scale") else np.zeros)(shape, np.float32))
    return params


def count(params: Params) -> int:
    """How many numbers the model has."""
    return sum(int(array.size) for array in params.values())


def layer_norm(x: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    """Layer norm over the last axis, in float32, returned in x's dtype."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + epsilon) * scale + bias).astype(x.dtype)


def rotary_tables(positions: Array, rotary_dim: int) -> tuple[Array, Array]:
    """(sin, cos) of positions times 1 / 10000^(2i / rotary_dim); each positions.shape + (rotary_dim / 2,), float32."""
    frequencies = 1.0 / 10000 ** (jnp.arange(0, rotary_dim, 2, dtype=jnp.float32) / rotary_dim)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return jnp.sin(angles), jnp.cos(angles)


def rotate(x: Array, sin: Array, cos: Array) -> Array:
    """Rotates the pairs (0, 1), (2, 3), ... of the first dims of every head; the other dims pass.

    x: (batch, time, heads, head dim); sin, cos: (batch or 1, time, rotary_dim / 2). Su et al. 2021, interleaved as in
    GPT-J (GPT-NeoX and Llama pair dim i with i + rotary_dim / 2 instead).
    """
    half = sin.shape[-1]
    turned, passed = x[..., : 2 * half], x[..., 2 * half :]
    pairs = turned.reshape(*turned.shape[:-1], half, 2)
    a, b = pairs[..., 0], pairs[..., 1]
    sin, cos = sin[:, :, None, :], cos[:, :, None, :]
    rotated = jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(turned.shape)
    return jnp.concatenate([rotated, passed], axis=-1)


def attend(q: Array, k: Array, v: Array, allowed: Array) -> Array:
    """Softmax attention, logits and softmax in float32.

    q, k, v: (batch, heads, time, head dim); allowed: bool (batch or 1, 1, time, time). Returns q's shape and v's dtype.
    """
    logits = jnp.einsum("bhtd,bhsd->bhts", q.astype(jnp.float32), k.astype(jnp.float32)) / q.shape[-1] ** 0.5
    weights = jax.nn.softmax(jnp.where(allowed, logits, jnp.finfo(jnp.float32).min), axis=-1)
    return weights.astype(v.dtype) @ v


def product(x: Array, layer: Params, name: str, out_sharding: Any = None) -> Array:
    """X times a matrix, in x's dtype: in floats or 8 bits, and with its low-rank adapter where it has one.

    out_sharding: of the result on a mesh, where its inputs leave that open.
    """
    times = partial(jnp.matmul, out_sharding=out_sharding)
    if f"{name}_int8" in layer:
        # checkpointed: the backward pass dequantises again, or every layer's floats would be kept for it
        of_int8 = jax.checkpoint(lambda x, codes, scales: times(x, dequantised(codes, scales, x.dtype)))
        y = of_int8(x, layer[f"{name}_int8"], layer[f"{name}_scale"])
    else:
        y = times(x, layer[name].astype(x.dtype))
    if f"{name}_lora_a" not in layer:
        return y
    return y + times(times(x, layer[f"{name}_lora_a"].astype(x.dtype)), layer[f"{name}_lora_b"].astype(x.dtype))


def embed(params: Params, tokens: Array, dtype: Any) -> Array:
    """The embeddings of tokens (n,): (n, D)."""
    if "wte_int8" in params:
        return dequantised(params["wte_int8"][tokens], params["wte_scale"][tokens], dtype, axis=-1)
    return params["wte"].astype(dtype)[tokens]


def head_matrix(params: Params, dtype: Any) -> Array:
    """The language model's head (D, V)."""
    if "head_int8" in params:
        return dequantised(params["head_int8"], params["head_scale"], dtype)
    return params["head"].astype(dtype)


def block(x: Array, layer: Params, sin: Array, cos: Array, attention: Attention, config: Config) -> Array:
    """What one layer adds to the residual stream: attention(h) + mlp(h) with h = layer_norm(x).

    x: (batch * time, D); flat, because on CPU XLA's weight gradients take 1.2 times as long over two batch axes.
    sin, cos: (batch or 1, time, rotary_dim / 2). attention: takes q, k (rotated) and v, (batch, time, heads, head dim),
    and gives such an array.
    """
    w = {name: array.astype(x.dtype) for name, array in layer.items() if name.endswith("bias")}
    h = layer_norm(x, layer["ln_scale"], layer["ln_bias"], config.layer_norm_epsilon)
    heads = (-1, sin.shape[1], config.n_head, config.head_dim)
    q, k, v = (product(h, layer, name).reshape(heads) for name in ("q", "k", "v"))
    attended = attention(rotate(q, sin, cos), rotate(k, sin, cos), v).reshape(x.shape)
    inner = jax.nn.gelu(product(h, layer, "fc_in") + w["fc_in_bias"], approximate=True)
    return product(attended, layer, "out") + product(inner, layer, "fc_out") + w["fc_out_bias"]


def hidden(
    params: Params,
    tokens: Array,
    config: Config,
    segments: Array | None = None,
    dtype: Any = jnp.float32,
    dropout: tuple[Array, float] | None = None,
) -> Array:
    """The final hidden states, after the last layer norm: (batch, time, D) in `dtype`.

    tokens: int32 (batch, time). segments: int32 (batch, time), or None; a token attends to earlier tokens (and itself)
    of its own segment, so packed documents and padding keep apart. Rotary positions are relative: padding on either
    side gives the same states. dropout: (key, rate) on the embeddings and on what each layer adds, in training alone.
    """
    batch, time = tokens.shape
    sin, cos = (table.astype(dtype) for table in rotary_tables(jnp.arange(time)[None], config.rotary_dim))
    allowed = jnp.tril(jnp.ones((time, time), bool))[None, None]
    if segments is not None:
        allowed = allowed & (segments[:, None, :, None] == segments[:, None, None, :])
    key, rate = dropout or (None, 0.0)

    def attention(q: Array, k: Array, v: Array) -> Array:
        return attend(q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2), allowed).swapaxes(1, 2)

    def body(x: Array, numbered: tuple[Array, Params]) -> tuple[Array, None]:
        index, layer = numbered
        return x + drop(block(x, layer, sin, cos, attention, config), key, index, rate), None

    x = drop(embed(params, tokens.reshape(-1), dtype), key, 0, rate)
    layers = layers_of(params)
    unroll = config.n_layer if config.n_layer <= UNROLLED_LAYERS else 1
    x, _ = jax.lax.scan(body, x, (jnp.arange(1, config.n_layer + 1), layers), unroll=unroll)
    x = layer_norm(x, params["ln_f_scale"], params["ln_f_bias"], config.layer_norm_epsilon)
    return x.reshape(batch, time, -1)


def layers_of(params: Params) -> Params:
    """The arrays that have an axis of layers, with those of 8 bits (q_int8, q_scale) and adapters (q_lora_a)."""
    return {n: array for n, array in params.items() if root(n).partition("_lora_")[0] in LAYER_NAMES}


def drop(x: Array, key: Array | None, index: Array | int, rate: float) -> Array:
    """Inverted dropout with the key of place `index`; x itself where rate is 0."""
    if key is None or not rate:
        return x
    kept = jax.random.bernoulli(jax.random.fold_in(key, index), 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def logits(params: Params, states: Array) -> Array:
    """Next-token logits in float32: states (..., D) -> (..., V)."""
    return (states @ head_matrix(params, states.dtype)).astype(jnp.float32) + params["head_bias"]
