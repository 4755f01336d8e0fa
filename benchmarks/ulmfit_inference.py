"""Time of a classifier's encoder on one text, and of generation, batch 1.

    python benchmarks/ulmfit_inference.py [--tokens 64 400] [--threads 1] [--rounds 15]

Against the plain float32 module: for a QRNN fastai's WeightDropout and the loop of tensor operations that fastai ran on
a processor while it had a QRNN (2.3), for an AWD-LSTM fastai's own. All are timed in turn in one run, each by the
median of its rounds; ratios are over the plain module. Random weights of the papers' sizes (MultiFiT 4 x 1552, ULMFiT
3 x 1152, embedding 400, 15,000 pieces).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fastai.text.models.awdlstm import AWD_LSTM, WeightDropout
from torch import Tensor

from lowres.experiment.results import processor_name
from lowres.families.ulmfit.config import LmConfig, Shape, state_widths
from lowres.families.ulmfit.generate import Generator
from lowres.families.ulmfit.inference import Head, TorchEncoder, pooled
from lowres.families.ulmfit.quantised import quantised
from lowres.families.ulmfit.saved import build_lm, weights_of
from lowres.families.ulmfit.tensors import below

SIZES = {"qrnn": {"n_hid": 1552, "n_layers": 4}, "awd-lstm": {"n_hid": 1152, "n_layers": 3}}
Reader = Callable[[list[int]], Tensor]
_NO_TOKENIZER: Any = SimpleNamespace(pad_id=None, unk_id=None)


class PlainQrnn(torch.nn.Module):
    """A QRNN as modules and a loop over time, one tensor operation for each sign in the formulas."""

    def __init__(self, config: LmConfig, weights: dict[str, Tensor]):
        super().__init__()
        self.embedding = torch.nn.Embedding.from_pretrained(weights["encoder.weight"])
        self.linears = torch.nn.ModuleList()
        for k in range(config.n_layers):
            own = f"rnns.{k}.layers.0.linear"
            rows, columns = weights[f"{own}.weight_raw"].shape
            linear = torch.nn.Linear(columns, rows)
            linear.weight.data, linear.bias.data = weights[f"{own}.weight_raw"], weights[f"{own}.module.bias"]
            self.linears.append(WeightDropout(linear, 0.2, layer_names="weight"))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for k, linear in enumerate(self.linears):
            if k == 0:
                x = torch.cat([x, torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)], 2)
            z, f, o = linear(x).chunk(3, 2)
            z, f = z.tanh(), f.sigmoid()
            states: list[Tensor] = []
            for z_t, f_t in zip(z.unbind(1), f.unbind(1), strict=True):
                new = (1 - f_t) * z_t
                states.append(new + f_t * states[-1] if states else new)
            x = o.sigmoid() * torch.stack(states, 1)
        return x


def readers(cell: str) -> dict[str, Reader]:
    """What is timed, by name: ids -> outputs."""
    torch.manual_seed(0)
    config = LmConfig(
        cell=cell, emb_size=400, **SIZES[cell], precision="float32", vocab_size=15000, pad_id=1, direction="forward"
    )
    weights = below({name: tensor.detach() for name, tensor in weights_of(build_lm(config)).items()}, "0.")
    small = quantised(weights)
    shape = Shape(labels=("a", "b"), bptt=72, max_len=1440, drop_mult=0.0)
    found: dict[str, Reader] = {}
    if cell == "qrnn":
        plain = PlainQrnn(config, weights).eval()
        found["float32 module loop"] = lambda ids: plain(torch.tensor([ids]))
    else:
        theirs = AWD_LSTM(15000, 400, 1152, 3)
        theirs.load_state_dict(weights, strict=False)
        theirs.eval()

        def read(ids: list[int]) -> Tensor:
            theirs.reset()
            return torch.cat([theirs(torch.tensor([ids[k : k + 72]])) for k in range(0, len(ids), 72)], 1)

        found["float32 fastai AWD_LSTM"] = read
    for name, tensors in {"float32 export": weights, "int8 export": small}.items():
        encoder = TorchEncoder(config, tensors)
        found[name] = lambda ids, encoder=encoder: pooled(encoder, [ids], shape)
    if (graph := onnx_reader(config, weights)) is not None:
        found["float32 ONNX"] = graph
    return found


def generators(cell: str) -> dict[str, Reader]:
    """What is timed, by name: ids of a prompt -> scores behind each of as many tokens more, the likeliest each time.

    "anew" reads the whole text again for every token, as fastai's LMLearner.predict does.
    """
    torch.manual_seed(0)
    config = LmConfig(
        cell=cell, emb_size=400, **SIZES[cell], precision="float32", vocab_size=15000, pad_id=1, direction="forward"
    )
    model = build_lm(config).eval()
    weights = {name: tensor.detach() for name, tensor in weights_of(model).items()}

    def plain(ids: list[int]) -> Tensor:
        model.reset()
        read, found = ids, []
        for _ in ids:
            found.append(model.decoder.scores(model(torch.tensor([read]))[0][0, -1]))
            read = [int(found[-1].argmax())]
        return torch.stack(found)

    def anew(ids: list[int]) -> Tensor:
        read, found = list(ids), []
        for _ in ids:
            model.reset()
            found.append(model.decoder.scores(model(torch.tensor([read]))[0][0])[-1])
            read.append(int(found[-1].argmax()))
        return torch.stack(found)

    timed: dict[str, Reader] = {"float32 modules, anew": anew, "float32 modules": plain}
    for name, tensors in {"float32 generator": weights, "int8 generator": quantised(weights)}.items():
        own = Generator(config, tensors, _NO_TOKENIZER)

        def generate(ids: list[int], own: Generator = own) -> Tensor:
            states, read, found = own.encoder.start(1), ids, []
            for _ in ids:
                hidden, states = own.encoder.read(torch.tensor([read]), states)
                found.append(own.scores(hidden[:, -1]))
                read = [int(found[-1].argmax())]
            return torch.stack(found)

        timed[name] = generate
    return timed


def onnx_reader(config: LmConfig, weights: dict[str, Tensor]) -> Reader | None:
    """The graph in onnxruntime; None where that is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    import numpy as np

    from lowres.families.ulmfit.onnx_graph import write_graph

    head = Head(((torch.zeros(50, 1200), torch.zeros(50)), (torch.zeros(2, 50), torch.zeros(2))))
    with tempfile.TemporaryDirectory() as folder:
        write_graph(Path(folder) / "x.onnx", config, weights, head)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(Path(folder) / "x.onnx"), options)
    widths = [width for layer in state_widths(config) for width in layer]
    start = {f"state_{k}": np.zeros((1, width), np.float32) for k, width in enumerate(widths)}
    start |= {"most": np.full((1, 400), -np.inf, np.float32), "total": np.zeros((1, 400), np.float32)}
    start["count"] = np.zeros(1, np.float32)
    names = ["probabilities", *(f"next_{name}" for name in start)]

    def read(ids: list[int]) -> Tensor:
        given = start
        for k in range(0, len(ids), 72):
            _, *rest = session.run(names, {"ids": np.array([ids[k : k + 72]], np.int64), **given})
            given = dict(zip(start, rest, strict=True))
        return torch.from_numpy(given["most"])

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 400])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{processor_name()}, torch {torch.__version__}, {options.threads} thread(s), batch 1\n")
    print("| cell | tokens | encoder | wall ms | processor ms | times as fast: wall | processor |")
    print("|---|---|---|---|---|---|---|")
    for cell in SIZES:
        timed = readers(cell)
        for tokens in options.tokens:
            print_ratios(cell, f"{tokens}", timed, tokens, options.rounds)
        print_ratios(cell, "64 behind 64", generators(cell), 64, max(3, options.rounds // 3))


def print_ratios(cell: str, what: str, timed: dict[str, Reader], tokens: int, rounds: int) -> None:
    """A row for each; ratios are over the first."""
    ids = torch.randint(10, 15000, (tokens,)).tolist()
    with torch.inference_mode():
        medians = timed_in_turn(timed, ids, rounds)
    first = next(iter(medians.values()))
    for name, (wall, processor) in medians.items():
        ratios = f"{first[0] / wall:.1f} | {first[1] / processor:.1f}"
        print(f"| {cell} | {what} | {name} | {wall * 1e3:.1f} | {processor * 1e3:.1f} | {ratios} |", flush=True)


def timed_in_turn(timed: dict[str, Reader], ids: list[int], rounds: int) -> dict[str, tuple[float, float]]:
    """Name -> medians of wall and processor seconds; two rounds before are not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
    for _ in range(rounds + 2):
        for name, read in timed.items():
            began = time.perf_counter(), time.process_time()
            read(ids)
            seconds[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return {
        name: (statistics.median(wall for wall, _ in found[2:]), statistics.median(cpu for _, cpu in found[2:]))
        for name, found in seconds.items()
    }


if __name__ == "__main__":
    main()
