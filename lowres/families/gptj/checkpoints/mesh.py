"""Checkpoints of mesh-transformer-jax, slim and full: shard_S/P.npz, each a run of the leaves of one tensor shard.

A shard is the flattened state (opt_state, params, step), cut into near-equal runs of leaves. Parameters come in the
order of their sorted names. Read from a local folder or any fsspec URL, leaf by leaf.
"""

import zipfile
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import ml_dtypes
import numpy as np

from lowres.errors import DataError
from lowres.families.gptj.checkpoints.layout import Layout
from lowres.families.gptj.checkpoints.source import Fact

Combine = Literal["rows", "columns", "sum", "first"]
"""How shards make a leaf: after each other along axis 0 or the last axis, added up, or shard 0 alone (the other shards'
layer norms stay as they were drawn)."""

_LAYER: tuple[tuple[str, Combine], ...] = (
    ("attn.q_proj.weight", "columns"),  # linear
    ("attn.v_proj.weight", "columns"),  # linear_1: v stands before k
    ("attn.k_proj.weight", "columns"),  # linear_2
    ("attn.out_proj.weight", "rows"),
    ("mlp.fc_in.bias", "rows"),
    ("mlp.fc_in.weight", "columns"),
    ("mlp.fc_out.bias", "sum"),
    ("mlp.fc_out.weight", "rows"),
    ("ln_1.bias", "first"),
    ("ln_1.weight", "first"),
)
_LAST: tuple[tuple[str, Combine], ...] = (
    ("lm_head.bias", "rows"),
    ("lm_head.weight", "columns"),
    ("transformer.ln_f.bias", "first"),
    ("transformer.ln_f.weight", "first"),
)
_EMBEDDING, _EMBEDDING_BIAS = "transformer.wte.weight", "(bias of the embedding)"


def leaf_names(layers: int) -> list[tuple[str, Combine]]:
    """(transformers' name, how shards combine) of every parameter leaf, in the order of a checkpoint."""
    names: list[tuple[str, Combine]] = [(_EMBEDDING_BIAS, "sum"), (_EMBEDDING, "rows")]
    for layer in sorted(range(layers), key=str):  # names are sorted as text: 0, 1, 10, 11, ..., 2, 20, ...
        for name, combine in _LAYER:
            names.append((f"transformer.h.{layer}.{name}", combine))
    return [*names, *_LAST]


class MeshFiles:
    """Reads one step of a checkpoint."""

    def __init__(self, layout: Layout):
        """Raises DataError where a file is damaged or the leaves are no GPT-J's. `layout` has no missing files."""
        self._root = layout.root
        self.shards = 1 + max(int(name.split("/")[0].removeprefix("shard_")) for name in layout.files)
        pieces = len(layout.files) // self.shards
        # files read ahead, 5 MB each where they are remote: those of two places in all shards stay open
        self._archive = lru_cache(maxsize=2 * self.shards)(_opened)
        self._leaves = [self._leaves_of(shard, pieces) for shard in range(self.shards)]
        total = len(self._leaves[0])
        full = total % 10 == 1  # 3 (10 L + 6) + 3 leaves: two moments, two counts; slim: 10 L + 6, and the step
        self.layers = (total - 21) // 30 if full else (total - 7) // 10
        if total != (30 * self.layers + 21 if full else 10 * self.layers + 7) or self.layers < 1:
            raise DataError(
                f"{layout.root}: {total} leaves a shard; a GPT-J of L layers has 10 L + 7 (slim) or 30 L + 21 (full)"
            )
        for shard, leaves in enumerate(self._leaves):
            if len(leaves) != total:
                raise DataError(f"{layout.root}/shard_{shard}: {len(leaves)} leaves, shard_0 has {total}")
        self._full = full
        self._places: dict[str, tuple[int, Combine]] = {
            name: (place, how) for place, (name, how) in enumerate(leaf_names(self.layers))
        }
        width, share = self._header(0, self._places["transformer.h.0.attn.q_proj.weight"][0])[0]
        if share * self.shards != width:
            raise DataError(
                f"{layout.root}: {self.shards} shards, of which each holds {share} of {width} columns; fetch all"
                f" {width // share}"
            )
        self.facts = self._facts()

    @property
    def kind(self) -> str:
        """The layout in a few words."""
        state = "full (with optimiser state)" if self._full else "slim"
        return f"mesh-transformer-jax, {state}, {self.shards} shards"

    def _facts(self) -> Mapping[str, Fact]:
        """Of every tensor as it will be once put together, from the headers of shard 0."""
        found = {}
        for name, (place, how) in self._places.items():
            shape, dtype = self._header(0, place)
            whole = self._whole(how, shape)
            found[name] = Fact(whole[::-1] if self._is_turned(name) else whole, dtype.name)
        del found[_EMBEDDING_BIAS]
        return found

    def tensor(self, name: str) -> np.ndarray[Any, Any]:
        """One tensor put together from its shards, one shard at a time, (out, in). Raises DataError on odd shapes."""
        place, how = self._places[name]
        if how == "first":
            return self._leaf(0, place)
        added = name == _EMBEDDING or how == "sum"
        shape, dtype = self._header(0, place)
        whole = np.zeros(self.facts[name].shape, np.float32 if added else dtype)
        view = whole.T if self._is_turned(name) else whole
        for shard in range(self.shards):
            leaf = self._leaf(shard, place)
            if leaf.shape != shape:
                raise DataError(f"{self._root}/shard_{shard}: {name} has shape {leaf.shape}, in shard_0 {shape}")
            if how == "sum":
                view += leaf.astype(np.float32)
            else:
                axis = 0 if how == "rows" else leaf.ndim - 1
                start = shard * shape[axis]
                view[(slice(None),) * axis + (slice(start, start + shape[axis]),)] = leaf
        if name == _EMBEDDING:  # a one-hot times W plus b on every shard, summed
            bias = self._places[_EMBEDDING_BIAS][0]
            whole += sum(self._leaf(shard, bias).astype(np.float32) for shard in range(self.shards))
        return whole

    def _is_turned(self, name: str) -> bool:
        return name != _EMBEDDING and name.endswith(("_proj.weight", "fc_in.weight", "fc_out.weight", "lm_head.weight"))

    def _whole(self, how: Combine, shape: tuple[int, ...]) -> tuple[int, ...]:
        if how in ("sum", "first"):
            return shape
        return (shape[0] * self.shards, *shape[1:]) if how == "rows" else (*shape[:-1], shape[-1] * self.shards)

    def _leaves_of(self, shard: int, pieces: int) -> list[tuple[str, str]]:
        """(file, array in it) of every leaf of a shard, in their order."""
        paths = [f"{self._root}/shard_{shard}/{piece}.npz" for piece in range(pieces)]
        return [(path, member) for path in paths for member in _members(self._archive(path))]

    def _member(self, shard: int, place: int) -> tuple[str, str]:
        """The step is the last leaf, the parameters stand before it."""
        return self._leaves[shard][place - len(self._places) - 1]

    def _header(self, shard: int, place: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        path, member = self._member(shard, place)
        with self._archive(path).open(member) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        return shape, np.dtype(ml_dtypes.bfloat16) if dtype.kind == "V" and dtype.itemsize == 2 else dtype

    def _leaf(self, shard: int, place: int) -> np.ndarray[Any, Any]:
        path, member = self._member(shard, place)
        try:
            with self._archive(path).open(member) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
        except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
            raise DataError(f"{path}: {member} is damaged ({error}); fetch the file again") from error
        return array.view(ml_dtypes.bfloat16) if array.dtype.kind == "V" else array


def _opened(path: str) -> zipfile.ZipFile:
    """Raises DataError where it is no archive, or cannot be reached."""
    import fsspec

    try:
        return zipfile.ZipFile(fsspec.open(path, "rb").open())  # type: ignore[attr-defined]
    except Exception as error:  # each file system raises its own
        raise DataError(f"{path}: cut short, damaged or not to be reached ({error}); fetch it again") from error


def _members(archive: zipfile.ZipFile) -> list[str]:
    """arr_0, arr_1, ... in the order of their numbers."""
    return sorted(archive.namelist(), key=lambda name: int(name.removeprefix("arr_").removesuffix(".npy")))
