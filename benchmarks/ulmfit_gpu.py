"""How fast ULMFiT's layers and language models train on a CUDA device, beside cuDNN, list loops and fastai's learner.

    python benchmarks/ulmfit_gpu.py [--rounds 7] [--steps 10] [--precisions bfloat16 float32 float16] [--sweep]
                                    [--small] [--json OUT]

Every round runs some steps of every contender in turn, in one process, and waits for the device before and behind them;
the best round of each is compared. float32 is TF32 in every contender's products. A layer is 64 x 70 tokens, forward
and backward, its weights in the precision: a QRNN of 1552 beside torch's (cuDNN's) LSTM of as many parameters. A step
of a language model is that of benchmarks/ulmfit.py; fastai runs with its own MixedPrecision. Both read every loss.
First the Triton kernels are compared with plain torch in float64, on the device. Peak memory is what a step takes over
what was held before it. A contender that fails has a line and no numbers. --sweep: other blocks, stages and warps of
the Triton kernels. --small: toy sizes, to see that it runs. Needs torch with CUDA, triton, fastai and this repository.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback, CancelValidException  # pyright: ignore[reportAttributeAccessIssue]
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.learner import Learner
from torch import Tensor, nn
from torch.nn import functional as F
from ulmfit import SMALL, Sizes, fastais, list_loop, ours, table

from lowres.families.ulmfit import recurrence
from lowres.families.ulmfit.saved import parameter_count

_TOLERANCE = {"float32": 3e-6, "bfloat16": 2e-2, "float16": 3e-3}


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def allow_tf32(wanted: bool) -> None:
    torch.set_float32_matmul_precision("high" if wanted else "highest")
    torch.backends.cudnn.allow_tf32 = wanted


def seconds_of(run: Callable[[], Any], steps: int, device: str) -> float:
    """Seconds of a step, of several in a row."""
    wait(device)
    begun = time.perf_counter()
    for _ in range(steps):
        run()
    wait(device)
    return (time.perf_counter() - begun) / steps


# --- the contenders: each gives the seconds of a step, of so many -----------------------------------------------------


def fused_pool(gates: Tensor, c0: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    from lowres.families.ulmfit import fused

    return fused.forget_pool(gates, c0, bias=bias)


def lstm_width(hidden: int) -> int:
    """Units of an LSTM layer with the parameters of a QRNN layer: 8 h^2 of 3 hidden^2, a multiple of 8."""
    return max(8, round((3 / 8) ** 0.5 * hidden / 8) * 8)


def backward_of(run: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], None]:
    def step() -> None:
        out = run()
        out.backward(torch.ones_like(out))
        for leaf in leaves:
            leaf.grad = None

    return step


def pools(sizes: Sizes, dtype: torch.dtype, device: str) -> dict[str, Callable[[], None]]:
    """The gates and time loop of a QRNN layer by themselves."""
    hidden = sizes.qrnn[1]
    gates = torch.randn(sizes.bptt, sizes.batch, 3 * hidden, device=device).to(dtype).requires_grad_()
    c0 = torch.zeros(sizes.batch, hidden, device=device)
    ways = {"triton": fused_pool, "torch": recurrence.forget_pool, "list loop": list_loop}
    return {f"pool {name}": backward_of(lambda p=pool: p(gates, c0)[0], [gates]) for name, pool in ways.items()}


def layers(sizes: Sizes, dtype: torch.dtype, device: str) -> dict[str, Callable[[], None]]:
    """A QRNN layer, product and loop, and an LSTM of as many parameters."""
    hidden = sizes.qrnn[1]
    linear = nn.Linear(hidden, 3 * hidden).to(device, dtype)
    x = torch.randn(sizes.bptt, sizes.batch, hidden, device=device).to(dtype).requires_grad_()
    c0, weights = torch.zeros(sizes.batch, hidden, device=device), [x, *linear.parameters()]
    ways: dict[str, Callable[[], Tensor]] = {
        "triton": lambda: fused_pool(F.linear(x, linear.weight), c0, linear.bias)[0],
        "torch": lambda: recurrence.forget_pool(linear(x), c0)[0],
        "list loop": lambda: list_loop(linear(x), c0)[0],
    }
    made = {f"layer QRNN {name}": backward_of(run, weights) for name, run in ways.items()}
    width = lstm_width(hidden)
    lstm = nn.LSTM(width, width).to(device, dtype)
    y = torch.randn(sizes.bptt, sizes.batch, width, device=device).to(dtype).requires_grad_()
    made["layer LSTM cuDNN"] = backward_of(lambda: lstm(y)[0], [y, *lstm.parameters()])
    return made


class Watch(Callback):
    """Seconds of a step of a fit, its first one left out."""

    order = 200

    def __init__(self, device: str):
        self.on, self.begun, self.seconds = device, 0.0, 0.0

    def after_batch(self):
        self.learn.loss.item()
        if self.learn.iter == 0:
            wait(self.on)
            self.begun = time.perf_counter()

    def after_train(self):
        wait(self.on)
        self.seconds = (time.perf_counter() - self.begun) / (self.learn.n_iter - 1)

    def before_validate(self):
        raise CancelValidException


def fitting(learn: Learner, device: str) -> Callable[[], float]:
    def fit() -> float:
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3, cbs=(watch := Watch(device)))
        return watch.seconds

    return fit


def mixed(learn: Learner, precision: str) -> Learner:
    """Fastai's learner with its own mixed precision."""
    modes = {"float16": AMPMode.FP16, "bfloat16": AMPMode.BF16}
    return learn.add_cb(MixedPrecision(modes[precision])) if precision in modes else learn


def models(sizes: Sizes, precision: str, count: int, device: str) -> dict[str, Callable[[], Learner]]:
    """Learners of whole language models, not made yet."""
    made = {"LM fastai AWD-LSTM": lambda: mixed(fastais(sizes, "awd-lstm", count, device), precision)}
    for cell, kernel in (("awd-lstm", "cudnn"), ("qrnn", "triton"), ("qrnn", "torch")):
        made[f"LM {cell.upper()} {kernel}"] = lambda c=cell, k=kernel: ours(sizes, c, k, precision, count, device)
    return made


def contenders(sizes: Sizes, precisions: list[str], steps: int, device: str) -> dict[str, Callable[[], float]]:
    """name -> one round of it, seconds a step. What cannot be made is made again, and fails, where it is first run."""
    found: dict[str, Callable[[], float]] = {}
    for precision in precisions:
        dtype = getattr(torch, precision)
        for name, run in (pools(sizes, dtype, device) | layers(sizes, dtype, device)).items():
            found[f"{name} {precision}"] = lambda r=run: seconds_of(r, steps, device)
        for name, make in models(sizes, precision, steps + 1, device).items():
            found[f"{name} {precision}"] = _made_once(make, device)
    return found


def _made_once(make: Callable[[], Learner], device: str) -> Callable[[], float]:
    made: list[Callable[[], float]] = []

    def run() -> float:
        if not made:
            made.append(fitting(make(), device))
        return made[0]()

    return run


# --- measuring --------------------------------------------------------------------------------------------------------


def differences(sizes: Sizes, precisions: list[str], device: str) -> list[list[str]]:
    """Rows: precision, largest difference of the Triton kernels from float64 over the largest value, verdict."""
    from lowres.families.ulmfit import fused

    time_, batch, hidden = min(sizes.bptt, 33), min(sizes.batch, 5), sizes.qrnn[1]
    rows = []
    for precision in precisions:
        for zoned in (None, torch.rand(time_, batch, hidden, device=device) < 0.3):
            torch.manual_seed(0)
            rounded = (torch.randn(time_, batch, 3 * hidden, device=device) * 2).to(getattr(torch, precision))
            results = []
            for pool, dtype in ((fused.forget_pool, rounded.dtype), (recurrence.forget_pool, torch.float64)):
                gates = rounded.to(dtype, copy=True).requires_grad_()
                wide = torch.promote_types(dtype, torch.float32)
                c0 = torch.linspace(-1, 1, hidden, device=device).to(wide).expand(batch, -1).contiguous()
                out, last = pool(gates, c0.requires_grad_(), zoned)
                torch.autograd.backward([out, last], [torch.ones_like(out), torch.ones_like(last)])
                results.append([tensor.detach().double() for tensor in (out, last, gates.grad, c0.grad)])  # type: ignore
            worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*results, strict=True))
            verdict = "right" if worst <= _TOLERANCE[precision] else "WRONG"
            rows.append([f"{precision}{'' if zoned is None else ', zoneout'}", f"{worst:.2g}", verdict])
    return rows


def sweep(sizes: Sizes, precisions: list[str], steps: int, device: str) -> list[list[str]]:
    """Rows: precision, block, stages, warps, microseconds forward and backward; those in use are named."""
    from lowres.families.ulmfit import fused

    used, rows = (fused._BLOCK, fused._STAGES, fused._WARPS), []
    for precision in precisions:
        run = pools(sizes, getattr(torch, precision), device)["pool triton"]
        for block, stages, warps in [(b, s, w) for w in (1, 2) for b in (32, 64, 128, 256) for s in (1, 2, 4, 6, 8)]:
            fused._BLOCK, fused._STAGES, fused._WARPS = block, stages, warps
            seconds_of(run, 2, device)
            best = min(seconds_of(run, steps, device) for _ in range(3))
            named = [str(block), str(stages), str(warps), "in use" if (block, stages, warps) == used else ""]
            rows.append([precision, f"{1e6 * best:.0f}", *named])
        fused._BLOCK, fused._STAGES, fused._WARPS = used
    return sorted(rows, key=lambda row: (row[0], float(row[1])))


def measure(
    made: dict[str, Callable[[], float]], rounds: int, device: str
) -> tuple[dict[str, list[float]], dict[str, int], dict[str, str]]:
    """(seconds of a step of every round, peak bytes of a step, why it failed), by contender."""
    seconds: dict[str, list[float]] = {name: [] for name in made}
    peaks: dict[str, int] = {}
    failed: dict[str, str] = {}
    for number in range(rounds + 1):
        for name, run in made.items():
            if name in failed:
                continue
            try:
                held = _memory(device)
                taken = run()
            except Exception as error:  # a contender that cannot run here is told, and the others go on
                failed[name] = (str(error).splitlines() or [type(error).__name__])[0]
                torch.set_autocast_enabled("cuda", False)  # fastai's MixedPrecision leaves it on
                continue
            if number:  # the first round compiles, makes moments and warms up
                seconds[name].append(taken)
                peaks[name] = torch.cuda.max_memory_allocated() - held if device == "cuda" else 0
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return {name: taken for name, taken in seconds.items() if taken}, peaks, failed


def _memory(device: str) -> int:
    """Bytes that are held now; the peak counts from here."""
    if device != "cuda":
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


# --- the report -------------------------------------------------------------------------------------------------------


def ratios(best: dict[str, float], precision: str) -> list[list[str]]:
    """Rows: what is compared, how many times as fast. Rows of what was not measured are left out."""
    pairs = [
        ("QRNN layer, Triton: times the LSTM layer of cuDNN", "layer LSTM cuDNN", "layer QRNN triton"),
        ("QRNN layer, Triton: times the list loop's", "layer QRNN list loop", "layer QRNN triton"),
        ("QRNN layer, Triton: times plain torch's", "layer QRNN torch", "layer QRNN triton"),
        ("time loop, Triton: times the list loop", "pool list loop", "pool triton"),
        ("time loop, Triton: times plain torch", "pool torch", "pool triton"),
        ("step, QRNN with Triton: times fastai's AWD-LSTM", "LM fastai AWD-LSTM", "LM QRNN triton"),
        ("step, QRNN with Triton: times QRNN in plain torch", "LM QRNN torch", "LM QRNN triton"),
        ("step, AWD-LSTM with cuDNN: times fastai's AWD-LSTM", "LM fastai AWD-LSTM", "LM AWD-LSTM cudnn"),
    ]
    named = [(what, f"{slow} {precision}", f"{fast} {precision}") for what, slow, fast in pairs]
    return [[f"{precision}: {what}", f"{best[s] / best[f]:.2f}"] for what, s, f in named if s in best and f in best]


def pool_bytes(sizes: Sizes, dtype: torch.dtype) -> int:
    """What the Triton kernels read and write: forward 3 + 2, backward 3 + 1 + 1 + 3 numbers a unit and step."""
    return 13 * sizes.batch * sizes.bptt * sizes.qrnn[1] * torch.empty((), dtype=dtype).element_size()


def report(result: dict[str, Any], sizes: Sizes) -> str:
    seconds = result["seconds"]
    best = {name: min(values) for name, values in seconds.items()}
    text = table(["Triton beside float64", "difference", "verdict"], result["differences"]) + "\n"
    compared = [row for precision in result["precisions"] for row in ratios(best, precision)]
    for precision in result["precisions"]:
        if (name := f"pool triton {precision}") in best:
            rate = pool_bytes(sizes, getattr(torch, precision)) / best[name] / 1e9
            compared.append([f"{precision}: time loop, Triton: GB/s read and written", f"{rate:.0f}"])
    text += table(["ratio of the best rounds", "measured"], compared) + "\n"
    rows = []
    for name, values in seconds.items():
        rate = f"{sizes.batch * sizes.bptt / best[name]:.0f}" if name.startswith("LM") else ""
        peak = f"{result['peaks'][name] / 1e6:.0f}"
        rows.append([name, f"{1e3 * best[name]:.3f}", f"{1e3 * statistics.median(values):.3f}", rate, peak])
    text += table(["a step", "best ms", "median ms", "tokens/s", "peak MB"], rows)
    if result["sweep"]:
        text += "\n" + table(["Triton", "microseconds", "block", "stages", "warps", ""], result["sweep"])
    return text + "".join(f"\nNot run: {name}: {why}" for name, why in result["failed"].items())


def measured(sizes: Sizes, arguments: argparse.Namespace, device: str) -> dict[str, Any]:
    precisions = arguments.precisions
    allow_tf32(False)
    checked = differences(sizes, precisions, device)
    allow_tf32(True)
    made = contenders(sizes, precisions, arguments.steps, device)
    seconds, peaks, failed = measure(made, arguments.rounds, device)
    swept = sweep(sizes, precisions, arguments.steps, device) if arguments.sweep else []
    return {
        "precisions": precisions, "differences": checked, "seconds": seconds, "peaks": peaks, "failed": failed,
        "sweep": swept,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--precisions", nargs="+", choices=list(_TOLERANCE), default=["bfloat16", "float32", "float16"])
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("ulmfit_gpu.py: torch finds no CUDA device here; this benchmark needs one")
    sizes = SMALL if arguments.small else Sizes()
    import triton

    gpu = torch.cuda.get_device_properties(0)
    about = {"gpu": gpu.name, "torch": torch.__version__, "cuda": torch.version.cuda, "triton": triton.__version__}
    about["cudnn"] = torch.backends.cudnn.version()
    result = about | measured(sizes, arguments, "cuda")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    parameters = {cell: parameter_count(ours(sizes, cell, "torch", "float32").model) for cell in ("qrnn", "awd-lstm")}
    print(about, parameters, f"\n\n{report(result, sizes)}")


if __name__ == "__main__":
    main()
