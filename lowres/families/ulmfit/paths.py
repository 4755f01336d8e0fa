"""Which code computes a training: the kernels of the time loops and the library of float32 products.

They differ in rounding alone, so "auto" may choose by the processor, as the number of threads may; what was chosen is
kept in the checkpoint, written into the manifest and shown while the training runs. No stopwatch decides.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lowres import processor
from lowres.errors import DataError
from lowres.families.ulmfit.kernels import Kernels, Missing, kernels
from lowres.families.ulmfit.models import use_kernels
from lowres.families.ulmfit.spec import Network

_DEVICES = {"compiled": "cpu", "triton": "cuda", "cudnn": "cuda"}


@dataclass(frozen=True)
class Paths:
    """kernel: "torch", "compiled" (of the CPU), "triton" or "cudnn" (of CUDA); level: what the compiled one is for.

    products: "default" or "onednn".
    """

    kernel: str = "torch"
    products: str = "default"
    level: str = ""

    def __str__(self) -> str:
        products = {"onednn": " + oneDNN", "default": ""}[self.products]
        return f"{self.kernel} kernels{f' ({self.level})' if self.level else ''}{products}"

    def facts(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)

    def use(self, *modules: nn.Module) -> None:
        """Makes the modules, and this process's float32 products, compute so."""
        set_products(self.products)
        for module in modules:
            use_kernels(module, self.kernel)


def check_device(network: Network, device: str) -> None:
    """Raises DataError where a named kernel is not of that kind of device."""
    kind = device.partition(":")[0]
    wanted = _DEVICES.get(network.kernel, kind)
    if wanted != kind:
        raise DataError(f'lm.kernel is "{network.kernel}", for {wanted} alone, and the device is {kind}; write "auto"')


def choose(network: Network, device: str = "cpu") -> Paths:
    """The paths of a network's settings on this machine. Raises DataError where a named one is not to be had.

    A kernel of another kind of device counts as "auto": a model goes where it was not trained (see check_device).
    """
    if device != "cpu":
        return Paths(_of_device(network, device))
    found = kernels()
    if network.kernel == "compiled" and network.precision == "float16":
        raise DataError('lm.kernel is "compiled" and these have no float16; write "torch"')
    if network.kernel == "compiled" and not isinstance(found, Kernels):
        raise DataError(f'lm.kernel is "compiled" and there are no compiled kernels: {found.why}; or write "torch"')
    compiled = isinstance(found, Kernels) and network.kernel != "torch" and network.precision != "float16"
    if network.products == "onednn" and not onednn_is_exact():
        raise DataError('lm.products is "onednn", which rounds float32 to bfloat16 on this processor; write "default"')
    products = default_products() if network.products == "auto" else network.products
    level = found.level if compiled and isinstance(found, Kernels) else ""
    return Paths("compiled" if compiled else "torch", products, level)


def _of_device(network: Network, device: str) -> str:
    """The kernel of a device that is no CPU."""
    if network.kernel == "torch":
        return "torch"
    own = "triton" if network.cell == "qrnn" else "cudnn"
    why = lacking(own, device)
    if why and network.kernel == own:
        raise DataError(f'lm.kernel is "{own}", and {why}; or write "torch"')
    return "torch" if why else own


@cache
def lacking(kernel: str, device: str) -> str:
    """Why a CUDA kernel does not compute on a device, in a line; "" where it does. "triton" computes a little."""
    if not device.startswith("cuda"):
        return f"the device is {device}"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    if kernel == "cudnn":
        return "" if torch.backends.cudnn.is_available() else "this torch has no cuDNN"
    try:
        from lowres.families.ulmfit import fused

        gates = torch.zeros(1, 1, 3, device=device, requires_grad=True)
        fused.forget_pool(gates, torch.zeros(1, 1, device=device))[0].sum().backward()
    except ImportError as error:
        return f"triton does not import ({error}): pip install triton"
    except Exception as error:  # whatever its compiler, a C compiler that it calls, or the driver says
        return f"triton does not compute here ({(str(error).splitlines() or [type(error).__name__])[0]})"
    return ""


def pinned(place: Mapping[str, Any], checkpoint: Path, device: str = "cpu") -> Paths:
    """The paths in a checkpoint's place.json; plain torch where it says none, as it was before there was a choice.

    Raises DataError where this machine lacks them: another path would not end at the same weights.
    """
    paths = Paths(**place.get("paths", {}))
    found = kernels()
    if paths.kernel == "compiled" and isinstance(found, Missing):
        raise DataError(
            f"{checkpoint}: begun with compiled kernels, and here are none: {found.why}; "
            "build them, or remove that folder to train anew"
        )
    if paths.kernel in ("triton", "cudnn") and (why := lacking(paths.kernel, device)):
        raise DataError(
            f'{checkpoint}: begun with kernel "{paths.kernel}", and {why}; '
            "mend that, or remove that folder to train anew"
        )
    return paths


def set_products(products: str) -> None:
    """Sets how this process multiplies float32 matrices on a CPU. products: "default" or "onednn".

    On a GPU they are float32 too: cuDNN would round those of an LSTM to TF32 by itself.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("medium" if products == "onednn" else "highest")


def onednn_is_exact() -> bool:
    """Whether torch's "medium" float32 products are float32 here: a processor with AMX rounds them to bfloat16."""
    return torch.backends.mkldnn.is_available() and "amx_tile" not in processor.flags()  # type: ignore[attr-defined]


def default_products() -> str:
    """That of "auto": oneDNN on AMD processors, where MKL, torch's choice, was seen at half its speed."""
    return "onednn" if "AMD" in processor.maker() and onednn_is_exact() else "default"
