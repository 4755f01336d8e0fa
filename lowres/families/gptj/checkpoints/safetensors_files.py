"""Weights in *.safetensors, in one file or several."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - numpy learns bfloat16
import numpy as np
from safetensors import SafetensorError, safe_open

from lowres.errors import DataError
from lowres.families.gptj.checkpoints.names import BUFFERS
from lowres.families.gptj.checkpoints.source import Fact

_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "U8": "uint8", "I8": "int8"}


class SafetensorsFiles:
    """Reads the files of one folder."""

    def __init__(self, folder: Path, files: tuple[str, ...]):
        """Raises DataError where a file is damaged."""
        self._opened, self._where = {}, {}
        for name in files:
            try:
                self._opened[name] = safe_open(folder / name, framework="numpy")
            except (SafetensorError, OSError) as error:
                raise DataError(f"{folder / name}: cut short or damaged ({error}); fetch it again") from error
            kept = (key for key in self._opened[name].keys() if not key.endswith(BUFFERS))  # noqa: SIM118 - no dict
            self._where.update(dict.fromkeys(kept, name))
        self.facts = self._facts()

    @property
    def kind(self) -> str:
        """The layout in a few words."""
        return "Hugging Face, *.safetensors"

    def _facts(self) -> Mapping[str, Fact]:
        """Of every tensor, from the files' headers."""
        facts = {}
        for name, file in self._where.items():
            piece = self._opened[file].get_slice(name)
            kind = str(piece.get_dtype())
            facts[name] = Fact(tuple(piece.get_shape()), _TYPES.get(kind, kind))
        return facts

    def tensor(self, name: str) -> np.ndarray[Any, Any]:
        """One tensor, read now."""
        return self._opened[self._where[name]].get_tensor(name)
