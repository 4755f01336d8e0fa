"""Reading on without XLA: products and attention by kernels in C (`lanes`), the rest by numpy. For text on a CPU."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from lowres.families.gptj.config import MATRICES, Config
from lowres.families.gptj.lanes import Packed, call, helpful, parts, products, shared
from lowres.families.gptj.layered import Arrays, Layered, rows_of


def keep(name: str, made: Arrays) -> Arrays:
    """For load_layered: matrices packed, but for the embedding."""
    if name not in MATRICES or name == "wte":
        return made
    return {name: Packed.of(made[name]) if name in made else Packed.of(made[f"{name}_int8"], made[f"{name}_scale"])}


class HostCache(NamedTuple):
    """As cache.Cache, in numpy; keys and values are written in place."""

    keys: np.ndarray
    values: np.ndarray
    lengths: np.ndarray


def empty_cache(config: Config, rows: int, size: int) -> HostCache:
    """Nothing read yet, and room for `size` tokens a row; what is in it there means nothing."""
    shape = config.n_layer, rows, config.n_head, size, config.head_dim
    return HostCache(np.empty(shape, np.float32), np.empty(shape, np.float32), np.zeros(rows, np.int32))


def read_on(
    params: Layered, tokens: np.ndarray, counts: np.ndarray, cache: HostCache, config: Config
) -> tuple[np.ndarray, HostCache]:
    """What cache.read_on does; padding is not computed with, and a row does not depend on the others."""
    spans = [range(length, length + count) for length, count in zip(cache.lengths, counts, strict=True)]
    new = np.concatenate([row[:count] for row, count in zip(tokens, counts, strict=True)])
    last = _through(params, rows_of(params.ends, new), spans, cache, config)[np.cumsum(counts) - 1]
    last = _layer_norm(last, params.ends["ln_f_scale"], params.ends["ln_f_bias"], config.layer_norm_epsilon)
    [scores] = products([(last, params.ends["head"])])
    return scores + params.ends["head_bias"], cache._replace(lengths=cache.lengths + counts)


def _through(params: Layered, x: np.ndarray, spans: Sequence[range], cache: HostCache, config: Config) -> np.ndarray:
    """What is behind all layers of x (tokens, D): text after text, of each the tokens at the places `spans`."""
    places = np.concatenate([np.asarray(span) for span in spans])
    owners = np.repeat(np.arange(len(spans)), [len(span) for span in spans])
    tables = _rotary_tables(places, config.rotary_dim)
    heads, size, room = config.n_head, config.head_dim, cache.keys.shape[3]
    for layer, keys, values in zip(params.layers, cache.keys, cache.values, strict=True):
        h = _layer_norm(x, layer["ln_scale"], layer["ln_bias"], config.layer_norm_epsilon)
        q, k, v, inner = products([(h, layer[name]) for name in ("q", "k", "v", "fc_in")])
        sizes = len(x), heads, size, tables[0].shape[1], room
        call("gptj_remember", q, k, v, *tables, keys, values, owners, places, *sizes)
        attended = attend(q, keys, values, owners, places)
        call("gptj_gelu", inner, layer["fc_in_bias"], *inner.shape)
        of_attention, of_inner = products([(attended, layer["out"]), (inner, layer["fc_out"])])
        x = x + of_attention + of_inner + layer["fc_out_bias"]
    return x


def attend(q: np.ndarray, keys: np.ndarray, values: np.ndarray, owners: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Softmax attention of tokens q (n, D), at `places` of the texts `owners`, to their text up to them: (n, D)."""
    out, (_, heads, room, size) = np.empty_like(q), keys.shape
    count = helpful(8 * q.shape[1] * int(places.sum()))
    arrays = q, keys, values, out, owners, places
    runs = parts(len(q) * heads, count)
    shared((partial(call, "gptj_attend", *arrays, heads, size, room, *run) for run in runs), count)
    return out


def _layer_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + epsilon) * scale + bias


def _rotary_tables(places: np.ndarray, rotary_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """(sin, cos), as model.rotary_tables, each (tokens, rotary_dim / 2)."""
    frequencies = 1.0 / 10000 ** (np.arange(0, rotary_dim, 2, dtype=np.float32) / rotary_dim)
    angles = places[:, None].astype(np.float32) * frequencies.astype(np.float32)
    return np.sin(angles), np.cos(angles)
