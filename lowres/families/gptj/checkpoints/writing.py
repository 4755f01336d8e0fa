"""Safetensors written one tensor at a time: the library's own writer wants all of them in memory at once."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np

from lowres.artifacts import write_json
from lowres.errors import DataError

Dtype = Literal["float32", "bfloat16", "float16"]
_CODES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_NUMPY = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}
AT_ONCE = 1 << 20
"""Numbers converted at a time."""
Read = Callable[[str], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Planned:
    """A tensor to write."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)


def write_weights(folder: Path, planned: Sequence[Planned], dtype: Dtype, read: Read, shard_bytes: int = 0) -> int:
    """Writes model.safetensors, or shards of at most `shard_bytes` (or one tensor) and their index. Returns bytes.

    read: gives one tensor by name. Held at a time: what it gives, and AT_ONCE numbers.
    """
    width = _NUMPY[dtype].itemsize
    shards: list[list[Planned]] = [[]]
    for tensor in planned:
        held = sum(one.size for one in shards[-1])
        if shard_bytes and held and (held + tensor.size) * width > shard_bytes:
            shards.append([])
        shards[-1].append(tensor)
    total = sum(tensor.size for tensor in planned) * width
    if len(shards) == 1:
        write_safetensors(folder / "model.safetensors", shards[0], dtype, read)
        return total
    where = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(folder / name, shard, dtype, read)
        where.update({tensor.name: name for tensor in shard})
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})
    return total


def write_safetensors(path: Path, planned: Sequence[Planned], dtype: Dtype, read: Read) -> None:
    """One file, the same bytes as the library's. Raises DataError where a number does not fit `dtype`."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end, width = 0, _NUMPY[dtype].itemsize
    planned = sorted(planned, key=lambda tensor: tensor.name)
    for tensor in planned:
        start, end = end, end + tensor.size * width
        header[tensor.name] = {"dtype": _CODES[dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 8)
    with path.open("wb") as file:
        file.write(len(words).to_bytes(8, "little") + words)
        for tensor in planned:
            array = read(tensor.name)
            if array.shape != tensor.shape:
                raise DataError(f"{tensor.name}: shape {array.shape}, not {tensor.shape}")
            _write(file, array, tensor.name, dtype)


def _write(file: Any, array: np.ndarray[Any, Any], name: str, dtype: Dtype) -> None:
    """The numbers of an array in C order, some rows at a time."""
    rows = array.reshape(1) if not array.ndim else array
    some = max(AT_ONCE // max(rows[0].size, 1), 1)
    for start in range(0, len(rows), some):
        piece = rows[start : start + some]
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(piece, dtype=_NUMPY[dtype])
        if dtype == "float16" and not np.isfinite(cast).all():
            raise DataError(f"{name}: it has numbers that float16 cannot hold (over 65504); use --dtype bfloat16")
        file.write(cast.view(np.uint8).data)
