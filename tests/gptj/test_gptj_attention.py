from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from lowres.families.gptj import attention
from lowres.families.gptj.mesh import ROWS
from lowres.families.gptj.model import attend


def inputs(time, head_dim):
    draw = np.random.default_rng(0)
    q, k, v, weight = (draw.standard_normal((1, time, 2, head_dim)).astype(np.float32) for _ in range(4))
    return (q, k, v), np.sort(draw.integers(0, 3, (1, time)), axis=1).astype(np.int32), weight


def plain(q, k, v, segments):
    time = q.shape[1]
    allowed = np.tril(np.ones((time, time), bool))[None, None] & (
        segments[:, None, :, None] == segments[:, None, None, :]
    )
    return attend(q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2), allowed).swapaxes(1, 2)


def test_chunks_agree_with_all_scores_at_once_in_value_and_gradient():
    qkv, segments, weight = inputs(11, 8)

    def of(function):
        return jax.value_and_grad(lambda *qkv: (function(*qkv, segments) * weight).sum(), argnums=(0, 1, 2))(*qkv)

    both = jax.jit(lambda: (of(lambda *all: attention.chunked(*all, queries=6)), of(plain)))
    (ours, our_slopes), (whole, slopes) = both()
    np.testing.assert_allclose(ours, whole, rtol=1e-5)
    for one, other in zip(our_slopes, slopes, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_long_rows_never_make_all_scores():
    qkv, segments, _ = inputs(64, 8)
    slopes = jax.grad(lambda *qkv: attention.chunked(*qkv, segments, queries=8).sum(), argnums=(0, 1, 2))
    program = str(jax.make_jaxpr(slopes)(*qkv))
    assert "[1,2,8,64]" in program and "64,64]" not in program


def test_the_tpus_kernel_agrees_where_it_is_interpreted():
    qkv, segments, _ = inputs(128, 128)
    with jax.set_mesh(jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))):
        lying = [jax.reshard(array, P(ROWS, None, "tensor", None)) for array in qkv]
        own = jax.reshard(segments, P(ROWS, None))
        ours = jax.jit(lambda *all: attention.splash(*all, interpret=True))(*lying, own)
    np.testing.assert_allclose(ours, plain(*qkv, segments), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "capability", "head_dim", "dtype", "expected"),
    [
        ("TPU v3", None, 256, "bfloat16", "chunked"),
        ("TPU v4", None, 256, "bfloat16", "splash"),
        ("TPU v4", None, 64, "bfloat16", "chunked"),
        ("NVIDIA H100 80GB HBM3", "9.0", 256, "bfloat16", "cudnn"),
        ("NVIDIA H100 80GB HBM3", "9.0", 256, "float32", "chunked"),
        ("NVIDIA A100-SXM4-80GB", "8.0", 256, "bfloat16", "chunked"),
        ("NVIDIA A100-SXM4-80GB", "8.0", 128, "bfloat16", "cudnn"),
        ("Tesla T4", "7.5", 128, "bfloat16", "chunked"),
        ("cpu", None, 256, "bfloat16", "chunked"),
    ],
)
def test_attention_is_chosen_by_device_and_sizes(kind, capability, head_dim, dtype, expected):
    platform = "tpu" if kind.startswith("TPU") else "cpu" if kind == "cpu" else "gpu"
    device = SimpleNamespace(platform=platform, device_kind=kind, compute_capability=capability)
    assert attention.chosen(device, head_dim, 2048, dtype) == expected
