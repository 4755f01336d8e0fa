"""Reading on: each layer's keys and values of what was read are kept, so a token costs one token's products."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lowres.families.gptj.model import (
    Config,
    Params,
    attend,
    block,
    embed,
    layer_norm,
    layers_of,
    logits,
    rotary_tables,
)


class Cache(NamedTuple):
    """keys (rotated), values: (L, rows, heads, size, head dim); lengths: (rows,), tokens of each row read so far."""

    keys: Array
    values: Array
    lengths: Array


def empty_cache(config: Config, rows: int, size: int) -> Cache:
    """Nothing read yet, and room for `size` tokens a row."""
    shape = config.n_layer, rows, config.n_head, size, config.head_dim
    return Cache(jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(rows, jnp.int32))


@partial(jax.jit, static_argnames=("config",), donate_argnames=("cache",))
def read_on(params: Params, tokens: Array, counts: Array, cache: Cache, config: Config) -> tuple[Array, Cache]:
    """Reads the first counts[row] >= 1 of tokens (rows, time). Returns the scores (rows, V) of what follows, float32.

    Columns of the cache behind a row's length hold what was written for padding: they are not looked at, and the next
    tokens overwrite them.
    """
    rows, time = tokens.shape
    columns = cache.lengths[:, None] + jnp.arange(time)
    allowed = jnp.arange(cache.keys.shape[3]) <= columns[:, :, None]
    x, keys, values = _read(params, tokens, columns, columns, allowed, cache, config)
    last = x[jnp.arange(rows), counts - 1]
    return logits(params, last), Cache(keys, values, cache.lengths + counts)


@partial(jax.jit, static_argnames=("config",))
def read_branches(params: Params, tokens: Array, cache: Cache, config: Config) -> Array:
    """Scores (rows, branches, time, V) behind each token of several continuations (rows, branches, time) of a row.

    All are read at once behind the row's one cache, which has room for branches * time more: a token looks at what the
    cache holds and at the earlier tokens of its own branch.
    """
    rows, branches, time = tokens.shape
    size = cache.keys.shape[3]
    columns = cache.lengths[:, None] + jnp.arange(branches * time)
    positions = cache.lengths[:, None] + jnp.tile(jnp.arange(time), branches)
    place = jnp.arange(size) - cache.lengths[:, None]  # (rows, size), below 0 in what was read before
    own = jnp.repeat(jnp.arange(branches) * time, time)[:, None]  # where a token's branch begins
    behind = (place[:, None] >= own) & (place[:, None] <= jnp.arange(branches * time)[:, None])
    allowed = (place[:, None] < 0) | behind
    x, _, _ = _read(params, tokens.reshape(rows, -1), columns, positions, allowed, cache, config)
    return logits(params, x).reshape(rows, branches, time, -1)


def _read(
    params: Params, tokens: Array, columns: Array, positions: Array, allowed: Array, cache: Cache, config: Config
) -> tuple[Array, Array, Array]:
    """(states after the last layer norm (rows, time, D), keys, values) of tokens (rows, time).

    columns: where in the cache each is kept; positions: for the rotation, both (rows, time). allowed: bool (rows, time,
    size), the columns that each looks at.
    """
    rows, time = tokens.shape
    places = Places(*rotary_tables(positions, config.rotary_dim), columns, allowed)

    def body(x: Array, of_layer: tuple[Params, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        x, keys, values = through(x, of_layer, places, config)
        return x, (keys, values)

    x = embed(params, tokens.reshape(-1), jnp.float32)
    x, (keys, values) = jax.lax.scan(body, x, (layers_of(params), cache.keys, cache.values))
    x = layer_norm(x, params["ln_f_scale"], params["ln_f_bias"], config.layer_norm_epsilon)
    return x.reshape(rows, time, -1), keys, values


class Places(NamedTuple):
    """sin, cos (rows, time, rotary_dim / 2); columns (rows, time): where in the cache each token is kept; allowed: bool
    (rows, time, size), the columns that each looks at.
    """

    sin: Array
    cos: Array
    columns: Array
    allowed: Array


def through(
    x: Array, of_layer: tuple[Params, Array, Array], places: Places, config: Config
) -> tuple[Array, Array, Array]:
    """(x (rows * time, D), keys, values) behind one layer, of its weights and its part of the cache."""
    layer, keys, values = of_layer
    kept = jnp.arange(len(places.columns))[:, None], slice(None), places.columns

    def attention(q: Array, k: Array, v: Array) -> Array:
        nonlocal keys, values
        keys, values = keys.at[kept].set(k, mode="drop"), values.at[kept].set(v, mode="drop")
        return attend(q.swapaxes(1, 2), keys, values, places.allowed[:, None]).swapaxes(1, 2)

    return x + block(x, layer, places.sin, places.cos, attention, config), keys, values
