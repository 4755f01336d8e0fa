"""QRNN fo-pooling in one Triton kernel a direction: the numbers of recurrence.forget_pool to rounding.

A program holds a block of units of one batch row and goes through time with their state in registers; tanh and sigmoids
are taken on the way, so that gates are read once and nothing but h and c is written. For CUDA; for tests on a CPU too,
where TRITON_INTERPRET=1 was set before triton was imported. Time comes first everywhere in this file.
"""

# pyright: reportGeneralTypeIssues=false
# (what a kernel's function gives back is hidden from it by triton.jit)

import os

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lowres.errors import ShapeError

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # as ever; Triton 3.9 warns that 3.10 will not, unless told
import triton  # noqa: E402
import triton.language as tl  # noqa: E402

# Two units a thread, four where there is a mask of bytes: what is fetched ahead comes in 4 bytes or more a thread.
_BLOCK, _MASKED_BLOCK, _WARPS = 64, 128, 1
_STAGES = 4  # steps that are on their way from memory while one is computed

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def runs_on(device: torch.device) -> bool:
    """Whether the kernels compute there."""
    return device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


@triton.jit
def _sigmoids(x):
    """sigmoid(x) and sigmoid(-x), both to their own last bits; nothing overflows."""
    e = tl.exp(-tl.abs(x))
    large = 1 / (1 + e)
    small = e * large
    return tl.where(x < 0, small, large), tl.where(x < 0, large, small)


@triton.jit
def _tanh(x):
    """By exp, in float32 near zero by a minimax polynomial (Cephes, tanhf): 1 - e would lose the last bits there."""
    size = tl.abs(x)
    e = tl.exp(-2 * size)
    far = (1 - e) / (1 + e)
    far = tl.where(x < 0, -far, far)
    if x.dtype == tl.float64:
        return far
    else:
        y = tl.where(size < 0.625, x, 0.0)
        s = y * y
        near = ((-5.70498872745e-3 * s + 2.06390887954e-2) * s - 5.37397155531e-2) * s + 1.33314422036e-1
        return tl.where(size < 0.625, y + y * s * (near * s - 3.33332819422e-1), far)


@triton.jit
def _activations(gate, zone, hidden, inside, bias_z, bias_f, bias_o, ZONEOUT: tl.constexpr):
    """One step's z, f, o, and 1 - f behind zoneout."""
    z = tl.load(gate, mask=inside, other=0).to(bias_z.dtype) + bias_z
    f = tl.load(gate + hidden, mask=inside, other=0).to(bias_z.dtype) + bias_f
    o = tl.load(gate + 2 * hidden, mask=inside, other=0).to(bias_z.dtype) + bias_o
    keep, fresh = _sigmoids(f)
    out, _ = _sigmoids(o)
    if zone is not None:
        fresh = tl.where(tl.load(zone, mask=inside, other=0) != 0, 0.0, fresh)
    elif ZONEOUT > 0:
        fresh = fresh * (1 - ZONEOUT)
    return _tanh(z), keep, out, fresh


@triton.jit
def _biases(bias, hidden, unit, inside, c):
    """The three of each unit, as wide as the state; zeros where there is none."""
    if bias is not None:
        z = tl.load(bias + unit, mask=inside, other=0).to(c.dtype)
        f = tl.load(bias + hidden + unit, mask=inside, other=0).to(c.dtype)
        o = tl.load(bias + 2 * hidden + unit, mask=inside, other=0).to(c.dtype)
    else:
        z = tl.full(c.shape, 0, c.dtype)
        f = z
        o = z
    return z, f, o


@triton.jit
def pool_kernel(
    gates, bias, first, zoned, before, out, last,
    time, batch, hidden,
    ZONEOUT: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """H of every step into `out`, the state before it into `before`, and the state behind all into `last`."""
    blocks = (hidden + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // blocks).to(tl.int64)
    unit = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = unit < hidden
    here = row * hidden + unit
    c = tl.load(first + here, mask=inside, other=0)
    bias_z, bias_f, bias_o = _biases(bias, hidden, unit, inside, c)
    gate = gates + row * 3 * hidden + unit
    before += here
    out += here
    if zoned is not None:
        zoned += here
    for _ in tl.range(0, time, num_stages=STAGES):
        z, _, o, fresh = _activations(gate, zoned, hidden, inside, bias_z, bias_f, bias_o, ZONEOUT)
        tl.store(before, c.to(before.dtype.element_ty), mask=inside)
        c += fresh * (z - c)
        tl.store(out, (o * c).to(out.dtype.element_ty), mask=inside)
        gate += batch * 3 * hidden
        before += batch * hidden
        out += batch * hidden
        if zoned is not None:
            zoned += batch * hidden
    tl.store(last + here, c, mask=inside)


@triton.jit
def gradient_kernel(
    gates, bias, zoned, before, last, d_out, d_last, d_gates, d_bias, d_first,
    time, batch, hidden,
    ZONEOUT: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The gradient of the gates, of each batch row's bias (not where bias is None) and of the first state."""
    blocks = (hidden + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // blocks).to(tl.int64)
    unit = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = unit < hidden
    here = row * hidden + unit
    c = tl.load(last + here, mask=inside, other=0)
    d_c = tl.load(d_last + here, mask=inside, other=0)
    bias_z, bias_f, bias_o = _biases(bias, hidden, unit, inside, c)
    sum_z = tl.full(c.shape, 0, c.dtype)
    sum_f = tl.full(c.shape, 0, c.dtype)
    sum_o = tl.full(c.shape, 0, c.dtype)
    end = (row + (time - 1) * batch) * hidden
    gate = gates + end * 3 + unit
    d_gate = d_gates + end * 3 + unit
    before += end + unit
    d_out += end + unit
    if zoned is not None:
        zoned += end + unit
    for _ in tl.range(0, time, num_stages=STAGES):
        z, f, o, fresh = _activations(gate, zoned, hidden, inside, bias_z, bias_f, bias_o, ZONEOUT)
        d_h = tl.load(d_out, mask=inside, other=0).to(c.dtype)
        c_before = tl.load(before, mask=inside, other=0).to(c.dtype)
        d_o = d_h * c * o * (1 - o)
        d_c += d_h * o
        flow = d_c * fresh
        d_z = flow * (1 - z * z)
        d_f = flow * f * (c_before - z)
        tl.store(d_gate, d_z.to(d_gates.dtype.element_ty), mask=inside)
        tl.store(d_gate + hidden, d_f.to(d_gates.dtype.element_ty), mask=inside)
        tl.store(d_gate + 2 * hidden, d_o.to(d_gates.dtype.element_ty), mask=inside)
        sum_z += d_z
        sum_f += d_f
        sum_o += d_o
        d_c -= flow
        c = c_before
        gate -= batch * 3 * hidden
        d_gate -= batch * 3 * hidden
        before -= batch * hidden
        d_out -= batch * hidden
        if zoned is not None:
            zoned -= batch * hidden
    tl.store(d_first + here, d_c, mask=inside)
    if bias is not None:
        d_bias += row * 3 * hidden + unit
        tl.store(d_bias, sum_z, mask=inside)
        tl.store(d_bias + hidden, sum_f, mask=inside)
        tl.store(d_bias + 2 * hidden, sum_o, mask=inside)


class _ForgetPool(Function):
    """See forget_pool."""

    @staticmethod
    def forward(
        ctx, gates: Tensor, c0: Tensor, zoned: Tensor | None, zoneout: float, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        time, batch, hidden = gates.shape[0], gates.shape[1], gates.shape[2] // 3
        gates, c0 = gates.contiguous(), c0.contiguous()
        zones = None if zoned is None else zoned.contiguous().view(torch.uint8)
        ctx.settings = {"ZONEOUT": zoneout, **_settings(zones)}
        out, before = gates.new_empty(time, batch, hidden), gates.new_empty(time, batch, hidden)
        last = torch.empty_like(c0)
        with torch.cuda.device_of(gates):
            pool_kernel[_programs](
                gates, bias, c0, zones, before, out, last, time, batch, hidden, **ctx.settings
            )  # fmt: skip
        ctx.save_for_backward(gates, bias, zones, before, last)
        return out, last

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out: Tensor, d_last: Tensor) -> tuple[Tensor, Tensor, None, None, Tensor | None]:
        gates, bias, zones, before, last = ctx.saved_tensors
        time, batch, hidden = before.shape
        d_gates, d_first = torch.empty_like(gates), torch.empty_like(last)
        d_bias = None if bias is None else last.new_empty(batch, 3 * hidden)
        d_out, d_last = d_out.contiguous(), d_last.contiguous()
        with torch.cuda.device_of(gates):
            gradient_kernel[_programs](
                gates, bias, zones, before, last, d_out, d_last, d_gates, d_bias, d_first, time, batch, hidden,
                **ctx.settings,
            )  # fmt: skip
        own = None if bias is None or d_bias is None else d_bias.sum(0).to(bias.dtype)
        return d_gates, d_first, None, None, own


def _settings(zones: Tensor | None) -> dict[str, int]:
    return {"BLOCK": _BLOCK if zones is None else _MASKED_BLOCK, "STAGES": _STAGES, "num_warps": _WARPS}


def _programs(settings: dict) -> tuple[int]:
    return (settings["batch"] * triton.cdiv(settings["hidden"], settings["BLOCK"]),)


def forget_pool(
    gates: Tensor, c0: Tensor, zoned: Tensor | None = None, zoneout: float = 0.0, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """recurrence.forget_pool of gates + bias; the bias is (3 * hidden,), and its gradient is summed in c0's dtype.

    Raises ShapeError where shapes or dtypes do not fit: the kernels read a state as float32 (float64 for float64 gates)
    and a mask as bool without asking.
    """
    wide = torch.promote_types(gates.dtype, torch.float32)
    if gates.dim() != 3 or gates.shape[2] != 3 * c0.shape[-1] or gates.shape[1] != c0.shape[0] or not len(gates):
        raise ShapeError(f"forget_pool: gates {tuple(gates.shape)} do not fit a state of {tuple(c0.shape)}")
    if gates.dtype not in DTYPES or c0.dtype != wide or c0.dim() != 2:
        raise ShapeError(f"forget_pool: a state of {c0.dtype}, {tuple(c0.shape)}; it is (batch, hidden) in {wide}")
    shape = (*gates.shape[:2], c0.shape[1])
    if zoned is not None and (zoned.shape != shape or zoned.dtype != torch.bool):
        raise ShapeError(f"zoned is {zoned.dtype}, {tuple(zoned.shape)}; it is bool, {shape}")
    if bias is not None and bias.shape != gates.shape[2:]:
        raise ShapeError(f"forget_pool: a bias of {tuple(bias.shape)} for gates {tuple(gates.shape)}")
    return _ForgetPool.apply(gates, c0, zoned, zoneout, bias)  # type: ignore[return-value]
