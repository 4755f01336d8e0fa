"""Causal attention inside documents without the whole time x time of scores: in pieces, by splash on TPUs, by cuDNN.

All take q, k, v (batch, time, heads, head dim) and segments (batch, time), and give what model.attend gives.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from lowres.families.gptj.mesh import ROWS

Kind = Literal["chunked", "splash", "cudnn"]
QUERIES = 512
"""Queries at a time: a piece has queries x time scores a head."""
_NO_BF16_SPLASH = ("TPU v2", "TPU v3")
"""Mosaic refuses it there."""
_HOPPER = (9, 0)


def chosen(device: Any, head_dim: int, time: int, dtype: str) -> Kind:
    """What `attention = "auto"` takes.

    Splash wants blocks of 128. cuDNN wants 16 bits and heads of at most 128 dims, 256 from Hopper on.
    """
    if device.platform == "tpu" and head_dim % 128 == 0 and time % 128 == 0:
        return "chunked" if device.device_kind.startswith(_NO_BF16_SPLASH) else "splash"
    if device.platform == "gpu" and dtype == "bfloat16" and head_dim % 8 == 0:
        version = tuple(map(int, str(getattr(device, "compute_capability", "0.0")).split(".")))
        if version >= (8, 0) and head_dim <= (256 if version >= _HOPPER else 128):
            return "cudnn"
    return "chunked"


def attention(kind: Kind) -> Callable[[Array, Array, Array, Array], Array]:
    """The function of a kind."""
    return {"chunked": chunked, "splash": splash, "cudnn": cudnn}[kind]


def chunked(q: Array, k: Array, v: Array, segments: Array, queries: int = QUERIES) -> Array:
    """A few queries at a time against the keys before them; the backward pass computes the scores again."""
    time = q.shape[1]
    pieces = []
    for start in range(0, time, queries):
        end = min(start + queries, time)  # static, so what lies after the piece is not even multiplied
        piece = partial(_piece, start=start)
        piece = jax.checkpoint(piece) if time > queries else piece
        pieces.append(piece(q[:, start:end], k[:, :end], v[:, :end], segments[:, start:end], segments[:, :end]))
    return jnp.concatenate(pieces, axis=1) if len(pieces) > 1 else pieces[0]


def _piece(q: Array, k: Array, v: Array, of_q: Array, of_k: Array, start: int) -> Array:
    """Queries from place `start` on against keys from 0 on. Products of 16 bits are summed in float32."""
    scores = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=jnp.float32) / q.shape[-1] ** 0.5
    before = start + jnp.arange(q.shape[1])[:, None] >= jnp.arange(k.shape[1])[None]
    allowed = before[None] & (of_q[:, :, None] == of_k[:, None, :])
    weights = jax.nn.softmax(jnp.where(allowed[:, None], scores, jnp.finfo(jnp.float32).min), axis=-1)
    return jnp.einsum("bhts,bshd->bthd", weights.astype(v.dtype), v)


def splash(q: Array, k: Array, v: Array, segments: Array, interpret: bool = False) -> Array:
    """The TPU's kernel, on each device's rows and heads. interpret: on any device, slowly, for tests."""
    cut = P(ROWS, None, "tensor", None)
    local = partial(_splash_local, interpret=interpret)
    mapped = jax.shard_map(local, in_specs=(cut, cut, cut, P(ROWS, None)), out_specs=cut, check_vma=False)
    return mapped(q, k, v, segments)


def _splash_local(q: Array, k: Array, v: Array, segments: Array, interpret: bool) -> Array:
    from jax.experimental.pallas.ops.tpu import splash_attention as kernels

    time, heads = q.shape[1:3]
    mask = kernels.MultiHeadMask([kernels.CausalMask((time, time)) for _ in range(heads)])
    kernel: Any = kernels.make_splash_mha(mask, head_shards=1, q_seq_shards=1, interpret=interpret)
    scaled = (q / q.shape[-1] ** 0.5).swapaxes(1, 2)

    def one_row(q: Array, k: Array, v: Array, own: Array) -> Array:
        return kernel(q, k, v, segment_ids=kernels.SegmentIds(own, own))

    return jax.vmap(one_row)(scaled, k.swapaxes(1, 2), v.swapaxes(1, 2), segments).swapaxes(1, 2).astype(v.dtype)


def cudnn(q: Array, k: Array, v: Array, segments: Array) -> Array:
    """CuDNN's kernel, on each device's rows and heads; documents are kept apart by a mask of all heads."""
    cut = P(ROWS, None, "tensor", None)

    def local(q: Array, k: Array, v: Array, own: Array) -> Array:
        same = own[:, None, :, None] == own[:, None, None, :]
        return jax.nn.dot_product_attention(q, k, v, mask=same, is_causal=True, implementation="cudnn")

    return jax.shard_map(local, in_specs=(cut, cut, cut, P(ROWS, None)), out_specs=cut, check_vma=False)(
        q, k, v, segments
    )
