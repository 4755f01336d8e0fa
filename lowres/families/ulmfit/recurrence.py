"""The time loops of QRNN and LSTM and the softmax loss of a large vocabulary, as autograd Functions in plain torch.

Each loop works on one time step at a time, so that a step's numbers stay in the processor's cache; a whole-sequence
pass of tanh, sigmoid and products moves the same bytes to memory and back several times. The state is held in float32
(or wider) whatever the dtype of the gates. Time comes first everywhere in this file.
"""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from lowres.errors import ShapeError

_PRODUCT_ROWS = 1024
_SOFTMAX_ROWS = 64  # on a CPU, whose caches hold them; elsewhere those of a product: a call has its price there


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of a recurrent state: float32, or float64 where the gates are."""
    return torch.promote_types(dtype, torch.float32)


class _ForgetPool(Function):
    """See forget_pool."""

    @staticmethod
    def forward(ctx, gates: Tensor, c0: Tensor, zoned: Tensor | None, zoneout: float) -> tuple[Tensor, Tensor]:
        time, batch, hidden = gates.shape[0], gates.shape[1], gates.shape[2] // 3
        acts = torch.empty_like(gates)
        states = gates.new_empty(time, batch, hidden, dtype=_wide(gates.dtype))
        out = gates.new_empty(time, batch, hidden)
        step = torch.empty_like(states[0]).new_empty(batch, 3 * hidden)
        z, f, o, fo = step[:, :hidden], step[:, hidden : 2 * hidden], step[:, 2 * hidden :], step[:, hidden:]
        c = c0
        for t, (gate, act, state, output) in enumerate(zip(gates, acts, states, out, strict=True)):
            step.copy_(gate)
            z.tanh_()
            fo.sigmoid_()
            if zoned is not None:
                f.masked_fill_(zoned[t], 1)
            elif zoneout:
                f.add_(1 - f, alpha=zoneout)
            torch.lerp(z, c, f, out=state)
            torch.mul(state, o, out=output)
            act.copy_(step)
            c = state
        ctx.save_for_backward(acts, c0, states)
        ctx.zoneout = zoneout
        return out, c.clone()

    @staticmethod
    def backward(ctx, d_out: Tensor, d_last: Tensor) -> tuple[Tensor, Tensor, None, None]:
        acts, c0, states = ctx.saved_tensors
        time, batch, hidden = states.shape
        d_gates = torch.empty_like(acts)
        dc, other = d_last.to(states.dtype, copy=True), torch.empty_like(states[0])
        step, slope, d = (states.new_empty(batch, 3 * hidden) for _ in range(3))
        z, f, o, fo = step[:, :hidden], step[:, hidden : 2 * hidden], step[:, 2 * hidden :], step[:, hidden:]
        dz, df, do = d[:, :hidden], d[:, hidden : 2 * hidden], d[:, 2 * hidden :]
        for t in reversed(range(time)):
            step.copy_(acts[t])
            other.copy_(d_out[t])
            torch.mul(other, states[t], out=do)
            dc.addcmul_(other, o)
            torch.sub(states[t - 1] if t else c0, z, out=df)
            df.mul_(dc)
            torch.mul(dc, f, out=other)
            torch.sub(dc, other, out=dz)
            dc, other = other, dc
            torch.mul(step, step, out=slope)
            slope[:, :hidden].neg_().add_(1)
            torch.sub(fo, slope[:, hidden:], out=slope[:, hidden:])
            if ctx.zoneout:
                slope[:, hidden : 2 * hidden] = (f - ctx.zoneout) * (1 - f) / (1 - ctx.zoneout)
            torch.mul(d, slope, out=d_gates[t])
        return d_gates, dc, None, None


def forget_pool(gates: Tensor, c0: Tensor, zoned: Tensor | None = None, zoneout: float = 0.0) -> tuple[Tensor, Tensor]:
    """QRNN fo-pooling: c_t = f_t * c_{t-1} + (1 - f_t) * z_t, h_t = o_t * c_t.

    gates: (time, batch, 3 * hidden), z, f, o before tanh, sigmoid, sigmoid; c0: (batch, hidden) in float32 or wider.
    Returns h (time, batch, hidden) in the gates' dtype and the last c in c0's. Bradbury et al. 2017, eq. 4; fastai v1
    and MultiFiT weigh z by f instead: negate the rows of f when reading their weights.
    Zoneout (Krueger et al. 2017) makes f + u (1 - f) of f: u is 1 where `zoned` (time, batch, hidden) bool is True, as
    in training, else the constant `zoneout` in [0, 1), its mean; not both.
    Raises ShapeError where the shapes do not fit.
    """
    if gates.dim() != 3 or gates.shape[2] != 3 * c0.shape[-1] or gates.shape[1] != c0.shape[0]:
        raise ShapeError(f"forget_pool: gates {tuple(gates.shape)} do not fit a state of {tuple(c0.shape)}")
    return _ForgetPool.apply(gates, c0, zoned, zoneout)  # type: ignore[return-value]


class _LstmSteps(Function):
    """See lstm_steps."""

    @staticmethod
    def forward(ctx, gates: Tensor, weight: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor]:
        time, batch, hidden = gates.shape[0], gates.shape[1], gates.shape[2] // 4
        acts = torch.empty_like(gates)
        states = gates.new_empty(time, batch, hidden, dtype=_wide(gates.dtype))
        out = gates.new_empty(time, batch, hidden)
        total = torch.empty_like(gates[0])
        step = states.new_empty(batch, 4 * hidden)
        i, f, g, o = step.split(hidden, 1)
        h, c, transposed = h0, c0, weight.t()
        for gate, act, state, output in zip(gates, acts, states, out, strict=True):
            torch.addmm(gate, h, transposed, out=total)
            step.copy_(total)
            step[:, : 2 * hidden].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            act.copy_(step)
            torch.mul(f, c, out=state).addcmul_(i, g)
            torch.mul(torch.tanh(state, out=i), o, out=output)
            h, c = output, state
        ctx.save_for_backward(acts, weight, h0, c0, states, out)
        return out, c.clone()

    @staticmethod
    def backward(ctx, d_out: Tensor, d_last: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        acts, weight, h0, c0, states, out = ctx.saved_tensors
        time, batch, hidden = states.shape
        d_gates = torch.empty_like(acts)
        dc, dh = d_last.to(states.dtype, copy=True), torch.zeros_like(states[0])
        step, slope, d = (states.new_empty(batch, 4 * hidden) for _ in range(3))
        i, f, g, o = step.split(hidden, 1)
        di, df, dg, do = d.split(hidden, 1)
        squashed, carried = torch.empty_like(dc), torch.empty_like(acts[0, :, :hidden])
        for t in reversed(range(time)):
            step.copy_(acts[t])
            dh += d_out[t]
            torch.tanh(states[t], out=squashed)
            torch.mul(dh, squashed, out=do)
            dh.mul_(o)
            dc += dh.addcmul_(dh, squashed.mul_(squashed), value=-1)
            torch.mul(dc, g, out=di)
            torch.mul(dc, states[t - 1] if t else c0, out=df)
            torch.mul(dc, i, out=dg)
            dc.mul_(f)
            torch.mul(step, step, out=slope)
            slope.neg_()[:, : 2 * hidden].add_(step[:, : 2 * hidden])
            slope[:, 2 * hidden : 3 * hidden].add_(1)
            slope[:, 3 * hidden :].add_(o)
            torch.mul(d, slope, out=d_gates[t])
            dh.copy_(torch.mm(d_gates[t], weight, out=carried))
        before = torch.cat([h0[None], out[:-1]]).flatten(0, 1)
        return d_gates, d_gates.flatten(0, 1).t() @ before, dh.to(h0.dtype), dc


def lstm_steps(gates: Tensor, weight: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM layer behind its input product, gates in torch's order i, f, g, o.

    gates: (time, batch, 4 * hidden), the input's product with both biases added; weight: (4 * hidden, hidden) and h0:
    (batch, hidden) in the gates' dtype; c0: (batch, hidden) in float32 or wider. Returns all h (time, batch, hidden)
    and the last c. Hochreiter and Schmidhuber 1997 with forget gates.
    Raises ShapeError where the shapes do not fit.
    """
    hidden = c0.shape[-1]
    if gates.dim() != 3 or gates.shape[2] != 4 * hidden or weight.shape != (4 * hidden, hidden):
        raise ShapeError(f"lstm_steps: gates {tuple(gates.shape)}, weight {tuple(weight.shape)}, state {hidden} wide")
    return _LstmSteps.apply(gates, weight, h0, c0)  # type: ignore[return-value]


class _LinearCrossEntropy(Function):
    """See linear_cross_entropy."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        product, offset = weight.to(hidden.dtype), bias.to(hidden.dtype)
        d_hidden = torch.empty_like(hidden)
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        loss = hidden.new_zeros((), dtype=_wide(hidden.dtype))
        at_once = _SOFTMAX_ROWS if hidden.device.type == "cpu" else _PRODUCT_ROWS
        for outer in range(0, len(hidden), _PRODUCT_ROWS):
            rows = hidden[outer : outer + _PRODUCT_ROWS]
            errors = rows.new_empty(len(rows), len(weight))
            for inner in range(0, len(rows), at_once):
                scores = F.linear(rows[inner : inner + at_once], product, offset).to(loss.dtype)
                wanted = targets[outer + inner : outer + inner + len(scores), None]
                chosen = scores.gather(1, wanted)
                most = scores.amax(1, keepdim=True)
                total = scores.sub_(most).exp_().sum(1, keepdim=True)
                loss += (total.log() + most - chosen).sum()
                scores.div_(total).scatter_add_(1, wanted, scores.new_full(wanted.shape, -1.0))
                errors[inner : inner + at_once] = scores
            d_hidden[outer : outer + _PRODUCT_ROWS] = errors @ product
            d_weight += errors.t() @ rows
            d_bias += errors.sum(0, dtype=loss.dtype)
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        return loss / len(hidden)

    @staticmethod
    def backward(ctx, d_loss: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        scale = d_loss / len(d_hidden)
        return (d_hidden * scale).to(d_hidden.dtype), d_weight * scale, d_bias * scale, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of softmax(hidden @ weight.T + bias), without ever holding all the scores.

    hidden: (n, width); weight: (vocabulary, width); bias: (vocabulary,); targets: (n,) int64. The products run in
    hidden's dtype, the softmax in float32. A scalar in nats. The gradient is computed in the forward pass, on a CPU 64
    rows of scores at a time: 0.4 of the time of F.linear and F.cross_entropy at n 4480, vocabulary 8000, bfloat16.
    """
    return _LinearCrossEntropy.apply(hidden, weight, bias, targets)  # type: ignore[return-value]
