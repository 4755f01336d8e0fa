"""Weights in torch's files (`pytorch_model.bin`), mapped into memory; nothing but tensors is unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lowres.errors import DataError
from lowres.families.gptj.checkpoints.names import BUFFERS
from lowres.families.gptj.checkpoints.source import Fact


class TorchFiles:
    """Reads the state dicts of one folder."""

    def __init__(self, folder: Path, files: tuple[str, ...]):
        """Raises DataError where a file is damaged or holds anything but tensors."""
        self._tensors: dict[str, Any] = {}
        for name in files:
            state = _state_dict(folder / name)
            self._tensors.update({key: value for key, value in state.items() if not key.endswith(BUFFERS)})
        self.facts = self._facts()

    @property
    def kind(self) -> str:
        """The layout in a few words."""
        return "Hugging Face, torch files"

    def _facts(self) -> Mapping[str, Fact]:
        """Of every tensor."""
        return {
            name: Fact(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            for name, tensor in self._tensors.items()
        }

    def tensor(self, name: str) -> np.ndarray[Any, Any]:
        """One tensor; its pages are the file's."""
        import torch

        tensor = self._tensors[name].detach()
        if tensor.dtype == torch.bfloat16:  # which numpy has from ml_dtypes, and torch does not know that
            return tensor.contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return tensor.numpy()


def _state_dict(path: Path) -> dict[str, Any]:
    """The tensors of a file by name. Files from before torch 1.6 are no archives and are read whole."""
    import pickle
    import zipfile

    import torch

    mapped = zipfile.is_zipfile(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:  # torch's own words would have the user run whatever is in the file
        raise DataError(
            f"{path}: no whole file of tensors: it is damaged, or holds code, which is not run; fetch it again"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise DataError(f"{path}: no whole file of tensors ({str(error).splitlines()[0]}); fetch it again") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DataError(f"{path}: not a state dict, name -> tensor")
    return state
