import pytest
import torch
from torch.nn import functional as F

from lowres.errors import ShapeError
from lowres.families.ulmfit.recurrence import forget_pool, linear_cross_entropy, lstm_steps


def _pool_loop(gates, c):
    out = []
    for gate in gates:
        z, f, o = gate.chunk(3, -1)
        c = f.sigmoid() * c + (1 - f.sigmoid()) * z.tanh()
        out.append(o.sigmoid() * c)
    return torch.stack(out), c


def _leaves(*tensors, dtype):
    return [tensor.detach().to(dtype, copy=True).requires_grad_() for tensor in tensors]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 2e-2)]
)
def test_forget_pool_is_the_float64_loop(dtype, tolerance):
    torch.manual_seed(0)
    gates, c0, d_out, d_last = torch.randn(9, 3, 15), torch.randn(3, 5), torch.randn(9, 3, 5), torch.randn(3, 5)
    wide = torch.promote_types(dtype, torch.float32)
    rounded = gates.to(dtype)
    ours, first = *_leaves(rounded, dtype=dtype), *_leaves(c0, dtype=wide)
    out, last = forget_pool(ours, first)
    assert out.dtype == dtype and last.dtype == wide
    torch.autograd.backward([out, last], [d_out.to(dtype), d_last.to(wide)])
    reference, reference_first = _leaves(rounded, c0, dtype=torch.float64)
    wanted = _pool_loop(reference, reference_first)
    torch.autograd.backward(wanted, [d_out.to(dtype).double(), d_last.double()])
    for got, want in [
        (out, wanted[0]),
        (last, wanted[1]),
        (ours.grad, reference.grad),
        (first.grad, reference_first.grad),
    ]:
        assert (got.double() - want).abs().max() <= tolerance * want.abs().max()


def test_forget_pool_carries_its_state_over_pieces():
    torch.manual_seed(0)
    gates, c0 = torch.randn(8, 2, 12), torch.randn(2, 4)
    whole, last = forget_pool(gates, c0)
    first, middle = forget_pool(gates[:3], c0)
    second, end = forget_pool(gates[3:], middle)
    assert torch.equal(torch.cat([first, second]), whole) and torch.equal(end, last)


def test_lstm_steps_is_torchs_lstm():
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(6, 5).double()
    x, h0, c0 = _leaves(torch.randn(7, 3, 6), torch.randn(3, 5), torch.randn(3, 5), dtype=torch.float64)
    d_out, d_c = torch.randn(7, 3, 5).double(), torch.randn(3, 5).double()
    want, (_, want_c) = lstm(x, (h0[None], c0[None]))
    inputs = [x, h0, c0, lstm.weight_hh_l0, lstm.weight_ih_l0, lstm.bias_ih_l0]
    wanted = torch.autograd.grad([want, want_c], inputs, [d_out, d_c[None]])
    gates = F.linear(x, lstm.weight_ih_l0, lstm.bias_ih_l0 + lstm.bias_hh_l0)
    out, c = lstm_steps(gates, lstm.weight_hh_l0, h0, c0)
    got = torch.autograd.grad([out, c], inputs, [d_out, d_c])
    for ours, theirs in zip([out, c, *got], [want, want_c[0], *wanted], strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 64, 200, 1100])
def test_linear_cross_entropy_is_torchs(rows):
    torch.manual_seed(0)
    hidden, weight, bias = _leaves(torch.randn(rows, 8), torch.randn(300, 8), torch.randn(300), dtype=torch.float64)
    targets = torch.randint(0, 300, (rows,))
    want = F.cross_entropy(F.linear(hidden, weight, bias), targets)
    wanted = torch.autograd.grad(want * 3, [hidden, weight, bias])
    loss = linear_cross_entropy(hidden, weight, bias, targets)
    got = torch.autograd.grad(loss * 3, [hidden, weight, bias])
    for ours, theirs in zip([loss, *got], [want, *wanted], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"\(4, 2, 9\)"):
        forget_pool(torch.zeros(4, 2, 9), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="weight"):
        lstm_steps(torch.zeros(4, 2, 16), torch.zeros(16, 3), torch.zeros(2, 4), torch.zeros(2, 4))
