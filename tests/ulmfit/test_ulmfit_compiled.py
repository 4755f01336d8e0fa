"""The compiled kernels beside float64 loops, beside plain torch from the same draws, and where they are absent."""

import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lowres.errors import DataError, ShapeError
from lowres.families.ulmfit import compiled, recurrence
from lowres.families.ulmfit.inference import TorchEncoder
from lowres.families.ulmfit.kernels import Kernels, Missing, kernels
from lowres.families.ulmfit.models import FastAWDLSTM, TiedCrossEntropy, cheap_dropout, use_kernels
from lowres.families.ulmfit.quantised import quantised
from lowres.families.ulmfit.saved import LmConfig, build_lm, weights_of
from lowres.families.ulmfit.tensors import below
from lowres.kernels import build as building

F32, BF16, F64 = torch.float32, torch.bfloat16, torch.float64
TOLERANCE = {F64: 1e-12, F32: 3e-6, BF16: 2e-2}
SIZES = [(9, 3, 5), (1, 3, 16), (7, 1, 33), (1, 1, 1), (70, 4, 130)]

pytestmark = pytest.mark.usefixtures("built_kernels")


def leaves(*tensors, dtype):
    return [tensor.detach().to(dtype, copy=True).requires_grad_() for tensor in tensors]


def wide(dtype):
    return torch.promote_types(dtype, F32)


def near(got, want, dtype, least=1e-3):
    """Every value within the dtype's tolerance of the largest value (of `least` where all are smaller)."""
    assert got.shape == want.shape
    got, want = got.detach().double(), want.detach().double()
    assert float((got - want).abs().max()) <= TOLERANCE[dtype] * max(float(want.abs().max()), least)


def pool_loop(gates, c, zoned=None, zoneout=0.0):
    out = []
    for t, gate in enumerate(gates):
        z, f, o = gate.chunk(3, -1)
        z, f, o = z.tanh(), f.sigmoid(), o.sigmoid()
        f = f + (zoneout if zoned is None else zoned[t].to(f.dtype)) * (1 - f)
        c = f * c + (1 - f) * z
        out.append(o * c)
    return torch.stack(out), c


def lstm_loop(x, weight_ih, weight_hh, bias, h, c):
    out = []
    for step in x:
        i, f, g, o = (step @ weight_ih.t() + h @ weight_hh.t() + bias).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        out.append(h)
    return torch.stack(out), c


def test_a_machine_with_a_compiler_has_kernels():
    assert isinstance(kernels(), Kernels)


# --- the QRNN's time loop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [compiled.forget_pool, recurrence.forget_pool], ids=["compiled", "torch"])
@pytest.mark.parametrize("zone", ["none", "drawn", "mean"])
@pytest.mark.parametrize("dtype", [F64, F32, BF16], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_forget_pool_is_the_float64_loop(pool, zone, dtype, size):
    torch.manual_seed(0)
    time, batch, hidden = size
    gates = (torch.randn(time, batch, 3 * hidden) * 2).to(dtype)
    c0, d_last = torch.randn(batch, hidden), torch.randn(batch, hidden)
    d_out = torch.randn(time, batch, hidden).to(dtype)
    options = {
        "none": {},
        "drawn": {"zoned": torch.rand(time, batch, hidden) < 0.3},
        "mean": {"zoneout": 0.3},
    }[zone]
    ours, first = *leaves(gates, dtype=dtype), *leaves(c0, dtype=wide(dtype))
    out, last = pool(ours, first, **options)
    assert out.dtype == dtype and last.dtype == wide(dtype)
    torch.autograd.backward([out, last], [d_out, d_last.to(wide(dtype))])
    reference, reference_first = leaves(gates, c0, dtype=F64)
    wanted = pool_loop(reference, reference_first, **options)
    torch.autograd.backward(wanted, [d_out.double(), d_last.double()])
    near(out, wanted[0], dtype)
    near(last, wanted[1], dtype)
    near(ours.grad, reference.grad, dtype)
    near(first.grad, reference_first.grad, dtype)


@given(
    time=st.integers(1, 6),
    batch=st.integers(1, 5),
    hidden=st.integers(1, 40),
    scale=st.sampled_from([1e-3, 1.0, 30.0, 1e4]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_any_size_scale_and_number_of_threads(time, batch, hidden, scale, threads, seed):
    draws = torch.Generator().manual_seed(seed)
    gates = torch.randn(time, batch, 3 * hidden, generator=draws) * scale
    c0 = torch.randn(batch, hidden, generator=draws)
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            ours, first = leaves(gates, c0, dtype=F32)
            out, last = compiled.forget_pool(ours, first)
            (out.sum() + (last * 2).sum()).backward()
            results.append([out, last, ours.grad, first.grad])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True)), "the threads change nothing"
    reference, reference_first = leaves(gates, c0, dtype=F64)
    out, last = pool_loop(reference, reference_first)
    (out.sum() + (last * 2).sum()).backward()
    for got, want in zip(results[0], [out, last, reference.grad, reference_first.grad], strict=True):
        near(got, want, F32, least=1.0)  # 1 - f of a saturated gate has an ulp of 1


def test_saturated_gates_stay_finite_and_a_nan_is_told():
    gates = torch.tensor([-1e30, -200.0, -90.0, 90.0, 200.0, 1e30]).repeat(3).view(1, 1, 18).repeat(4, 2, 1)
    for dtype in (F32, BF16):
        (ours,) = leaves(gates, dtype=dtype)
        out, last = compiled.forget_pool(ours, torch.ones(2, 6))
        out.sum().backward()
        assert out.isfinite().all() and last.isfinite().all() and ours.grad.isfinite().all()
        assert torch.allclose(last, pool_loop(gates.double(), torch.ones(2, 6).double())[1].float(), atol=1e-6)
        ours.data[0, 1, 2] = torch.nan
        out, last = compiled.forget_pool(ours, torch.ones(2, 6))
        assert last[1, 2].isnan() and last[0].isfinite().all()


def test_gradcheck():
    torch.manual_seed(0)
    gates, c0 = leaves(torch.randn(4, 2, 9), torch.randn(2, 3), dtype=F64)
    assert torch.autograd.gradcheck(compiled.forget_pool, (gates, c0))
    x, weight, bias = leaves(torch.randn(4, 2, 5), torch.randn(9, 5), torch.randn(9), dtype=F64)
    assert torch.autograd.gradcheck(lambda *inputs: compiled.qrnn_layer(*inputs, dtype=F64), (x, weight, bias, c0))
    shapes = [(4, 2, 5), (12, 5), (12, 3), (12,), (2, 3), (2, 3)]
    inputs = leaves(*(torch.randn(shape) for shape in shapes), dtype=F64)
    layer = lambda x, a, b, bias, h, c: compiled.lstm_layer(x, (a, b, bias), h, c, dtype=F64)  # noqa: E731
    assert torch.autograd.gradcheck(layer, inputs)
    hidden, weight, bias = leaves(torch.randn(5, 3), torch.randn(7, 3), torch.randn(7), dtype=F64)
    targets = torch.tensor([0, 6, 3, 3, 1])
    assert torch.autograd.gradcheck(
        lambda *inputs: compiled.linear_cross_entropy(*inputs, targets), (hidden, weight, bias)
    )


def test_a_second_backward_pass_is_an_error_and_not_a_wrong_gradient():
    gates = torch.randn(4, 2, 9, requires_grad=True)
    total = compiled.forget_pool(gates, torch.zeros(2, 3))[0].sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_the_state_is_carried_over_pieces_bit_for_bit():
    torch.manual_seed(0)
    gates, c0 = torch.randn(8, 2, 12), torch.randn(2, 4)
    whole, last = compiled.forget_pool(gates, c0)
    first, middle = compiled.forget_pool(gates[:3], c0)
    second, end = compiled.forget_pool(gates[3:], middle)
    assert torch.equal(torch.cat([first, second]), whole) and torch.equal(end, last)


# --- layers and loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F64, F32, BF16], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_lstm_layer_is_the_float64_loop(dtype, size):
    torch.manual_seed(0)
    time, batch, hidden = size
    shapes = [(time, batch, 6), (4 * hidden, 6), (4 * hidden, hidden), (4 * hidden,), (batch, hidden), (batch, hidden)]
    scales = [1, 0.3, 0.3 / hidden**0.5, 0.3, 1, 1]
    tensors = [(torch.randn(shape) * scale).to(dtype) for shape, scale in zip(shapes, scales, strict=True)]
    inputs, reference = leaves(*tensors, dtype=wide(dtype)), leaves(*tensors, dtype=F64)
    d_out, d_last = torch.randn(time, batch, hidden).to(dtype), torch.randn(batch, hidden)
    x, weight_ih, weight_hh, bias, h0, c0 = inputs
    out, last = compiled.lstm_layer(x, (weight_ih, weight_hh, bias), h0, c0, dtype=dtype)
    assert out.dtype == dtype and last.dtype == wide(dtype)
    torch.autograd.backward([out, last], [d_out, d_last.to(wide(dtype))])
    wanted = lstm_loop(*reference)
    torch.autograd.backward(wanted, [d_out.double(), d_last.double()])
    near(out, wanted[0], dtype)
    near(last, wanted[1], dtype)
    for ours, theirs in zip(inputs, reference, strict=True):
        assert ours.grad.dtype == ours.dtype
        near(ours.grad, theirs.grad, dtype)


@pytest.mark.parametrize("dtype", [F64, F32, BF16], ids=str)
@pytest.mark.parametrize("rows", [1, 64, 65, 200, 1100])
def test_linear_cross_entropy_is_torchs(rows, dtype):
    torch.manual_seed(0)
    tensors = [(torch.randn(shape) * 0.5).to(dtype) for shape in [(rows, 8), (301, 8), (301,)]]
    targets = torch.randint(0, 301, (rows,))
    hidden, weight, bias = *leaves(tensors[0], dtype=dtype), *leaves(*tensors[1:], dtype=wide(dtype))
    reference = leaves(*tensors, dtype=F64)
    loss = compiled.linear_cross_entropy(hidden, weight, bias, targets)
    (loss * 3).backward()
    want = F.cross_entropy(F.linear(*reference), targets)
    (want * 3).backward()
    near(loss, want, dtype)
    for ours, theirs in zip([hidden, weight, bias], reference, strict=True):
        near(ours.grad, theirs.grad, dtype)


def test_scores_that_are_not_finite_make_the_loss_so():
    hidden, weight, bias = torch.ones(3, 2), torch.ones(5, 2), torch.zeros(5)
    for bad in (torch.nan, torch.inf):
        bias[2] = bad
        assert not compiled.linear_cross_entropy(hidden, weight, bias, torch.tensor([0, 2, 4])).isfinite()


@pytest.mark.parametrize("dtype", [F64, F32, BF16], ids=str)
def test_dropped_weights_are_those_of_plain_torch(dtype):
    weight = torch.randn(37, 11, dtype=wide(dtype))
    weight[0] = 0.0
    weight[1] = -0.0
    weight[2] = -1e-42
    assert torch.equal(compiled.drop_weights(weight, 0.0, dtype), weight.to(dtype))
    for p in (0.2, 0.5, 0.999):
        results = []
        for drop in (lambda w, p=p: compiled.drop_weights(w, p, dtype), lambda w, p=p: cheap_dropout(w, p).to(dtype)):
            torch.manual_seed(1)
            (leaf,) = leaves(weight, dtype=weight.dtype)
            out = drop(leaf)
            out.backward(torch.ones_like(out))
            results.append((out, leaf.grad, torch.rand(1)))
        ours, theirs = results
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
        assert torch.equal(ours[2], theirs[2]), "as many draws"


def gradients(config, mixed, kernel):
    """Loss, gradients and state of two steps of training with all dropouts, the same draws whatever the kernel is."""
    torch.manual_seed(0)
    model = build_lm(config, drop_mult=0.5).train()
    model.products = torch.bfloat16 if mixed else torch.float32
    loss = TiedCrossEntropy(model.decoder)
    for module in (model, loss):
        use_kernels(module, kernel)
    ids = torch.randint(3, 60, (3, 25))
    model.reset()
    total = sum(loss(model(ids[:, a:b])[0], ids[:, a + 1 : b + 1]) for a, b in ((0, 12), (12, 24)))
    total.backward()
    states = [state for layer in model[0].hidden for state in layer]
    return [total.detach(), *states, *(parameter.grad for parameter in model.parameters())], torch.rand(1)


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("cell", "window"), [("qrnn", 1), ("qrnn", 2), ("awd-lstm", 2)])
def test_a_model_trains_alike_with_and_without_kernels(cell, window, mixed):
    sizes = {"emb_size": 12, "n_hid": 20, "n_layers": 3, "vocab_size": 60, "pad_id": 1, "direction": "forward"}
    config = LmConfig(cell=cell, window=window, precision="float32", **sizes)
    (ours, drawn), (theirs, drawn_by_torch) = (gradients(config, mixed, kernel) for kernel in ("compiled", "torch"))
    assert torch.equal(drawn, drawn_by_torch)
    for got, want in zip(ours, theirs, strict=True):
        assert got.dtype == want.dtype
        assert float((got - want).norm()) <= (3e-2 if mixed else 1e-5) * max(float(want.norm()), 1e-3)


@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize(("cell", "window", "zoneout"), [("qrnn", 2, 0.1), ("qrnn", 1, 0.0), ("awd-lstm", 2, 0.0)])
def test_an_exported_model_reads_alike_with_and_without_kernels(cell, window, zoneout, bits):
    torch.manual_seed(3)
    sizes = {"emb_size": 12, "n_hid": 20, "n_layers": 3, "window": window, "zoneout": zoneout}
    config = LmConfig(cell=cell, **sizes, precision="float32", vocab_size=30, pad_id=1, direction="forward")
    weights = below({name: tensor.detach() for name, tensor in weights_of(build_lm(config)).items()}, "0.")
    weights = quantised(weights) if bits == 8 else weights
    found = []
    for kernel in ("auto", "torch"):
        encoder = TorchEncoder(config, weights, kernel)
        first, states = encoder.read(torch.arange(18).view(2, 9), encoder.start(2))
        more, states = encoder.read(torch.tensor([[4], [7]]), states)
        found.append([first, more, *(part for state in states for part in state)])
    assert all(torch.allclose(one, other, atol=1e-2 if bits == 8 else 1e-6) for one, other in zip(*found, strict=True))
    assert float((found[0][1] - found[1][1]).abs().mean()) < 1e-3


def test_a_compiled_awd_lstm_keeps_no_copy_of_its_weights():
    encoder = FastAWDLSTM(60, 12, 20, 2)
    encoder.reset()
    lstm = encoder.rnns[0]
    assert lstm.module.weight_hh_l0.data_ptr() == lstm.weight_hh_l0_raw.data_ptr()


# --- what does not fit ----------------------------------------------------------------------------------------------


def test_shapes_and_kinds_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"\(4, 2, 9\)"):
        compiled.forget_pool(torch.zeros(4, 2, 9), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="bfloat16"):
        compiled.forget_pool(torch.zeros(4, 2, 12), torch.zeros(2, 4, dtype=BF16))
    with pytest.raises(ShapeError, match=r"zoned is torch.bool, \(4, 2, 3\); it is bool, \(4, 2, 4\)"):
        compiled.forget_pool(torch.zeros(4, 2, 12), torch.zeros(2, 4), torch.ones(4, 2, 3, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"qrnn_layer: x \(4, 2, 3\), weight \(12, 5\)"):
        compiled.qrnn_layer(torch.zeros(4, 2, 3), torch.zeros(12, 5), torch.zeros(12), torch.zeros(2, 4), dtype=F32)
    weights = torch.zeros(16, 3), torch.zeros(16, 5), torch.zeros(16)
    with pytest.raises(ShapeError, match=r"\(16, 5\)"):
        compiled.lstm_layer(torch.zeros(4, 2, 3), weights, torch.zeros(2, 4), torch.zeros(2, 4), dtype=F32)
    with pytest.raises(ShapeError, match="outside the vocabulary of 5"):
        compiled.linear_cross_entropy(torch.zeros(1, 2), torch.zeros(5, 2), torch.zeros(5), torch.tensor([5]))


def copied(tmp_path, **changes):
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    shutil.copytree(building.SOURCES, folder)
    record = json.loads((folder / building.RECORD).read_text()) | changes
    (folder / building.RECORD).write_text(json.dumps(record))
    return folder


def test_kernels_of_another_machine_or_other_sources_are_refused(tmp_path):
    assert isinstance(kernels(copied(tmp_path, compiler="another")), Kernels)
    for change, why in [
        ({"sources": "0"}, "built from other sources"),
        ({"machine": "riscv64"}, "built for riscv64, this is"),
        ({"libraries": {"SVE9": "a.so"}}, "built for processors with SVE9, this one has"),
        ({"libraries": dict.fromkeys(["AVX512", "AVX2", "DEFAULT"], "absent.so")}, "does not load"),
    ]:
        found = kernels(copied(tmp_path, **change))
        assert isinstance(found, Missing) and why in found.why, why


def test_without_a_compiler_there_are_no_kernels_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(building.NotBuilt, match=r"no C compiler \(no-such-compiler\)"):
        building.build(tmp_path)
    monkeypatch.setenv("CC", "false")
    with pytest.raises(building.NotBuilt, match="false failed"):
        building.build(tmp_path)
    assert not list(tmp_path.iterdir())
    assert "not built here" in kernels(tmp_path).why


def test_a_layer_without_kernels_says_what_to_do(monkeypatch):
    monkeypatch.setattr(compiled, "kernels", lambda: Missing("not built here"))
    with pytest.raises(DataError, match='there are no compiled kernels: not built here; or write "torch"'):
        compiled.forget_pool(torch.zeros(4, 2, 12), torch.zeros(2, 4))
