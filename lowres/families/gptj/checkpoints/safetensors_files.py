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
        self._where: dict[str, Path] = {}
        facts = {}
        for path in (folder / name for name in files):
            try:
                with safe_open(path, framework="numpy") as file:
                    kept = [key for key in file.keys() if not key.endswith(BUFFERS)]  # noqa: SIM118 - no dict
                    facts |= {key: _fact(file.get_slice(key)) for key in kept}
            except (SafetensorError, OSError) as error:
                raise DataError(f"{path}: cut short or damaged ({error}); fetch it again") from error
            self._where.update(dict.fromkeys(kept, path))
        self.facts: Mapping[str, Fact] = facts

    @property
    def kind(self) -> str:
        """The layout in a few words."""
        return "Hugging Face, *.safetensors"

    def tensor(self, name: str) -> np.ndarray[Any, Any]:
        """One tensor, read now. Its file is closed again: pages that stay mapped count as this process's memory."""
        with safe_open(self._where[name], framework="numpy") as file:
            return file.get_tensor(name)


def _fact(piece: Any) -> Fact:
    """Shape and type, from the file's header."""
    kind = str(piece.get_dtype())
    return Fact(tuple(piece.get_shape()), _TYPES.get(kind, kind))
