"""Named tensors: out of a safetensors file, and those of one part of a model. Imports no fastai."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lowres.errors import DataError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises DataError where it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: not a whole safetensors file ({error}); copy it again") from error


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
