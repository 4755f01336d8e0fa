"""What torch and the compiled kernels find on this machine, and how fast they are, for `lowres doctor`.

python -m lowres.families.ulmfit.abilities [--benchmark]
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lowres import processor
from lowres.families.ulmfit import compiled, recurrence
from lowres.families.ulmfit.kernels import Kernels, has_kernels, kernels
from lowres.families.ulmfit.paths import default_products, lacking, onednn_is_exact, set_products
from lowres.kernels.build import NotBuilt, find_compiler

_ROUNDS = 5
_TIME, _BATCH, _HIDDEN, _VOCABULARY, _WIDTH = 70, 32, 512, 8000, 256
_CALLED = {"onednn": "oneDNN", "default": "torch's own choice"}


def abilities() -> list[tuple[str, str]]:
    """(name, what was found), a line each."""
    flags = processor.flags()
    found = kernels()
    native = [flag for flag in ("amx_bf16", "avx512_bf16", "bf16") if flag in flags]
    try:
        compiler = find_compiler()
    except NotBuilt as missing:
        compiler = f"{missing}; with one, pip install -e . (or of the source) builds the kernels"
    if isinstance(found, Kernels):
        about = f"compiled for {found.level} by {found.compiler}{'' if found.openmp else ', without threads'}"
    else:
        about = f"none, plain torch is used: {found.why}"
    return [
        ("torch devices", ", ".join(_devices())),
        ("C compiler", compiler),
        ("ULMFiT kernels", about),
        ("CUDA kernels", _cuda_kernels()),
        ("float32 products", f'{_CALLED[default_products()]} where products = "auto"'),
        (
            "bfloat16",
            f"in the processor ({native[0]})"
            if native
            else 'not in the processor; precision = "float32" may be faster: lowres doctor --benchmark',
        ),
    ]


def _cuda_kernels() -> str:
    if not torch.cuda.is_available():
        return "none are needed: torch finds no CUDA device"
    found = {"Triton (QRNN)": lacking("triton", "cuda"), "cuDNN (AWD-LSTM)": lacking("cudnn", "cuda")}
    return ", ".join(f"{name}: {f'plain torch is used, {why}' if why else 'used'}" for name, why in found.items())


def _devices() -> list[str]:
    gpus = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
    return ["cpu", *(f"cuda ({gpu.name}, {gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus)]


def _seconds(run: Callable[[], Any]) -> float:
    """The best of some rounds, after one that is not counted."""
    taken = []
    for _ in range(_ROUNDS + 1):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return min(taken[1:])


def _product_rates() -> dict[str, float]:
    """GFLOP/s of a layer's product (2240 x 1552 by 1552 x 4656) on each path."""
    x, weight = torch.randn(2240, 1552), torch.randn(4656, 1552)
    operations = 2 * x.shape[0] * x.shape[1] * weight.shape[0] / 1e9
    rates = {}
    for products in ("default", *(["onednn"] if onednn_is_exact() else [])):
        set_products(products)
        rates[products] = operations / _seconds(lambda: x @ weight.t())
    half, half_weight = x.bfloat16(), weight.bfloat16()
    rates["bfloat16"] = operations / _seconds(lambda: half @ half_weight.t())
    return rates


def _kernel_seconds(room: Any, dtype: torch.dtype) -> dict[str, float]:
    """Seconds of a QRNN's time loop and of the loss, forward and backward. room: compiled or recurrence."""
    gates = torch.randn(_TIME, _BATCH, 3 * _HIDDEN).to(dtype).requires_grad_()
    rows = torch.randn(_TIME * _BATCH, _WIDTH).to(dtype).requires_grad_()
    weight, bias = torch.randn(_VOCABULARY, _WIDTH).requires_grad_(), torch.zeros(_VOCABULARY).requires_grad_()
    state, targets = torch.zeros(_BATCH, _HIDDEN), torch.randint(0, _VOCABULARY, (len(rows),))
    ones: Tensor = torch.ones(_TIME, _BATCH, _HIDDEN, dtype=dtype)
    return {
        "QRNN loop": _seconds(lambda: room.forget_pool(gates, state)[0].backward(ones)),
        "loss": _seconds(lambda: room.linear_cross_entropy(rows, weight, bias, targets).backward()),
    }


def speeds() -> list[tuple[str, str]]:
    """(name, what was measured), a line each: products, and kernels beside plain torch."""
    rates = _product_rates()
    lines = [("products", ", ".join(f"{_CALLED.get(name, name)} {rate:.0f} GFLOP/s" for name, rate in rates.items()))]
    exact = {name: rate for name, rate in rates.items() if name != "bfloat16"}
    fastest, auto = max(exact, key=lambda name: exact[name]), default_products()
    # a tenth is within the noise of a busy machine
    advice = "" if exact[fastest] < 1.1 * exact[auto] else f'; products = "{fastest}" would be faster'
    gain = rates["bfloat16"] / exact[fastest]
    lines.append(("", f'"auto" takes {_CALLED[auto]}{advice}; bfloat16 is {gain:.1f} times as fast as float32'))
    set_products(auto)
    rooms = {"torch": recurrence} | ({"compiled": compiled} if has_kernels() else {})
    for dtype in (torch.float32, torch.bfloat16):
        taken = {name: _kernel_seconds(room, dtype) for name, room in rooms.items()}
        for what in taken["torch"]:
            said = ", ".join(f"{name} {1e3 * seconds[what]:.1f} ms" for name, seconds in taken.items())
            lines.append((what, f"{str(dtype).removeprefix('torch.')}: {said}"))
    return lines


if __name__ == "__main__":
    print(json.dumps(abilities() + (speeds() if "--benchmark" in sys.argv[1:] else [])))
