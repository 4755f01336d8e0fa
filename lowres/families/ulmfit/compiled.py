"""The layers and the loss with compiled kernels, one autograd Function each: the same numbers as recurrence.py to
rounding, from the same random draws.

A whole layer is one Function, so that its product can be overwritten with the activations and its weights are dropped
and rounded in one pass. Time comes first; products run in `dtype`, states, weights and their gradients are float32
(float64 where dtype is). CPU tensors only.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.graph import increment_version
from torch.nn import functional as F

from lowres.errors import DataError, ShapeError
from lowres.families.ulmfit.kernels import Kernels, Missing, kernels

_PRODUCT_ROWS = 640
_ROWS_OF_A_SUM = 64  # of softmax.h


def _loaded() -> Kernels:
    found = kernels()
    if isinstance(found, Missing):
        raise DataError(f'kernel is "compiled" and there are no compiled kernels: {found.why}; or write "torch"')
    return found


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def drop_draws(size: int, device: torch.device | None = None) -> Tensor:
    """(>= size,) int16 from torch's generator: a weight is kept where its draw reaches drop_threshold(p)."""
    return torch.empty((size + 3) // 4, dtype=torch.int64, device=device).random_(-(2**63), None).view(torch.int16)


def drop_threshold(p: float) -> int:
    """The least int16 that keeps a weight; p is rounded to a multiple of 2**-16."""
    return round(p * 65536) - 32768


def _dropped(weight: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """The weight in dtype, dropped with probability p (0: all kept, not copied where it has the dtype)."""
    if p <= 0:
        return weight.to(dtype)
    out = torch.empty_like(weight, dtype=dtype, memory_format=torch.contiguous_format)
    size = weight.numel()
    arguments = (weight.contiguous(), drop_draws(size), out, size, drop_threshold(p), 1 / (1 - p))
    _loaded().call("drop_weights", dtype, *arguments)
    return out


def _drop_gradient(dropped: Tensor, d: Tensor, p: float) -> Tensor:
    """The gradient of the weight that _dropped was given, from that of what it gave."""
    if p <= 0:
        return d.to(_wide(d.dtype))
    out = torch.empty_like(d, dtype=_wide(d.dtype))
    _loaded().call("drop_gradient", d.dtype, dropped, d.contiguous(), out, d.numel(), 1 / (1 - p))
    return out


class _Drop(Function):
    """See drop_weights."""

    @staticmethod
    def forward(ctx, weight: Tensor, p: float, dtype: torch.dtype) -> Tensor:
        out = _dropped(weight, p, dtype)
        ctx.save_for_backward(out)
        ctx.p = p
        return out

    @staticmethod
    def backward(ctx, d: Tensor) -> tuple[Tensor, None, None]:
        (dropped,) = ctx.saved_tensors
        return _drop_gradient(dropped, d, ctx.p), None, None


def drop_weights(weight: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """models.cheap_dropout(weight, p).to(dtype) in one pass, from the same draws."""
    return _Drop.apply(weight, p, dtype)  # type: ignore[return-value]


def _pool(
    gates: Tensor, acts: Tensor, c0: Tensor, zoned: Tensor | None, zoneout: float
) -> tuple[Tensor, Tensor, Tensor]:
    """All h and all c of fo-pooling in the gates' dtype, and the last c; acts (may be gates) gets the activations."""
    time, batch, hidden = gates.shape[0], gates.shape[1], gates.shape[2] // 3
    out, states = gates.new_empty(time, batch, hidden), gates.new_empty(time, batch, hidden)
    state = c0.clone(memory_format=torch.contiguous_format)
    if zoned is not None and (zoned.shape != out.shape or zoned.dtype != torch.bool):
        raise ShapeError(f"zoned is {zoned.dtype}, {tuple(zoned.shape)}; it is bool, {tuple(out.shape)}")
    zoned = None if zoned is None else zoned.contiguous()
    arguments = (gates, acts, state, zoned, zoneout, states, out, time, batch, hidden)
    _loaded().call("qrnn_forward", gates.dtype, *arguments)
    return out, states, state


def _pool_gradient(
    acts: Tensor, c0: Tensor, states: Tensor, d_out: Tensor, d_last: Tensor, zoneout: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of gates, their bias (float32 or wider) and c0."""
    d_c, d_gates = d_last.to(c0.dtype, copy=True).contiguous(), _overwritten(acts)
    d_bias = c0.new_zeros(acts.shape[1:])
    arguments = (
        acts,
        c0.to(acts.dtype).contiguous(),
        states,
        d_out.contiguous(),
        zoneout,
        d_c,
        d_gates,
        d_bias,
        *states.shape,
    )
    _loaded().call("qrnn_backward", acts.dtype, *arguments)
    return d_gates, d_bias.sum(0), d_c


def _overwritten(acts: Tensor) -> Tensor:
    """A buffer for the gradient of the gates: that of the activations, which nobody reads afterwards.

    A second backward pass over the same graph is then an error of torch's; float64, for gradcheck, may have one.
    """
    if acts.dtype == torch.float64:
        return torch.empty_like(acts)
    increment_version(acts)
    return acts


class _ForgetPool(Function):
    """See forget_pool."""

    @staticmethod
    def forward(ctx, gates: Tensor, c0: Tensor, zoned: Tensor | None, zoneout: float) -> tuple[Tensor, Tensor]:
        gates = gates.contiguous()
        acts = torch.empty_like(gates)
        out, states, last = _pool(gates, acts, c0, zoned, zoneout)
        ctx.save_for_backward(acts, c0, states)
        ctx.zoneout = zoneout
        return out, last

    @staticmethod
    def backward(ctx, d_out: Tensor, d_last: Tensor) -> tuple[Tensor, Tensor, None, None]:
        acts, c0, states = ctx.saved_tensors
        d_gates, _, d_first = _pool_gradient(acts, c0, states, d_out, d_last, ctx.zoneout)
        return d_gates, d_first, None, None


def forget_pool(gates: Tensor, c0: Tensor, zoned: Tensor | None = None, zoneout: float = 0.0) -> tuple[Tensor, Tensor]:
    """recurrence.forget_pool."""
    _check_state("forget_pool", gates.dtype, c0)
    if gates.dim() != 3 or gates.shape[2] != 3 * c0.shape[-1] or gates.shape[1] != c0.shape[0] or not len(gates):
        raise ShapeError(f"forget_pool: gates {tuple(gates.shape)} do not fit a state of {tuple(c0.shape)}")
    return _ForgetPool.apply(gates, c0, zoned, zoneout)  # type: ignore[return-value]


def pool_once(gates: Tensor, c0: Tensor, zoneout: float) -> tuple[Tensor, Tensor]:
    """forget_pool without a gradient. gates, contiguous, is overwritten; c0 is not."""
    out, _, last = _pool(gates, gates, c0, None, zoneout)
    return out, last


def lstm_once(gates: Tensor, recurrent: Callable[[Tensor], Tensor], h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """recurrence.lstm_steps without a gradient: all h and the last c. gates, contiguous, is overwritten.

    recurrent: (batch, hidden) -> (batch, 4 * hidden), the product of h.
    """
    out, c = gates.new_empty(*gates.shape[:2], c.shape[-1]), c.clone(memory_format=torch.contiguous_format)
    call = _loaded().call
    for gate, output in zip(gates, out, strict=True):
        call("lstm_forward", gates.dtype, gate, recurrent(h), c, c, output, *c.shape)
        h = output
    return out, c


class _QrnnLayer(Function):
    """See qrnn_layer."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, c0: Tensor, options: tuple) -> tuple[Tensor, Tensor]:
        weight_p, zoned, zoneout, dtype = options
        rows = x.to(dtype).contiguous()
        product = _dropped(weight, weight_p, dtype)
        acts = F.linear(rows, product, bias.to(dtype))
        out, states, last = _pool(acts, acts, c0, zoned, zoneout)
        ctx.save_for_backward(rows, product, acts, c0, states)
        ctx.about = x.dtype, weight_p, zoneout
        return out, last

    @staticmethod
    def backward(ctx, d_out: Tensor, d_last: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, None]:
        rows, product, acts, c0, states = ctx.saved_tensors
        dtype, weight_p, zoneout = ctx.about
        d_gates, d_bias, d_first = _pool_gradient(acts, c0, states, d_out, d_last, zoneout)
        d_gates = d_gates.flatten(0, 1)
        d_weight = _drop_gradient(product, d_gates.t() @ rows.flatten(0, 1), weight_p)
        d_x = (d_gates @ product).view_as(rows).to(dtype) if ctx.needs_input_grad[0] else None
        return d_x, d_weight, d_bias, d_first, None


def qrnn_layer(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    c0: Tensor,
    *,
    dtype: torch.dtype,
    weight_p: float = 0.0,
    zoned: Tensor | None = None,
    zoneout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """forget_pool(F.linear(x, drop_weights(weight, weight_p), bias), c0), products in dtype.

    x: (time, batch, width); weight: (3 * hidden, width); bias: (3 * hidden,); c0: (batch, hidden), float32 or wider.
    Returns h (time, batch, hidden) in dtype and the last c.
    """
    _check_state("qrnn_layer", dtype, c0)
    hidden = c0.shape[-1]
    if x.dim() != 3 or not len(x) or x.shape[1] != len(c0) or weight.shape != (3 * hidden, x.shape[2]):
        raise ShapeError(f"qrnn_layer: x {tuple(x.shape)}, weight {tuple(weight.shape)}, state {tuple(c0.shape)}")
    return _QrnnLayer.apply(x, weight, bias, c0, (weight_p, zoned, zoneout, dtype))  # type: ignore[return-value]


class _LstmLayer(Function):
    """See lstm_layer."""

    @staticmethod
    def forward(
        ctx, x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, h0: Tensor, c0: Tensor, options: tuple
    ) -> tuple[Tensor, Tensor]:
        weight_p, dtype = options
        ctx.about = x.dtype, h0.dtype, weight_p
        rows, h0, c0 = x.to(dtype).contiguous(), h0.to(dtype).contiguous(), c0.contiguous()
        own, product = weight_ih.to(dtype), _dropped(weight_hh, weight_p, dtype)
        acts = F.linear(rows, own, bias.to(dtype))
        time, batch, hidden = len(x), *c0.shape
        out, states = acts.new_empty(time, batch, hidden), c0.new_empty(time, batch, hidden)
        recurrent, transposed = torch.empty_like(acts[0]), product.t()
        call, h, c = _loaded().call, h0, c0
        for act, state, output in zip(acts, states, out, strict=True):
            torch.mm(h, transposed, out=recurrent)
            call("lstm_forward", dtype, act, recurrent, c, state, output, batch, hidden)
            h, c = output, state
        ctx.save_for_backward(rows, own, product, acts, h0, c0, states, out)
        return out, c.clone()

    @staticmethod
    def backward(ctx, d_out: Tensor, d_last: Tensor) -> Sequence[Tensor | None]:  # type: ignore[override]
        rows, own, product, acts, h0, c0, states, out = ctx.saved_tensors
        dtype, state_dtype, weight_p = ctx.about
        time, batch, hidden = states.shape
        d_out, d_c = d_out.contiguous(), d_last.to(states.dtype, copy=True).contiguous()
        d_gates, d_h = _overwritten(acts), torch.zeros_like(h0)
        d_bias = states.new_zeros(batch, 4 * hidden)
        call = _loaded().call
        for t in reversed(range(time)):
            before = states[t - 1] if t else c0
            arguments = (acts[t], before, states[t], d_out[t], d_h, d_c, d_gates[t], d_bias, batch, hidden)
            call("lstm_backward", acts.dtype, *arguments)
            torch.mm(d_gates[t], product, out=d_h)
        d_gates = d_gates.flatten(0, 1)
        d_x = (d_gates @ own).view_as(rows).to(dtype) if ctx.needs_input_grad[0] else None
        d_own = (d_gates.t() @ rows.flatten(0, 1)).to(states.dtype)
        before = torch.cat([h0[None], out[:-1]]).flatten(0, 1)
        d_weight = _drop_gradient(product, d_gates.t() @ before, weight_p)
        return d_x, d_own, d_weight, d_bias.sum(0), d_h.to(state_dtype), d_c, None


def lstm_layer(
    x: Tensor,
    weights: tuple[Tensor, Tensor, Tensor],
    h0: Tensor,
    c0: Tensor,
    *,
    dtype: torch.dtype,
    weight_p: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """An LSTM layer whose recurrent weights are dropped: recurrence.lstm_steps behind its input product.

    x: (time, batch, width); weights: of the input (4 * hidden, width), of h (4 * hidden, hidden), and the sum of both
    biases; h0, c0: (batch, hidden), c0 in float32 or wider. Returns h (time, batch, hidden) in dtype and the last c.
    """
    _check_state("lstm_layer", dtype, c0)
    hidden, (weight_ih, weight_hh, bias) = c0.shape[-1], weights
    fits = x.dim() == 3 and len(x) and x.shape[1] == len(c0) and h0.shape == c0.shape
    if not fits or weight_ih.shape != (4 * hidden, x.shape[2]) or weight_hh.shape != (4 * hidden, hidden):
        shapes = [tuple(tensor.shape) for tensor in (x, weight_ih, weight_hh, c0)]
        raise ShapeError(f"lstm_layer: x {shapes[0]}, weights {shapes[1]} and {shapes[2]}, state {shapes[3]}")
    return _LstmLayer.apply(x, weight_ih, weight_hh, bias, h0, c0, (weight_p, dtype))  # type: ignore[return-value]


class _LinearCrossEntropy(Function):
    """See linear_cross_entropy."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        hidden, targets = hidden.contiguous(), targets.contiguous()
        product, offset = weight.to(hidden.dtype), bias.to(hidden.dtype)
        wide = _wide(hidden.dtype)
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight, dtype=wide)
        d_bias, nll = torch.zeros_like(bias, dtype=wide), hidden.new_empty(len(hidden), dtype=wide)
        for start in range(0, len(hidden), _PRODUCT_ROWS):
            some = slice(start, start + _PRODUCT_ROWS)
            rows = hidden[some]
            errors = F.linear(rows, product, offset)
            sums = d_bias.new_zeros(-(-len(rows) // _ROWS_OF_A_SUM), len(bias))
            arguments = (errors, targets[some], nll[some], sums, *errors.shape)
            _loaded().call("softmax_errors", hidden.dtype, *arguments)
            torch.mm(errors, product, out=d_hidden[some])
            d_weight += errors.t() @ rows
            d_bias += sums.sum(0)
        ctx.save_for_backward(*(d.div_(len(hidden)) for d in (d_hidden, d_weight, d_bias)))
        return nll.mean()

    @staticmethod
    def backward(ctx, d_loss: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        if float(d_loss) == 1:  # as it is in training; spares a copy of the largest gradient
            return d_hidden, d_weight, d_bias, None
        return (d_hidden * d_loss).to(d_hidden.dtype), d_weight * d_loss, d_bias * d_loss, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """recurrence.linear_cross_entropy. Raises ShapeError where a target is outside the vocabulary."""
    if hidden.dim() != 2 or weight.shape != (len(bias), hidden.shape[1]) or targets.shape != hidden.shape[:1]:
        shapes = [tuple(tensor.shape) for tensor in (hidden, weight, bias, targets)]
        raise ShapeError(f"linear_cross_entropy: hidden, weight, bias and targets of {shapes}")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < len(weight):
        raise ShapeError(f"linear_cross_entropy: a target is outside the vocabulary of {len(weight)}")
    return _LinearCrossEntropy.apply(hidden, weight, bias, targets)  # type: ignore[return-value]


def _check_state(name: str, dtype: torch.dtype, c0: Tensor) -> None:
    """The kernels read a state as float32 (float64 for float64 gates) without asking."""
    if c0.dtype != _wide(dtype) or c0.dim() != 2:
        raise ShapeError(f"{name}: a state of {c0.dtype}, {tuple(c0.shape)}; it is (batch, hidden) in {_wide(dtype)}")
