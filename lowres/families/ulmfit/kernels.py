"""The compiled kernels on torch's tensors, with torch's threads; they were built from lowres/kernels/."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from lowres.kernels.build import SOURCES
from lowres.kernels.load import Missing, library

KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float64: "float64"}
_SIGNATURES = {  # as lowres.kernels.load.Library.functions takes them
    "qrnn_forward": "pppp" + "d" + "pp" + "iiii",
    "qrnn_backward": "pppp" + "d" + "ppp" + "iiii",
    "lstm_forward": "ppppp" + "iii",
    "lstm_backward": "pppppppp" + "iii",
    "softmax_errors": "pppp" + "iii",
    "drop_weights": "ppp" + "ii" + "d" + "i",
    "drop_gradient": "ppp" + "i" + "d" + "i",
}
_OF_BYTES = {"int8_product": "pppppppp" + "iiii", "int8_lstm": "pppppppppp" + "iiii"}
"""What one kind of numbers alone has, where int8_product_runs_here says so."""


@dataclass(frozen=True)
class Kernels:
    """The loaded library. level: the processor's level that it was compiled for; openmp: whether it uses threads."""

    level: str
    compiler: str
    openmp: bool
    functions: dict[str, Callable[..., None]]

    @property
    def of_bytes(self) -> bool:
        """Whether there are the kernels int8_product and int8_lstm on this processor."""
        return "int8_product" in self.functions

    def call(self, name: str, dtype: torch.dtype | None, *arguments: Tensor | float | None) -> None:
        """Runs a kernel on contiguous CPU tensors, with torch's number of threads. dtype: None for int8_*."""
        given = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        whole = name if dtype is None else f"{name}_{KINDS[dtype]}"
        self.functions[whole](*given, torch.get_num_threads() if self.openmp else 1)


@cache
def kernels(folder: Path = SOURCES) -> Kernels | Missing:
    """The kernels in `folder`, once a process."""
    found = library(folder)
    if isinstance(found, Missing):
        return found
    wanted = {f"{name}_{kind}": letters for name, letters in _SIGNATURES.items() for kind in KINDS.values()}
    wanted |= _OF_BYTES if found.opened.int8_product_runs_here() else {}
    return Kernels(found.level, found.compiler, found.openmp, found.functions(wanted))


def has_kernels() -> bool:
    """Whether there are compiled kernels in this process."""
    return isinstance(kernels(), Kernels)
