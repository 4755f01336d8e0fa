"""Our arrays from any reader, a tensor at a time; and back, a tensor at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lowres.errors import DataError
from lowres.families.gptj.checkpoints.names import TRANSPOSED, Slot, slots
from lowres.families.gptj.checkpoints.source import Tensors
from lowres.families.gptj.config import Config, shapes


def pieces(
    tensors: Tensors, config: Config, where: str, with_head: bool = True
) -> Iterator[tuple[Slot, np.ndarray[Any, Any]]]:
    """Every tensor and its place, in our orientation and as stored, read when its turn comes; other names are passed
    over.

    Raises DataError where a tensor is missing or of another shape than `config` says, before any is read.
    """
    wanted = list(slots(config, with_head))
    for slot in wanted:
        if slot.name not in tensors.facts:
            raise DataError(f"{where}: no tensor {slot.name} in it; it is not a whole GPT-J")
        if tensors.facts[slot.name].shape != slot.shape:
            shape = tensors.facts[slot.name].shape
            raise DataError(f"{where}: {slot.name} has shape {shape}, config.json says {slot.shape}")
    return ((slot, _turned(tensors.tensor(slot.name), slot)) for slot in wanted)


def _turned(tensor: np.ndarray[Any, Any], slot: Slot) -> np.ndarray[Any, Any]:
    return tensor.T if slot.ours in TRANSPOSED else tensor


def arrays_of(tensors: Tensors, config: Config, where: str, with_head: bool = True) -> dict[str, np.ndarray[Any, Any]]:
    """Our layer-stacked arrays, float32; beside them one tensor is held. Raises DataError as `pieces` does."""
    sizes, arrays = shapes(config), {}
    for slot, array in pieces(tensors, config, where, with_head):
        if slot.ours not in arrays:
            arrays[slot.ours] = np.empty(sizes[slot.ours], np.float32)
        arrays[slot.ours][... if slot.layer is None else slot.layer] = array
    return arrays


def tensor_reader(params: Mapping[str, Any], config: Config) -> Callable[[str], np.ndarray[Any, Any]]:
    """What gives our arrays one tensor at a time, under transformers' names and in its orientation."""
    places = {slot.name: slot for slot in slots(config, "head" in params)}

    def read(name: str) -> np.ndarray[Any, Any]:
        slot = places[name]
        array = np.asarray(params[slot.ours]) if slot.layer is None else _row(params[slot.ours], slot.layer)
        return array.T if slot.ours in TRANSPOSED else array

    return read


def _row(array: Any, layer: int) -> np.ndarray[Any, Any]:
    """One layer of a stacked array. Of a JAX array on an accelerator that layer alone comes to the host."""
    on_host = isinstance(array, np.ndarray) or all(device.platform == "cpu" for device in array.devices())
    return np.asarray(array)[layer] if on_host else np.asarray(array[layer])
