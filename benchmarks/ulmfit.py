"""How fast ULMFiT language models train here, beside fastai's own, a Python loop and the processor's product rate.

    python benchmarks/ulmfit.py [--rounds 8] [--threads 2] [--cells qrnn awd-lstm] [--small] [--json OUT]

Every round runs one step of every contender in turn, in one process, so that whatever else the machine does falls on
all of them; the best round of each is compared. A step is a batch of 64 x 70 tokens, vocabulary 15,000, embedding 400:
forward, backward, AR and TAR, clipping, Adam, with the same dropouts on both sides. fastai runs as it comes, ours with
the product path that `lowres.families.ulmfit.paths` chooses. Peak memory is measured in a process for each contender
(Linux). --small: toy sizes, to see that it runs.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback, CancelValidException  # pyright: ignore[reportAttributeAccessIssue]
from fastai.callback.training import GradientClip
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.text.learner import language_model_learner
from fastai.text.models.awdlstm import AWD_LSTM
from fastai.text.models.core import _model_meta
from rounds import in_turn
from torch import Tensor
from torch.nn import functional as F

from lowres.experiment.results import processor_name
from lowres.families.ulmfit import compiled, recurrence
from lowres.families.ulmfit.data import Documents, LmBatches
from lowres.families.ulmfit.kernels import Kernels, kernels
from lowres.families.ulmfit.learning import lm_learner
from lowres.families.ulmfit.models import QRNN, QRNN_LM_CONFIG, QRNNCell, QRNNLayer, use_kernels
from lowres.families.ulmfit.paths import set_products
from lowres.families.ulmfit.saved import LmConfig, build_lm, parameter_count
from lowres.families.ulmfit.spec import Optimisation

DROP_MULT = 0.5


@dataclass(frozen=True)
class Sizes:
    batch: int = 64
    bptt: int = 70
    vocabulary: int = 15_000
    emb_size: int = 400
    qrnn: tuple[int, int] = (4, 1552)
    lstm: tuple[int, int] = (3, 1152)

    def shape(self, cell: str) -> tuple[int, int]:
        return self.qrnn if cell == "qrnn" else self.lstm

    def products(self, cell: str) -> list[tuple[int, int]]:
        """(outputs, inputs) of every matrix that each token goes through."""
        layers, hidden = self.shape(cell)
        widths = [self.emb_size, *[hidden] * (layers - 1), self.emb_size]
        pairs = list(zip(widths, widths[1:], strict=False))
        if cell == "qrnn":
            made = [(3 * out, before * (2 if k == 0 else 1)) for k, (before, out) in enumerate(pairs)]
        else:
            made = [(4 * out, width) for before, out in pairs for width in (before, out)]
        return [*made, (self.vocabulary, self.emb_size)]


SMALL = Sizes(batch=4, bptt=7, vocabulary=300, emb_size=24, qrnn=(2, 40), lstm=(2, 32))


# --- the contenders ---------------------------------------------------------------------------------------------------


class Batches:
    """The same random batch `count` times."""

    def __init__(self, sizes: Sizes, count: int = 1, device: str = "cpu"):
        draws = torch.Generator().manual_seed(0)
        self.ids = torch.randint(3, sizes.vocabulary, (sizes.batch, sizes.bptt + 1), generator=draws).to(device)
        self.count, self.device = count, torch.device(device)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.count):
            yield self.ids[:, :-1], self.ids[:, 1:]


class Loaders(DataLoaders):
    c = 2


def list_loop(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Fo-pooling as one writes it in Python: whole-sequence activations, then a list of states."""
    z, f, o = gates.chunk(3, -1)
    z, f, o = z.tanh(), f.sigmoid(), o.sigmoid()
    states = []
    for step_z, step_f in zip((z * (1 - f)).unbind(), f.unbind(), strict=True):
        c = step_f * c + step_z
        states.append(c)
    return o * torch.stack(states), c


class LoopCell(QRNNCell):
    def _pooled(self, x, c0, zoned, zoneout):
        weight = F.dropout(self.linear.weight_raw, self.linear.p, self.training)
        return list_loop(F.linear(x, weight, self.linear.module.bias), c0)


class LoopQRNN(QRNN):
    """A QRNN as fastai 1 had it without its CUDA kernel: F.dropout of the weights, a Python loop over time."""

    def _one_rnn(self, n_in, n_out, bidir, weight_p, l):  # noqa: E741
        return QRNNLayer(LoopCell(n_in, n_out, self.window if l == 0 else 1, weight_p))


_model_meta[LoopQRNN] = _model_meta[QRNN] | {"config_lm": QRNN_LM_CONFIG}


def fastais(sizes: Sizes, cell: str, count: int = 1, device: str = "cpu") -> Learner:
    """fastai's learner: its own AWD_LSTM, or the loop QRNN under its decoder and loss."""
    layers, hidden = sizes.shape(cell)
    architecture = LoopQRNN if cell == "qrnn" else AWD_LSTM
    config = dict(_model_meta[architecture]["config_lm"])
    config |= {"emb_sz": sizes.emb_size, "n_hid": hidden, "n_layers": layers}
    batches = Batches(sizes, count, device)
    loaders = Loaders(batches, batches)
    loaders.vocab, loaders._device = [str(k) for k in range(sizes.vocabulary)], batches.device
    options = {"config": config, "drop_mult": DROP_MULT, "pretrained": False, "metrics": []}
    return language_model_learner(loaders, architecture, cbs=[GradientClip(0.25)], **options)


def ours(sizes: Sizes, cell: str, kernel: str, precision: str, count: int = 1, device: str = "cpu") -> Learner:
    layers, hidden = sizes.shape(cell)
    shape = {"cell": cell, "emb_size": sizes.emb_size, "n_hid": hidden, "n_layers": layers, "precision": precision}
    config = LmConfig(**shape, vocab_size=sizes.vocabulary, pad_id=1, direction="forward")  # type: ignore[arg-type]
    model, batches = build_lm(config, DROP_MULT).to(device), Batches(sizes, count, device)
    learn = lm_learner(model, batches, batches, Optimisation())  # type: ignore[arg-type]
    for part in (model, learn.loss_func):
        use_kernels(part, kernel)
    return learn


class Watch(Callback):
    """Seconds of the one batch of a fit: forward, backward and the optimiser's step."""

    def before_batch(self):
        self.begun = time.perf_counter()

    def after_batch(self):
        self.seconds = time.perf_counter() - self.begun

    def before_validate(self):
        raise CancelValidException


def step(learn: Learner, products: str) -> float:
    set_products(products)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3, cbs=(watch := Watch()))
    return watch.seconds


def product_seconds(sizes: Sizes, cell: str, dtype: torch.dtype, products: str) -> float:
    """Seconds of all matrix products of a step, forward and both gradients, and of nothing else."""
    set_products(products)
    rows, total = sizes.batch * sizes.bptt, 0.0
    for outputs, inputs in sizes.products(cell):
        shapes = [(rows, inputs), (outputs, inputs), (rows, outputs)]
        x, weight, d = (torch.randn(shape, dtype=dtype) for shape in shapes)
        out_x, out_weight, out_d = (torch.zeros(shape, dtype=dtype) for shape in shapes)  # pages that are there already
        begun = time.perf_counter()
        torch.mm(x, weight.t(), out=out_d)
        torch.mm(d, weight, out=out_x)
        torch.mm(d.t(), x, out=out_weight)
        total += time.perf_counter() - begun
    return total


def pool_seconds(sizes: Sizes, pool: Callable, dtype: torch.dtype) -> float:
    """Seconds of a QRNN layer's gates and time loop, forward and backward."""
    hidden = sizes.qrnn[1]
    draws = torch.Generator().manual_seed(0)
    gates = torch.randn(sizes.bptt, sizes.batch, 3 * hidden, generator=draws).to(dtype).requires_grad_()
    d_out = torch.ones(sizes.bptt, sizes.batch, hidden, dtype=dtype)
    begun = time.perf_counter()
    out, _ = pool(gates, torch.zeros(sizes.batch, hidden))
    out.backward(d_out.to(out.dtype))
    return time.perf_counter() - begun


def contenders(sizes: Sizes, cells: list[str]) -> dict[str, Callable[[], float]]:
    """name -> one round of it, in seconds."""
    made: dict[str, Callable[[], float]] = {}
    fast = "onednn"

    def stepping(name: str, learn: Learner, products: str) -> None:
        made[name] = lambda: step(learn, products)

    for cell in cells:
        stepping({"qrnn": "qrnn loop", "awd-lstm": "fastai"}[cell], fastais(sizes, cell), "default")
        for dtype in (torch.float32, torch.bfloat16):
            precision = str(dtype).removeprefix("torch.")
            made[f"{cell} products {precision}"] = lambda c=cell, d=dtype: product_seconds(sizes, c, d, fast)
            for kernel in ("torch", "compiled"):
                if kernel == "torch" or isinstance(kernels(), Kernels):
                    stepping(f"{cell} {kernel} {precision}", ours(sizes, cell, kernel, precision), fast)
        made[f"{cell} products default"] = lambda c=cell: product_seconds(sizes, c, torch.float32, "default")
    for dtype in (torch.float32, torch.bfloat16):
        precision = str(dtype).removeprefix("torch.")
        for name, pool in (("loop", list_loop), ("torch", recurrence.forget_pool), ("compiled", compiled.forget_pool)):
            if name != "compiled" or isinstance(kernels(), Kernels):
                made[f"pool {name} {precision}"] = lambda p=pool, d=dtype: pool_seconds(sizes, p, d)
    made["data loading"] = loading(sizes)
    return made


def loading(sizes: Sizes) -> Callable[[], float]:
    """Seconds of a training batch out of 20 M memory-mapped tokens in documents of 1,000, as a stage reads it."""
    count = 20_000_000 if sizes != SMALL else 100_000
    with tempfile.TemporaryDirectory() as folder:  # the mapping outlives the file's name
        path = Path(folder) / "tokens.npy"
        np.save(path, np.random.default_rng(0).integers(0, sizes.vocabulary, count, dtype=np.int32))
        documents = Documents(np.load(path, mmap_mode="r"), np.arange(0, count + 1, 1000))
    batches = iter(LmBatches(documents, sizes.batch, sizes.bptt, seed=0, backward=False))

    def several() -> float:
        began = time.perf_counter()
        for _ in range(10):
            next(batches)
        return (time.perf_counter() - began) / 10

    return several


# --- memory -----------------------------------------------------------------------------------------------------------


def status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


def step_memory(sizes: Sizes, name: str) -> dict[str, int]:
    """Peak bytes of a step over parameters and Adam's two moments (gradients count), in a process for this alone."""
    cell, _, rest = name.partition(" ")
    before = status_bytes("VmRSS")
    if name == "fastai" or rest == "loop":
        learn, products = fastais(sizes, "awd-lstm" if name == "fastai" else "qrnn"), "default"
    else:
        kernel, precision = rest.split()
        learn, products = ours(sizes, cell, kernel, precision), "onednn"
    for _ in range(2):
        step(learn, products)
    held = 3 * 4 * parameter_count(learn.model)
    return {"peak_bytes": status_bytes("VmHWM") - before - held, "parameters": parameter_count(learn.model)}


def memories(arguments: argparse.Namespace, names: list[str]) -> dict[str, dict[str, int]]:
    found = {}
    for name in names:
        command = [sys.executable, "-W", "ignore", __file__, "--memory-of", name, "--threads", str(arguments.threads)]
        command += ["--small"] if arguments.small else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- the report -------------------------------------------------------------------------------------------------------


def targets(best: dict[str, float], memory: dict[str, dict[str, int]]) -> list[tuple[str, str, float, bool]]:
    """(target, asked, measured, met) of what was measured."""
    rows = []

    def asked(what: str, least: float, over: str, under: str, table: dict[str, float] = best) -> None:
        if over in table and under in table:
            ratio = table[over] / table[under]
            rows.append((what, f">= {least:g}", ratio, ratio >= least))

    for cell, bf16, fp32 in (("qrnn", 2.7, 1.4), ("awd-lstm", 2.4, 1.4)):
        asked(f"{cell}, bfloat16: times fastai's AWD-LSTM", bf16, "fastai", f"{cell} compiled bfloat16")
        asked(f"{cell}, float32: times fastai's AWD-LSTM", fp32, "fastai", f"{cell} compiled float32")
        for precision in ("float32", "bfloat16"):
            asked(f"{cell}, {precision}: share of the product rate", 0.8, f"{cell} products {precision}",
                  f"{cell} compiled {precision}")  # fmt: skip
    for precision in ("float32", "bfloat16"):
        asked(f"time loop, compiled, {precision}: times the list loop", 4.5, f"pool loop {precision}",
              f"pool compiled {precision}")  # fmt: skip
        asked(f"time loop, plain torch, {precision}: times the list loop", 1.8, f"pool loop {precision}",
              f"pool torch {precision}")  # fmt: skip
    for name in ("qrnn compiled bfloat16", "awd-lstm compiled bfloat16"):
        if name in best and "data loading" in best:
            share = best["data loading"] / best[name]
            rows.append((f"data loading over a step of {name}", "<= 0.02", share, share <= 0.02))
    for name, own in memory.items():
        if "compiled" in name and "fastai" in memory:
            share = own["peak_bytes"] / memory["fastai"]["peak_bytes"]
            rows.append((f"{name}: step memory over fastai's", "<= 0.3", share, share <= 0.3))
    return rows


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def report(result: dict[str, Any]) -> str:
    seconds, memory = result["seconds"], result["memory"]
    best = {name: min(values) for name, values in seconds.items()}
    tokens = result["tokens"]
    rows = [
        [what, least, f"{value:.3g}", "met" if met else "not met"] for what, least, value, met in targets(best, memory)
    ]
    text = table(["target", "asked", "measured", "verdict"], rows) + "\n"
    rows = []
    for name, values in seconds.items():
        rate = "" if name.startswith(("pool", "data")) else f"{tokens / best[name]:.0f}"
        peak = f"{memory[name]['peak_bytes'] / 1e6:.0f}" if name in memory else ""
        rows.append([name, f"{1e3 * best[name]:.1f}", f"{1e3 * statistics.median(values):.1f}", rate, peak])
    return text + table(["one round", "best ms", "median ms", "tokens/s", "step MB"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cells", nargs="+", choices=["qrnn", "awd-lstm"], default=["awd-lstm", "qrnn"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = SMALL if arguments.small else Sizes()
    if arguments.memory_of:
        print(json.dumps(step_memory(sizes, arguments.memory_of)))
        return
    made = contenders(sizes, arguments.cells)
    seconds, loads = in_turn(made, arguments.rounds)
    names = [name for name in made if not name.startswith(("pool", "data")) and "products" not in name]
    found = kernels()
    result = {
        "processor": processor_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": arguments.threads,
        "kernels": f"{found.level}, {found.compiler}" if isinstance(found, Kernels) else found.why,
        "load": loads,
        "tokens": sizes.batch * sizes.bptt,
        "seconds": seconds,
        "memory": memories(arguments, names) if Path("/proc/self/status").is_file() else {},
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print({key: result[key] for key in ("processor", "torch", "threads", "kernels")}, f"load {min(loads)}-{max(loads)}")
    print(report(result))


if __name__ == "__main__":
    main()
