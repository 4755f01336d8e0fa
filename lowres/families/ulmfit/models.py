"""The networks: a QRNN and an LSTM encoder as fastai's `AWD_LSTM` subclasses, and the language model around them.

Both are registered with fastai, so `language_model_learner(dls, QRNN)` and `text_classifier_learner(dls, QRNN)` work.
Activations are (batch, time, width) for fastai and lie time first in memory, which is what the recurrences read.
"""

from typing import Any

import torch
from fastai.text.models.awdlstm import (
    AWD_LSTM,
    EmbeddingDropout,
    WeightDropout,
    awd_lstm_clas_config,
    awd_lstm_clas_split,
    awd_lstm_lm_config,
    awd_lstm_lm_split,
    dropout_mask,
)
from fastai.text.models.core import LinearDecoder, SequentialRNN, _model_meta
from torch import Tensor, nn
from torch.nn import functional as F

from lowres.families.ulmfit import compiled
from lowres.families.ulmfit.recurrence import forget_pool, linear_cross_entropy, lstm_steps


def cheap_dropout(weight: Tensor, p: float) -> Tensor:
    """F.dropout(weight, p) with p rounded to a multiple of 2**-16, from one random draw for each four weights.

    A third of F.dropout's time on a large matrix.
    """
    draws = compiled.drop_draws(weight.numel(), weight.device)
    kept = draws[: weight.numel()].view(weight.shape) >= compiled.drop_threshold(p)
    return weight * (kept * (1 / (1 - p)))


class CheapWeightDropout(WeightDropout):
    """fastai's WeightDropout drawing its mask with cheap_dropout; names and meaning of the parameters are the same."""

    @property
    def p(self) -> float:
        """The probability that holds now: 0 in evaluation."""
        return self.weight_p if self.training else 0.0

    def _setweights(self):
        for layer in self.layer_names:
            setattr(self.module, layer, self.dropped(getattr(self, f"{layer}_raw")))

    def dropped(self, raw: Tensor) -> Tensor:
        """The weights of one pass."""
        return cheap_dropout(raw, self.p) if self.p else raw.view_as(raw)

    def reset(self):
        """Called by fastai between documents; no copy of the weights is kept, where fastai's keeps one."""
        for layer in self.layer_names:
            raw = getattr(self, f"{layer}_raw")
            setattr(self.module, layer, raw.view_as(raw))


class TimeMajorEmbedding(EmbeddingDropout):
    """fastai's EmbeddingDropout (the same draws) that masks only the rows it reads; the result lies time first."""

    def forward(self, words: Tensor, scale: float | None = None) -> Tensor:
        """(batch, time) ids -> (batch, time, width)."""
        words = words.t()
        out = F.embedding(words, self.emb.weight, self.emb.padding_idx)
        if self.training and self.embed_p:
            mask = dropout_mask(self.emb.weight.data, [self.emb.weight.size(0), 1], self.embed_p)
            out = out * mask[words]
        return (out if scale is None else out * scale).transpose(0, 1)


def lower_products(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context whose products run in dtype; float32: as they are."""
    lower = dtype if dtype != torch.float32 else torch.bfloat16
    return torch.autocast(device.type, lower, enabled=dtype != torch.float32)


def _product_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which F.linear would compute now."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class QRNNCell(nn.Module):
    """One QRNN layer: a product over `window` inputs, then fo-pooling.

    zoneout: probability that a unit keeps its state at a step; in evaluation its mean.
    """

    kernel = "torch"

    def __init__(self, n_in: int, n_out: int, window: int, weight_p: float, zoneout: float = 0.0):
        super().__init__()
        self.window, self.zoneout = window, zoneout
        linear = nn.Linear(n_in * window, 3 * n_out)
        self.linear = CheapWeightDropout(linear, weight_p, layer_names="weight")

    def forward(self, x: Tensor, hidden: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x: (batch, time, width); hidden: c and, with window 2, the last input before x, each (1, batch, .)."""
        x = x.transpose(0, 1)
        state, before = hidden[0], hidden[1:]
        if self.window == 2:
            shifted = torch.cat([before[0].to(x.dtype), x[:-1]])
            before = (x[-1:].detach(),)
            x = torch.cat([x, shifted], -1)
        out, last = self._pooled(x, state[0], *self._zones(x, state))
        return out.transpose(0, 1), (last[None], *before)

    def _zones(self, x: Tensor, state: Tensor) -> tuple[Tensor | None, float]:
        """`zoned` and `zoneout` of forget_pool."""
        if not (self.zoneout and self.training):
            return None, self.zoneout
        shape = (len(x), *state.shape[1:])
        return torch.empty(shape, dtype=torch.bool, device=x.device).bernoulli_(self.zoneout), 0.0

    def _pooled(self, x: Tensor, c0: Tensor, zoned: Tensor | None, zoneout: float) -> tuple[Tensor, Tensor]:
        linear: Any = self.linear
        weight, bias = linear.weight_raw, linear.module.bias
        if self.kernel == "triton":
            from lowres.families.ulmfit import fused  # imports triton, which not every installation has

            if fused.runs_on(x.device):
                return fused.forget_pool(F.linear(x, linear.dropped(weight)), c0, zoned, zoneout, bias)
        if self.kernel != "compiled" or x.device.type != "cpu":
            return forget_pool(linear(x), c0, zoned, zoneout)
        options = {"dtype": _product_dtype(x), "weight_p": linear.p, "zoned": zoned, "zoneout": zoneout}
        return compiled.qrnn_layer(x, weight, bias, c0, **options)


class QRNNLayer(nn.Module):
    """Wraps a cell so that its parameters are called `layers.0.linear.*`, as in MultiFiT's releases."""

    def __init__(self, cell: QRNNCell):
        super().__init__()
        self.cell = (cell,)  # not registered twice
        self.layers = nn.ModuleList([cell])

    def forward(self, x: Tensor, hidden: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As QRNNCell."""
        return self.cell[0](x, hidden)

    def reset(self):
        """Called by fastai between documents; the dropped weights are not kept."""
        self.cell[0].linear.reset()


class QRNN(AWD_LSTM):
    """An encoder of QRNN layers with AWD-LSTM's dropouts (Bradbury et al. 2017; Eisenschlos et al. 2019).

    window: inputs that the first layer's product sees (1 or 2); later layers see one. zoneout: see QRNNCell.
    """

    n_hid: int
    n_layers: int
    emb_sz: int
    hidden: list[tuple[Tensor, ...]]

    def __init__(self, vocab_sz, emb_sz, n_hid, n_layers, pad_token=1, window=2, embed_p=0.1, zoneout=0.0, **dropouts):
        self.window, self.zoneout = window, zoneout
        super().__init__(vocab_sz, emb_sz, n_hid, n_layers, pad_token=pad_token, embed_p=embed_p, **dropouts)
        self.encoder_dp = TimeMajorEmbedding(self.encoder, embed_p)

    def _one_rnn(self, n_in, n_out, bidir, weight_p, l):  # noqa: E741
        return QRNNLayer(QRNNCell(n_in, n_out, self.window if l == 0 else 1, weight_p, self.zoneout))

    def _widths(self, l: int) -> list[int]:  # noqa: E741
        state = self.n_hid if l != self.n_layers - 1 else self.emb_sz
        return [state, self.emb_sz] if l == 0 and self.window == 2 else [state]

    def _one_hidden(self, l):  # noqa: E741
        return tuple(self.encoder.weight.new_zeros(1, self.bs, width) for width in self._widths(l))

    def _change_one_hidden(self, l, bs):  # noqa: E741
        if self.bs < bs:
            return tuple(torch.cat([h, h.new_zeros(1, bs - self.bs, h.shape[2])], 1) for h in self.hidden[l])
        return tuple(h[:, :bs].contiguous() for h in self.hidden[l])


class TimeMajorLSTM(nn.LSTM):
    """nn.LSTM of one layer whose time loop is lstm_steps; under autocast its products run in the autocast dtype.

    kernel "cudnn": torch's own LSTM in that dtype, which on a GPU is cuDNN's; h and c are rounded to it at every step.
    """

    kernel = "torch"
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        """x: (batch, time, width); hx: h and c, each (1, batch, hidden)."""
        if self.kernel == "cudnn":
            return self._at_once(x.transpose(0, 1), hx)
        gates = F.linear(x.transpose(0, 1), self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
        h, c = hx
        out, last = lstm_steps(gates, self.weight_hh_l0.to(gates.dtype), h[0].to(gates.dtype), c[0])
        return out.transpose(0, 1), (out[-1:], last[None])

    def _at_once(self, x: Tensor, hx: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        dtype = _product_dtype(x)
        weights = [self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0]
        state = [part.to(dtype).contiguous() for part in hx]
        with torch.autocast(x.device.type, enabled=False):  # it would round to float16 where bfloat16 is asked for
            out, h, c = torch.lstm(
                x.to(dtype), state, [w.to(dtype) for w in weights], True, 1, 0.0, torch.is_grad_enabled(), False, False
            )
        return out.transpose(0, 1), (h, c.to(hx[1].dtype))


class DroppedLSTM(CheapWeightDropout):
    """A TimeMajorLSTM whose recurrent weights are dropped; a compiled layer does both."""

    kernel = "torch"
    weight_hh_l0_raw: Tensor

    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As TimeMajorLSTM."""
        if self.kernel != "compiled" or x.device.type != "cpu":
            return super().forward(x, hx)
        lstm: Any = self.module
        weights = (lstm.weight_ih_l0, self.weight_hh_l0_raw, lstm.bias_ih_l0 + lstm.bias_hh_l0)
        h, c = hx
        options = {"dtype": _product_dtype(x), "weight_p": self.p}
        out, last = compiled.lstm_layer(x.transpose(0, 1), weights, h[0], c[0], **options)
        return out.transpose(0, 1), (out[-1:], last[None])


class FastAWDLSTM(AWD_LSTM):
    """fastai's AWD_LSTM, the same parameters and names, with our time loop and cheaper dropout."""

    def __init__(self, vocab_sz, emb_sz, n_hid, n_layers, pad_token=1, embed_p=0.1, **dropouts):
        super().__init__(vocab_sz, emb_sz, n_hid, n_layers, pad_token=pad_token, embed_p=embed_p, **dropouts)
        self.encoder_dp = TimeMajorEmbedding(self.encoder, embed_p)

    def _one_rnn(self, n_in, n_out, bidir, weight_p, l):  # noqa: E741
        return DroppedLSTM(TimeMajorLSTM(n_in, n_out, 1, batch_first=True), weight_p)


class HiddenDecoder(LinearDecoder):
    """fastai's decoder without its product: training computes that inside the loss (linear_cross_entropy)."""

    decoder: nn.Linear

    def scores(self, hidden: Tensor) -> Tensor:
        """(..., vocabulary) scores in float32 of (..., width) outputs."""
        return F.linear(hidden.float(), self.decoder.weight, self.decoder.bias)

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(dropped, raw, dropped) activations, where fastai's gives scores first."""
        dropped = self.output_dp(input)
        return dropped, input, dropped


class TiedCrossEntropy(nn.Module):
    """The loss of a language model with a HiddenDecoder, in nats a token.

    label_smoothing: share of the target that is spread over the vocabulary (Szegedy et al. 2016), in training alone.
    """

    kernel = "torch"

    def __init__(self, decoder: HiddenDecoder, label_smoothing: float = 0.0):
        super().__init__()
        self.decoder, self.label_smoothing = decoder.decoder, label_smoothing

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden: (batch, time, width); targets: (batch, time)."""
        rows, wanted = hidden.transpose(0, 1).flatten(0, 1), targets.t().flatten()
        cross_entropy = linear_cross_entropy
        if self.kernel == "compiled" and rows.device.type == "cpu":
            cross_entropy = compiled.linear_cross_entropy
        loss = cross_entropy(rows, self.decoder.weight, self.decoder.bias, wanted)
        if self.label_smoothing and torch.is_grad_enabled():
            loss = loss + self.label_smoothing * self._lead(rows.float(), wanted)
        return loss

    def _lead(self, rows: Tensor, targets: Tensor) -> Tensor:
        """How far the target's score is above the mean score: what smoothing adds to the loss is linear in scores."""
        weight, bias = self.decoder.weight, self.decoder.bias
        chosen = (rows * F.embedding(targets, weight)).sum(1) + bias[targets]
        return (chosen - rows @ weight.mean(0) - bias.mean()).mean()

    def activation(self, hidden: Tensor) -> Tensor:
        """(batch, time, vocabulary) probabilities, where `hidden` is; fastai's get_preds asks for them."""
        weight, bias = self.decoder.weight.detach(), self.decoder.bias.detach()
        return F.linear(hidden.to(weight.device).float(), weight, bias).softmax(-1).to(hidden.device)

    def decodes(self, probabilities: Tensor) -> Tensor:
        """The likeliest tokens, (batch, time)."""
        return probabilities.argmax(-1)


class MixedSequential(SequentialRNN):
    """fastai's SequentialRNN whose products run in `products`, weights and states in float32.

    fastai's MixedPrecision callback knows CUDA only.
    """

    products = torch.float32

    @property
    def decoder(self) -> HiddenDecoder:
        """The second module."""
        return self[1]  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Any:
        """What the last module gives."""
        with lower_products(x.device, self.products):
            return super().forward(x)


def use_kernels(module: nn.Module, kernel: str) -> None:
    """Makes every layer and loss in `module` compute with the kernels of that name where it has such, else in torch."""
    for part in module.modules():
        if hasattr(part, "kernel"):
            part.kernel = kernel  # type: ignore[assignment]


QRNN_LM_CONFIG = dict(awd_lstm_lm_config, n_hid=1552, n_layers=4, window=2)
QRNN_CLAS_CONFIG = dict(awd_lstm_clas_config, n_hid=1552, n_layers=4, window=2)
_SPLITS = {"split_lm": awd_lstm_lm_split, "split_clas": awd_lstm_clas_split, "hid_name": "emb_sz"}
_model_meta[QRNN] = {"config_lm": QRNN_LM_CONFIG, "config_clas": QRNN_CLAS_CONFIG, **_SPLITS}
_model_meta[FastAWDLSTM] = {"config_lm": awd_lstm_lm_config, "config_clas": awd_lstm_clas_config, **_SPLITS}
