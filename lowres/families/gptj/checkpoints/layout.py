"""Which files of a folder hold a GPT-J's weights, told by their names alone."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowres.errors import DataError

Kind = Literal["safetensors", "torch", "mesh"]
INDEX = {"safetensors": "model.safetensors.index.json", "torch": "pytorch_model.bin.index.json"}
_MESH = re.compile(r"shard_(\d+)/(\d+)\.npz")
_LOOKED_FOR = "config.json beside *.safetensors or pytorch_model*.bin, or shard_0/0.npz of mesh-transformer-jax"


@dataclass(frozen=True)
class Layout:
    """Where the weights lie. root: a folder, or an fsspec URL; files: relative to it, those that are needed."""

    kind: Kind
    root: str
    files: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """Files that others speak of and that are not there."""
    config: str | None = None
    """`config.json` where there is one: in root, or of a mesh checkpoint in the folder above."""


def find_layout(source: str) -> Layout:
    """The layout of a folder or of an fsspec URL. Raises DataError where none is known."""
    root = source.rstrip("/")
    names = _names(root)
    if not names:
        raise DataError(f"{source}: no such folder, or an empty one; it must hold {_LOOKED_FOR}")
    safetensors = sorted(name for name in names if re.fullmatch(r"[^/]+\.safetensors", name))
    if safetensors and "://" not in root:
        return _hugging_face("safetensors", root, names, safetensors)
    torch = sorted(name for name in names if re.fullmatch(r"pytorch_model[^/]*\.bin", name))
    torch = torch or sorted(name for name in names if re.fullmatch(r"[^/]+\.(bin|pt)", name))
    if torch and "://" not in root:
        return _hugging_face("torch", root, names, torch)
    if safetensors or torch:
        raise DataError(f"{source}: *.safetensors and *.bin are read from a local folder; download it first")
    return _mesh(root, names, source)


def _names(root: str) -> set[str]:
    """The files at root and in its step_* and shard_* folders, relative to it."""
    if "://" not in root:
        patterns = ("*", "shard_*/*.npz", "step_*/shard_*/*.npz")
        found = [path for pattern in patterns for path in Path(root).glob(pattern) if path.is_file()]
        return {path.relative_to(root).as_posix() for path in found}
    import fsspec

    try:
        system, base = fsspec.core.url_to_fs(root)
        return {name.removeprefix(base).strip("/") for name in system.find(base)}
    except Exception as error:  # each file system raises its own
        raise DataError(f"{root}: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error


def _hugging_face(kind: Kind, root: str, names: set[str], files: list[str]) -> Layout:
    """The files that are there, and those of the index that are not."""
    index, missing = Path(root) / INDEX[kind], ()
    if index.name in names:
        try:
            listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{index}: not an index, {{'weight_map': {{tensor: file}}}}; fetch it again") from error
        missing = tuple(sorted(listed - names))
        files = sorted(listed & names) if kind == "torch" else files
    elif kind == "torch" and len(files) > 1 and "pytorch_model.bin" in names:
        files = ["pytorch_model.bin"]
    return Layout(kind, root, tuple(files), missing, "config.json" if "config.json" in names else None)


def _mesh(root: str, names: set[str], source: str) -> Layout:
    """The newest step of a checkpoint's folder, or the step that `root` is."""
    prefix, config = "", "config.json" if "config.json" in names else None
    if not any(_MESH.fullmatch(name) for name in names):
        steps = {int(found[1]) for name in names if (found := re.match(r"step_(\d+)/shard_\d+/\d+\.npz$", name))}
        if not steps:
            raise DataError(f"{source}: no GPT-J there; it must hold {_LOOKED_FOR}")
        prefix = f"step_{max(steps)}/"
        config = f"../{config}" if config else None
    inside = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    found = {(int(m[1]), int(m[2])) for name in inside if (m := _MESH.fullmatch(name))}
    shards, pieces = max(shard for shard, _ in found) + 1, max(piece for _, piece in found) + 1
    whole = [(shard, piece) for shard in range(shards) for piece in range(pieces)]
    missing = tuple(f"shard_{shard}/{piece}.npz" for shard, piece in whole if (shard, piece) not in found)
    files = tuple(f"shard_{shard}/{piece}.npz" for shard, piece in whole if (shard, piece) in found)
    return Layout("mesh", f"{root}/{prefix}".rstrip("/"), files, missing, config)
