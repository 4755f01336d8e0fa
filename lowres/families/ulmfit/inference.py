"""Prediction without fastai: an exported classifier in plain torch, one text or many, in bounded memory.

The encoder reads `bptt` tokens at a time and carries its state, the pooling keeps a running [last, max, mean], so a
text of any length needs the memory of one piece. A text's probabilities do not depend on the texts beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lowres.artifacts import read_json
from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.families.ulmfit.compiled import lstm_once, pool_once
from lowres.families.ulmfit.config import ExportConfig, LmConfig, Shape, state_widths
from lowres.families.ulmfit.kernels import has_kernels
from lowres.families.ulmfit.outputs import output
from lowres.families.ulmfit.quantised import Int8Product, Int8Rows
from lowres.families.ulmfit.tensors import below, read_tensors
from lowres.labels import labelling
from lowres.tokenizers.base import Tokenizer, load_tokenizer
from lowres.training.calibration import tempered

ROWS = 32
"""Texts that are read side by side."""
States = list[tuple[Tensor, ...]]
Product = Callable[[Tensor], Tensor]


class Encoder(Protocol):
    """A recurrent encoder of any backend. Its state is a tuple of (rows, .) tensors for each layer."""

    def start(self, rows: int) -> States:
        """The state before a text."""
        ...

    def read(self, ids: Tensor, states: States) -> tuple[Tensor, States]:
        """(rows, time) ids -> outputs (rows, time, width) and the state behind them."""
        ...


class TorchEncoder:
    """A QRNN or AWD-LSTM in evaluation mode. weights: by their names in the encoder, float32, or int8 with `.scale`.

    kernel: of the time loops; "auto": compiled where it was built (as `Network.kernel`), the same to rounding.
    """

    def __init__(self, config: LmConfig, weights: Mapping[str, Tensor], kernel: Literal["auto", "torch"] = "auto"):
        self.config = config
        compiled = kernel == "auto" and has_kernels()
        self.embedding = _rows(weights, "encoder.weight")
        self.layers: list[Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]] = []
        for k in range(config.n_layers):
            if config.cell == "qrnn":
                linear = f"rnns.{k}.layers.0.linear"
                product = matrix_product(weights, f"{linear}.weight_raw", weights[f"{linear}.module.bias"])
                self.layers.append(_Qrnn(product, k == 0 and config.window == 2, config.zoneout, compiled))
            else:
                self.layers.append(_lstm_layer(weights, k, compiled))

    def start(self, rows: int) -> States:
        """Zeros."""
        return [tuple(torch.zeros(rows, width) for width in widths) for widths in state_widths(self.config)]

    def read(self, ids: Tensor, states: States) -> tuple[Tensor, States]:
        """See Encoder."""
        x, after = self.embedding(ids.t()), []
        for layer, state in zip(self.layers, states, strict=True):
            x, state = layer(x, state)
            after.append(state)
        return x.transpose(0, 1), after


def _rows(weights: Mapping[str, Tensor], name: str) -> Product:
    weight = weights[name]
    if weight.dtype == torch.int8:
        return Int8Rows(weight, weights[f"{name}.scale"])
    return lambda ids: F.embedding(ids, weight)


def matrix_product(weights: Mapping[str, Tensor], name: str, bias: Tensor | None) -> Product:
    """X -> x @ weight.T + bias for the matrix `name`, float32, or int8 with its `.scale`."""
    weight = weights[name]
    if weight.dtype == torch.int8:
        return Int8Product(weight, weights[f"{name}.scale"], bias)
    return lambda x: F.linear(x, weight, bias)


@dataclass(frozen=True)
class _Qrnn:
    """A QRNN layer (fo-pooling, Bradbury et al. 2017); two: its product sees the input before, too; see QRNNCell."""

    product: Product
    two: bool
    zoneout: float
    compiled: bool

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x: (time, rows, width). At few rows the gates of all steps fit the cache: one call of lerp a step is left."""
        c, before = state[0], state[1:]
        if self.two:
            inputs, before = torch.cat([x, torch.cat([before[0][None], x[:-1]])], -1), (x[-1],)
        else:
            inputs = x
        gates = self.product(inputs)
        if self.compiled:
            out, c = pool_once(gates, c, self.zoneout)
            return out, (c, *before)
        z, f, o = gates.chunk(3, -1)
        z.tanh_()
        f.sigmoid_()
        if self.zoneout:
            f.lerp_(torch.ones_like(f), self.zoneout)
        out = torch.empty_like(z)
        for z_t, f_t, c_t in zip(z.unbind(), f.unbind(), out.unbind(), strict=True):
            torch.lerp(z_t, c, f_t, out=c_t)
            c = c_t
        c = c.clone()
        return out.mul_(o.sigmoid_()), (c, *before)


@dataclass(frozen=True)
class _Lstm:
    """An LSTM layer step by step; gates in torch's order i, f, g, o."""

    product: Product
    recurrent: Product
    compiled: bool

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x: (time, rows, width)."""
        h, c = state
        gates = self.product(x)
        if self.compiled:
            packed = self.recurrent.packed if isinstance(self.recurrent, Int8Product) else None
            out, c = packed.lstm(gates, h, c) if packed else lstm_once(gates, self.recurrent, h, c)
            return out, (out[-1].clone(), c)
        out = gates.new_empty(*gates.shape[:2], c.shape[-1])
        for gate, h_t in zip(gates.unbind(), out.unbind(), strict=True):
            i, f, g, o = gate.add_(self.recurrent(h)).chunk(4, -1)
            c = f.sigmoid_() * c + i.sigmoid_() * g.tanh_()
            h = torch.mul(torch.tanh(c), o.sigmoid_(), out=h_t)
        return out, (h.clone(), c)


@dataclass(frozen=True)
class _NativeLstm:
    """An LSTM layer by torch's own kernel, which packs its weights anew at every call: `stepwise` does single steps.

    weights: W_ih, W_hh, b_ih, b_hh, gates in the order i, f, g, o.
    """

    weights: list[Tensor]
    stepwise: _Lstm

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x: (time, rows, width)."""
        if len(x) == 1:
            return self.stepwise(x, state)
        start = [part[None] for part in state]
        out, h, c = torch.lstm(x, start, self.weights, True, 1, 0.0, False, False, False)
        return out, (h[0], c[0])


def _lstm_layer(weights: Mapping[str, Tensor], layer: int, compiled: bool) -> "_Lstm | _NativeLstm":
    own = f"rnns.{layer}"
    names = [f"{own}.{name}" for name in ("module.weight_ih_l0", "weight_hh_l0_raw")]
    biases = [weights[f"{own}.module.{name}"] for name in ("bias_ih_l0", "bias_hh_l0")]
    product = matrix_product(weights, names[0], biases[0] + biases[1])
    stepwise = _Lstm(product, matrix_product(weights, names[1], None), compiled)
    matrices = [weights[name] for name in names]
    return stepwise if matrices[1].dtype == torch.int8 else _NativeLstm([*matrices, *biases], stepwise)


@dataclass(frozen=True)
class Head:
    """[last, max, mean] -> scores: fastai's two layers, each batch normalisation folded into its product."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "Head":
        """weights: of the PoolingLinearClassifier; its layers.K.0 normalises, layers.K.1 or .2 is linear."""
        layers = []
        for k in range(2):
            norm = {name: weights[f"layers.{k}.0.{name}"] for name in ("weight", "bias", "running_mean", "running_var")}
            matrix = next(weights[f"layers.{k}.{n}.weight"] for n in (1, 2) if f"layers.{k}.{n}.weight" in weights)
            scale = norm["weight"] / (norm["running_var"] + 1e-5).sqrt()
            layers.append((matrix * scale, matrix @ (norm["bias"] - norm["running_mean"] * scale)))
        return cls(tuple(layers))

    def __call__(self, pooled: Tensor) -> Tensor:
        """(rows, 3 * width) -> (rows, labels)."""
        (first, offset), (second, shift) = self.layers
        return F.linear(F.relu(F.linear(pooled, first, offset)), second, shift)


def pooled(encoder: Encoder, texts: Sequence[Sequence[int]], shape: Shape) -> Tensor:
    """(rows, 3 * width): [last, max, mean] over the last pieces of each text, as fastai pools one text.

    texts: ids behind bos, longest first. A piece counts where at most `max_len` tokens are left from its start on.
    """
    lengths = torch.tensor([len(text) for text in texts])
    states = encoder.start(len(texts))
    last = most = total = torch.empty(0)
    for start in range(0, len(texts[0]), shape.bptt):
        rows = int((lengths > start).sum())
        width = min(shape.bptt, len(texts[0]) - start)
        ids = torch.zeros(rows, width, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=False):
            piece = text[start : start + width]
            row[: len(piece)] = torch.tensor(piece)
        states = [tuple(part[:rows] for part in state) for state in states]
        out, states = encoder.read(ids, states)
        if start == 0:
            last, total = out.new_zeros(len(texts), out.shape[2]), out.new_zeros(len(texts), out.shape[2])
            most = out.new_full(last.shape, -torch.inf)
        left = lengths[:rows] - start
        counts = (torch.arange(width) < left[:, None]) & (left <= shape.max_len)[:, None]
        some = not counts.all()
        total[:rows] += (out * counts[:, :, None] if some else out).sum(1)
        most[:rows] = torch.maximum(
            most[:rows], (out.masked_fill(~counts[:, :, None], -torch.inf) if some else out).amax(1)
        )
        ends = left <= width
        last[:rows][ends] = out[ends, left[ends] - 1]
    skipped = torch.clamp(-(-(lengths - shape.max_len) // shape.bptt), min=0) * shape.bptt
    return torch.cat([last, most, total / (lengths - skipped)[:, None]], 1)


class ExportedClassifier:
    """An exported classifier (lowres.training.classifier.Classifier). models: configuration, encoder and head."""

    def __init__(self, models: Sequence[tuple[LmConfig, Encoder, Head]], tokenizer: Tokenizer, shape: Shape):
        self.models, self.tokenizer, self.shape = models, tokenizer, shape
        self.labels = shape.labels
        self.kind: TaskKind = shape.kind

    @torch.inference_mode()
    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(len(texts), labels) float32; where a text has one label, rows sum to 1."""
        encoded = self.tokenizer.encode(texts)
        order = sorted(range(len(texts)), key=lambda k: -len(encoded[k]))
        total = np.zeros((len(texts), len(self.labels)), np.float64)
        probabilities = output(self.kind).probabilities
        for config, encoder, head in self.models:
            step = -1 if config.direction == "backward" else 1
            for start in range(0, len(order), ROWS):
                rows = order[start : start + ROWS]
                ids = [[self.tokenizer.bos_id, *encoded[k][::step]] for k in rows]
                total[rows] += probabilities(head(pooled(encoder, ids, self.shape))).numpy()
        return tempered(total / len(self.models), self.shape.temperature, labelling(self.kind)).astype(np.float32)


def load(folder: Path) -> ExportedClassifier:
    """The classifier of an exported folder, on the CPU. Its checksums are asked for before (lowres.packages).

    Raises DataError where its files do not fit each other.
    """
    config = ExportConfig.model_validate(read_json(folder / "config.json"))
    weights = read_tensors(folder / "model.safetensors")
    models = []
    for network in config.directions:
        own = below(weights, f"{network.direction}.")
        try:
            encoder = TorchEncoder(network, below(own, "0.module."))
            models.append((network, encoder, Head.of(below(own, "1."))))
        except (KeyError, StopIteration) as error:
            raise DataError(
                f"{folder}/model.safetensors: lacks {error}; its config.json is of another model"
            ) from error
    return ExportedClassifier(models, load_tokenizer(folder / "tokenizer"), config.shape)
