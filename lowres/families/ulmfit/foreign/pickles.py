"""Vocabularies that fastai pickled, read without running what a pickle asks for."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

from lowres.errors import DataError


class _Inert:
    """Stands for fastcore's L and fastai's Vocab: holds what was in them."""


_ALLOWED = {
    ("fastcore.foundation", "L"), ("fastcore.all", "L"), ("fastai2.torch_core", "L"), ("fastai2.core.foundation", "L"),
    ("fastai.text.transform", "Vocab"),
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    """Lists, dicts, strings and numbers alone: a class other than those above is refused, so nothing is run."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) in _ALLOWED:
            return _Inert
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for a persistent object")


def read_strings(path: Path) -> list[str]:
    """The list of strings in a file: JSON, or a pickle of nothing else. Raises DataError on anything more."""
    try:
        content = path.read_bytes()
        value = json.loads(content) if path.suffix == ".json" else _Unpickler(io.BytesIO(content)).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a list of strings and nothing else ({said}); write it as JSON") from error
    if isinstance(value, _Inert):
        value = next((vars(value)[name] for name in ("items", "itos") if name in vars(value)), None)
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], list):
        value = value[0]  # a classifier's (vocabulary, labels)
    if not isinstance(value, list) or not value or not all(isinstance(piece, str) for piece in value):
        raise DataError(f"{path}: holds a {type(value).__name__}; a vocabulary is a list of strings")
    return value
