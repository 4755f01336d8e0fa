"""The Triton kernels beside float64 loops and plain torch, in Triton's interpreter (TRITON_INTERPRET=0: on a GPU)."""

import sys
from importlib.util import find_spec, module_from_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lowres.errors import ShapeError
from lowres.families.ulmfit import recurrence
from lowres.families.ulmfit.models import TiedCrossEntropy, use_kernels
from lowres.families.ulmfit.saved import LmConfig, build_lm

triton = pytest.importorskip("triton", reason="triton is not installed: pip install 'lowres[test]'")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from lowres.families.ulmfit import fused  # noqa: E402

F32, BF16, F16, F64 = torch.float32, torch.bfloat16, torch.float16, torch.float64
TOLERANCE = {F64: 1e-12, F32: 3e-6, BF16: 2e-2, F16: 3e-3}
DEVICE = "cpu" if fused.runs_on(torch.device("cpu")) else "cuda"

pytestmark = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="TRITON_INTERPRET is not 1 and there is no CUDA device"
)


def leaves(*tensors, dtype):
    return [tensor.detach().to(DEVICE, dtype, copy=True).requires_grad_() for tensor in tensors]


def wide(dtype):
    return torch.promote_types(dtype, F32)


def near(got, want, dtype, least=1e-3):
    """Every value within the dtype's tolerance of the largest value (of `least` where all are smaller)."""
    assert got.shape == want.shape
    got, want = got.detach().double(), want.detach().double()
    assert float((got - want).abs().max()) <= TOLERANCE[dtype] * max(float(want.abs().max()), least)


def pool_loop(gates, c, zoned=None, zoneout=0.0, bias=None):
    out = []
    for t, gate in enumerate(gates):
        z, f, o = (gate if bias is None else gate + bias).chunk(3, -1)
        z, f, o = z.tanh(), f.sigmoid(), o.sigmoid()
        f = f + (zoneout if zoned is None else zoned[t].to(f.dtype)) * (1 - f)
        c = f * c + (1 - f) * z
        out.append(o * c)
    return torch.stack(out), c


@pytest.mark.parametrize(
    ("size", "zone", "dtype"),
    [
        ((4, 2, 5), "none", F64),
        ((3, 2, 5), "drawn", F64),
        ((1, 1, 1), "mean", F64),
        ((3, 1, 70), "none", F32),
        ((2, 1, 130), "drawn", F32),
        ((3, 2, 5), "mean", BF16),
        ((2, 1, 16), "drawn", BF16),
        ((3, 1, 5), "none", F16),
    ],
    ids=str,
)
def test_forget_pool_is_the_float64_loop(size, zone, dtype):
    torch.manual_seed(0)
    time, batch, hidden = size
    gates, bias = (torch.randn(time, batch, 3 * hidden) * 2).to(dtype), torch.randn(3 * hidden)
    c0, d_last = torch.randn(batch, hidden), torch.randn(batch, hidden).to(DEVICE)
    d_out = torch.randn(time, batch, hidden).to(DEVICE, dtype)
    options = {
        "none": {},
        "drawn": {"zoned": torch.rand(time, batch, hidden).to(DEVICE) < 0.3},
        "mean": {"zoneout": 0.3},
    }[zone]
    ours, first, own_bias = *leaves(gates, dtype=dtype), *leaves(c0, bias, dtype=wide(dtype))
    out, last = fused.forget_pool(ours, first, **options, bias=own_bias)
    assert out.dtype == dtype and last.dtype == wide(dtype)
    torch.autograd.backward([out, last], [d_out, d_last.to(wide(dtype))])
    reference, reference_first, reference_bias = leaves(gates, c0, bias, dtype=F64)
    wanted = pool_loop(reference, reference_first, **options, bias=reference_bias)
    torch.autograd.backward(wanted, [d_out.double(), d_last.double()])
    near(out, wanted[0], dtype)
    near(last, wanted[1], dtype)
    near(ours.grad, reference.grad, dtype)
    near(first.grad, reference_first.grad, dtype)
    near(own_bias.grad, reference_bias.grad, dtype)


@given(
    time=st.integers(1, 3),
    batch=st.integers(1, 2),
    hidden=st.integers(1, 140),
    scale=st.sampled_from([1e-3, 1.0, 30.0, 1e4]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=6, deadline=None)
def test_any_size_and_scale_is_plain_torchs(time, batch, hidden, scale, seed):
    draws = torch.Generator().manual_seed(seed)
    gates = torch.randn(time, batch, 3 * hidden, generator=draws) * scale
    c0 = torch.randn(batch, hidden, generator=draws)
    results = []
    for pool in (fused.forget_pool, recurrence.forget_pool):
        ours, first = leaves(gates, c0, dtype=F32)
        out, last = pool(ours, first)
        (out.sum() + (last * 2).sum()).backward()
        results.append([out, last, ours.grad, first.grad])
    for got, want in zip(*results, strict=True):
        near(got, want, F32, least=1.0)  # 1 - f of a saturated gate has an ulp of 1


def test_small_gates_keep_their_relative_precision():
    z = torch.logspace(-6, 0.5, 90)
    gates = torch.cat([z, torch.full((90,), -100.0), torch.full((90,), 100.0)]).to(DEVICE)[None, None]
    out, _ = fused.forget_pool(gates, torch.zeros(1, 90, device=DEVICE))
    assert float((out[0, 0].cpu().double() / z.double().tanh() - 1).abs().max()) < 5e-7


def test_saturated_gates_stay_finite_and_a_nan_is_told():
    gates = torch.tensor([-1e30, -200.0, -90.0, 90.0, 200.0, 1e30]).repeat(3).view(1, 1, 18).repeat(2, 2, 1)
    for dtype in (F32, BF16):
        (ours,) = leaves(gates, dtype=dtype)
        ones = torch.ones(2, 6, device=DEVICE)
        out, last = fused.forget_pool(ours, ones)
        out.sum().backward()
        assert out.isfinite().all() and last.isfinite().all() and ours.grad.isfinite().all()
        assert torch.allclose(last, pool_loop(ours.detach().double(), ones.double())[1].float(), atol=1e-6)
        ours.data[0, 1, 2] = torch.nan
        out, last = fused.forget_pool(ours, ones)
        assert last[1, 2].isnan() and last[0].isfinite().all()


def test_gradcheck():
    torch.manual_seed(0)
    gates, c0, bias = leaves(torch.randn(2, 1, 3), torch.randn(1, 1), torch.randn(3), dtype=F64)
    assert torch.autograd.gradcheck(lambda g, c, b: fused.forget_pool(g, c, bias=b), (gates, c0, bias))


def test_the_state_is_carried_over_pieces_bit_for_bit():
    torch.manual_seed(0)
    gates, c0 = torch.randn(4, 1, 12).to(DEVICE), torch.randn(1, 4).to(DEVICE)
    whole, last = fused.forget_pool(gates, c0)
    first, middle = fused.forget_pool(gates[:1], c0)
    second, end = fused.forget_pool(gates[1:], middle)
    assert torch.equal(torch.cat([first, second]), whole) and torch.equal(end, last)


def gradients(config, kernel, products):
    """Loss, gradients and state of two steps of training with all dropouts, the same draws whatever the kernel is."""
    torch.manual_seed(0)
    model = build_lm(config, drop_mult=0.5).train().to(DEVICE)
    model.products = products
    use_kernels(model, kernel)
    loss, ids = TiedCrossEntropy(model.decoder), torch.randint(3, 40, (1, 6)).to(DEVICE)
    model.reset()
    total = sum(loss(model(ids[:, a:b])[0], ids[:, a + 1 : b + 1]) for a, b in ((0, 2), (2, 5)))
    total.backward()
    states = [state.float() for layer in model[0].hidden for state in layer]
    return [total.detach(), *states, *(parameter.grad for parameter in model.parameters())], torch.rand(1)


@pytest.mark.parametrize(
    ("kernel", "network", "products"),
    [
        ("triton", {"cell": "qrnn", "window": 1}, F32),
        ("triton", {"cell": "qrnn", "window": 2, "zoneout": 0.2}, BF16),
        ("cudnn", {"cell": "awd-lstm"}, F32),
        ("cudnn", {"cell": "awd-lstm"}, BF16),
    ],
    ids=["window1", "zoneout", "lstm", "lstm-bfloat16"],
)
def test_a_model_trains_alike_with_and_without_kernels(kernel, network, products):
    sizes = {"emb_size": 12, "n_hid": 20, "n_layers": 2, "vocab_size": 40, "pad_id": 1, "direction": "forward"}
    config = LmConfig(**network, **sizes)
    (ours, drawn), (theirs, drawn_by_torch) = (gradients(config, name, products) for name in (kernel, "torch"))
    assert torch.equal(drawn, drawn_by_torch)
    assert not all(torch.equal(got, want) for got, want in zip(ours, theirs, strict=True)), "torch beside itself"
    for got, want in zip(ours, theirs, strict=True):
        assert got.dtype == want.dtype
        assert float((got - want).norm()) <= (4e-2 if products == BF16 else 1e-5) * max(float(want.norm()), 1e-3)


def test_shapes_and_kinds_that_do_not_fit_are_named():
    zeros = torch.zeros
    with pytest.raises(ShapeError, match=r"\(4, 2, 9\)"):
        fused.forget_pool(zeros(4, 2, 9), zeros(2, 4))
    with pytest.raises(ShapeError, match="bfloat16"):
        fused.forget_pool(zeros(4, 2, 12), zeros(2, 4, dtype=BF16))
    with pytest.raises(ShapeError, match=r"zoned is torch.bool, \(4, 2, 3\); it is bool, \(4, 2, 4\)"):
        fused.forget_pool(zeros(4, 2, 12), zeros(2, 4), torch.ones(4, 2, 3, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"a bias of \(9,\)"):
        fused.forget_pool(zeros(4, 2, 12), zeros(2, 4), bias=zeros(9))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Triton's assembler is for Linux")
@pytest.mark.parametrize(("architecture", "ahead"), [(75, False), (90, True)], ids=["Turing", "Hopper"])
def test_the_kernels_compile_for_gpus_that_are_not_here(architecture, ahead, tmp_path, monkeypatch):
    """Where the processor can, the next steps are fetched ahead, of the mask too."""
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = find_spec("lowres.families.ulmfit.fused")
    compiled = module_from_spec(found)
    found.loader.exec_module(compiled)
    kernel, block = (compiled.gradient_kernel, 64) if ahead else (compiled.pool_kernel, 128)
    constants = {"ZONEOUT": 0.0, "BLOCK": block, "STAGES": 4} | ({"zoned": None} if ahead else {})
    types = {"zoned": "*u8", "time": "i32", "batch": "i32", "hidden": "i32"}
    types |= dict.fromkeys(("first", "last", "d_last", "d_first", "bias", "d_bias"), "*fp32")
    signature = {name: "constexpr" if name in constants else types.get(name, "*bf16") for name in kernel.arg_names}
    aligned = {(k,): [["tt.divisibility", 16]] for k, name in enumerate(kernel.arg_names) if name not in constants}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    done = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": 1})
    assert done.asm["cubin"] and ("cp.async" in done.asm["ptx"]) == ahead
