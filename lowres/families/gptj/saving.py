"""Checkpoints of a training on a mesh, by orbax: every host writes its part while training goes on."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lowres.devices import Devices
from lowres.errors import DataError

MOST_TIME = 0.05
"""Share of the time that goes to saving, at most."""


class MeshCheckpoints:
    """Numbered checkpoints in a folder or URL; a kill at any moment leaves the last whole one.

    A checkpoint is a tree of arrays, which comes back onto any mesh, and a cursor: JSON that says where the data are.
    """

    def __init__(self, folder: str, devices: Devices):
        saving = devices.checkpoints
        self._seconds, self._every = saving.seconds, saving.keep_every
        options = ocp.CheckpointManagerOptions(
            max_to_keep=saving.keep, keep_period=saving.keep_every, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(folder, options=options)
        self._saved_at, self._took = time.monotonic(), 0.0

    def latest(self) -> int | None:
        """The step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def load(self, step: int, like: Any) -> tuple[Any, Mapping[str, Any]]:
        """(tree, cursor) of a checkpoint; the arrays lie as those of `like` do."""
        named = {name: _described(leaf) for name, leaf in _named(like).items()}
        arguments = ocp.args.Composite(tree=ocp.args.StandardRestore(named), cursor=ocp.args.JsonRestore())
        found: Any = self._manager.restore(step, args=arguments)
        leaves = [found.tree[name] for name in _named(like)]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), found.cursor

    def due(self, step: int) -> bool:
        """Whether it is time to save, or a step that is kept."""
        waited = time.monotonic() - self._saved_at
        kept = self._every is not None and step > 0 and step % self._every == 0
        return kept or (
            waited >= max(self._seconds, self._took / MOST_TIME) and not self._manager.is_saving_in_progress()
        )

    def save(self, step: int, tree: Any, cursor: Mapping[str, Any]) -> None:
        """Copies the tree off the devices; it is written behind the training's back."""
        if step in self._manager.all_steps():
            return
        began = time.monotonic()
        arguments = ocp.args.Composite(tree=ocp.args.StandardSave(_named(tree)), cursor=ocp.args.JsonSave(dict(cursor)))
        self._manager.save(step, args=arguments, force=True)
        self._saved_at = time.monotonic()
        self._took = self._saved_at - began

    def close(self) -> None:
        """Waits until all is written."""
        self._manager.close()


def folder_of(work: Path, devices: Devices) -> str:
    """Where a training's checkpoints are. Raises DataError where several hosts have no folder in common."""
    shared = devices.checkpoints.folder
    if shared is None and devices.hosts > 1:
        raise DataError(
            f"run.checkpoints.folder is missing and run.hosts is {devices.hosts}; name a folder or bucket that all see"
        )
    if shared is None:
        return str((work / "mesh-checkpoints").absolute())
    return f"{shared.rstrip('/')}/{work.name}" if "://" in shared else str(Path(shared).absolute() / work.name)


def _named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, in its order, by their paths."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in found}


def _described(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
