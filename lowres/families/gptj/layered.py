"""A GPT-J whose layers are apart: read one after another, also where the device has no room for all of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lowres.families.gptj.cache import Places, through
from lowres.families.gptj.checkpoints.loading import pieces
from lowres.families.gptj.checkpoints.source import Tensors
from lowres.families.gptj.config import LAYER_NAMES, MATRICES, Config
from lowres.families.gptj.int8 import AXES, quantised
from lowres.families.gptj.model import Params, layer_norm, logits, rotary_tables

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Layered:
    """The arrays of model.Params without their axis of layers: `layers` has one mapping for each, `ends` the others.

    wte is numpy's, on the host. Matrices are floats of any width, or as int8.quantise stores them.
    """

    ends: Arrays
    layers: tuple[Arrays, ...]


def load_layered(
    tensors: Tensors, config: Config, where: str, int8: bool, keep: Callable[[str, Arrays], Arrays]
) -> Layered:
    """A checkpoint tensor by tensor, floats as they are stored; beside what is kept, one tensor is held.

    keep: takes the name of a matrix or vector and its arrays, and gives what is kept for it.
    """
    ends: dict[str, Any] = {}
    layers: list[dict[str, Any]] = [{} for _ in range(config.n_layer)]
    for slot, array in pieces(tensors, config, where):
        name = slot.ours
        if int8 and name in MATRICES:
            codes, scales = quantised(array, AXES.get(name, -2))
            made = {f"{name}_int8": codes, f"{name}_scale": scales}
        else:
            floats = array.dtype if name in MATRICES and array.dtype.itemsize < 4 else np.float32
            made = {name: np.ascontiguousarray(array, dtype=floats)}
        (ends if slot.layer is None else layers[slot.layer]).update(keep(name, made))
    return Layered(ends, tuple(layers))


def keep_on_device(name: str, made: Arrays) -> Arrays:
    """For load_layered: everything on the device, but for the embedding."""
    return made if name == "wte" else {key: jax.device_put(array, _memory()) for key, array in made.items()}


def keep_wide(name: str, made: Arrays) -> Arrays:
    """For load_layered: as keep_on_device, in float32, which a processor would make of them for every token."""
    return keep_on_device(name, {key: np.asarray(array, np.float32) for key, array in made.items()})


def keep_on_host(name: str, made: Arrays) -> Arrays:
    """For load_layered: layers in the host's memory, in pages that the device can read where it has such."""
    if name not in LAYER_NAMES:
        return keep_on_device(name, made)
    device = jax.local_devices()[0]
    if device.platform == "cpu" or "pinned_host" not in {memory.kind for memory in device.addressable_memories()}:
        return made
    return {key: jax.device_put(array, _memory("pinned_host")) for key, array in made.items()}


def _memory(kind: str | None = None) -> jax.sharding.Sharding:
    """The first device's memory of a kind, else its own."""
    device = jax.local_devices()[0]
    return jax.sharding.SingleDeviceSharding(device, memory_kind=kind or device.default_memory().kind)


def rows_of(ends: Arrays, tokens: np.ndarray) -> np.ndarray:
    """The embeddings of tokens (n,): (n, D), float32, looked up on the host."""
    if "wte_int8" not in ends:
        return np.asarray(ends["wte"][tokens], np.float32)
    codes, scales = ends["wte_int8"][tokens], ends["wte_scale"][tokens]
    blocks = codes.reshape(*scales.shape, -1).astype(np.float32)
    return (blocks * scales[..., None]).reshape(codes.shape)


class LayeredCache(NamedTuple):
    """As cache.Cache, with an array for each layer: (rows, heads, size, head dim)."""

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    lengths: np.ndarray


def empty_cache(config: Config, rows: int, size: int) -> LayeredCache:
    """Nothing read yet, and room for `size` tokens a row."""
    shape = rows, config.n_head, size, config.head_dim
    keys, values = (tuple(jnp.zeros(shape) for _ in range(config.n_layer)) for _ in range(2))
    return LayeredCache(keys, values, np.zeros(rows, np.int32))


def read_on(
    params: Layered, tokens: np.ndarray, counts: np.ndarray, cache: LayeredCache, config: Config
) -> tuple[Array, LayeredCache]:
    """What cache.read_on does, layer by layer, with the same numbers but for rounding.

    The device holds the cache, the head and two layers: the next one is sent while one is computed with.
    """
    columns = cache.lengths[:, None] + np.arange(tokens.shape[1], dtype=np.int32)
    x = jnp.asarray(rows_of(params.ends, tokens.reshape(-1)))
    keys, values = list(cache.keys), list(cache.values)
    there = all(isinstance(array, Array) for array in params.layers[0].values()) and jax.local_device_count() == 1
    there = there and _memory() == next(iter(params.layers[0].values())).sharding
    for place, layer in enumerate(params.layers if there else _sent(params.layers)):
        x, keys[place], values[place] = _layer(layer, x, keys[place], values[place], columns, config)
        if not there:
            x.block_until_ready()  # or more layers than two would be on their way
    small = {name: array for name, array in params.ends.items() if not name.startswith("wte")}
    scores = _scores(small, x, counts, config)
    return scores, LayeredCache(tuple(keys), tuple(values), cache.lengths + counts)


def _sent(layers: tuple[Arrays, ...]) -> Iterator[Params]:
    """The layers on the device, each sent while the one before it is used; what is there already stays."""
    own = _memory()
    coming: Params = jax.device_put(dict(layers[0]), own)
    for place in range(len(layers)):
        here = coming
        if place + 1 < len(layers):
            coming = jax.device_put(dict(layers[place + 1]), own)
        yield here


@partial(jax.jit, static_argnames=("config",), donate_argnames=("keys", "values"))
def _layer(
    layer: Params, x: Array, keys: Array, values: Array, columns: Array, config: Config
) -> tuple[Array, Array, Array]:
    allowed = jnp.arange(keys.shape[2]) <= columns[:, :, None]
    places = Places(*rotary_tables(columns, config.rotary_dim), columns, allowed)
    return through(x, (layer, keys, values), places, config)


@partial(jax.jit, static_argnames=("config",))
def _scores(ends: Params, x: Array, counts: Array, config: Config) -> Array:
    """Of what follows each row's last token: (rows, V)."""
    x = x.reshape(len(counts), -1, config.n_embd)[jnp.arange(len(counts)), counts - 1]
    return logits(ends, layer_norm(x, ends["ln_f_scale"], ends["ln_f_bias"], config.layer_norm_epsilon))
