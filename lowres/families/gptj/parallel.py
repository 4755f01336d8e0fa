"""GPT-J's training on a mesh: the forward pass, the loss and the step, with every array's place said.

Fully sharded data parallel is three things here: mesh.STORED, `gathered` inside the layers' scan, so that one layer's
weights are whole at a time and its gradients go back to their parts, and `out_sharding` where a product sums over what
is cut.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from lowres.families.gptj import attention
from lowres.families.gptj.config import Config
from lowres.families.gptj.int8 import dequantised
from lowres.families.gptj.lora import joined
from lowres.families.gptj.mesh import ROWS
from lowres.families.gptj.model import (
    Params,
    drop,
    head_matrix,
    layer_norm,
    layers_of,
    product,
    rotary_tables,
    rotate,
)
from lowres.families.gptj.train import Hyper, State, applied, split_rows

HEAD_TOKENS = 1024
"""Tokens of a device whose logits are there at a time, at most: 1024 x 50400 float32 are 206 MB."""
STATES = P(ROWS, None, None)
"""Of hidden states (batch, time, D): rows cut, width whole."""
REMAT: dict[str, Callable[[Any], Any]] = {
    "none": lambda body: body,
    "dots": partial(jax.checkpoint, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable),
    "full": jax.checkpoint,
}
"""What the backward pass of a layer finds: everything; products with weights; the layer's input alone."""


@dataclass(frozen=True)
class Plan:
    """How a step is computed, beside what: micro-batches a step, a key of REMAT, the kind of attention."""

    accumulate: int
    remat: str
    attention: attention.Kind


class Measures(NamedTuple):
    """Of one step. squares: mean squared norm of the micro-batches' mean gradients, and that of the whole batch's."""

    loss: Array
    grad_norm: Array
    squares: Array


def gathered(array: Array) -> Array:
    """The array whole over fsdp: an all-gather, whose backward pass is a reduce-scatter."""
    spec = jax.typeof(array).sharding.spec
    return jax.reshard(array, P(*(None if axis == "fsdp" else axis for axis in spec)))


def hidden(
    params: Params,
    tokens: Array,
    segments: Array,
    config: Config,
    plan: Plan,
    dtype: Any,
    dropout: tuple[Array, float] | None = None,
) -> Array:
    """model.hidden on a mesh: (batch, time, D) in `dtype`. tokens, segments: (batch, time)."""
    sin, cos = rotary_tables(jnp.arange(tokens.shape[1])[None], config.rotary_dim)
    attend = attention.attention(plan.attention)
    key, rate = dropout or (None, 0.0)

    def body(x: Array, numbered: tuple[Array, Params]) -> tuple[Array, None]:
        index, layer = numbered
        layer = {name: gathered(narrow(array, dtype)) for name, array in layer.items()}
        h = layer_norm(x, layer["ln_scale"], layer["ln_bias"], config.layer_norm_epsilon)
        heads = (*tokens.shape, config.n_head, config.head_dim)
        q, k, v = (product(h, layer, name).reshape(heads) for name in ("q", "k", "v"))
        q, k = (rotate(array.astype(jnp.float32), sin, cos).astype(dtype) for array in (q, k))
        attended = attend(q, k, v, segments).reshape(x.shape)
        inner = jax.nn.gelu(product(h, layer, "fc_in") + layer["fc_in_bias"].astype(dtype), approximate=True)
        added = product(attended, layer, "out", STATES) + product(inner, layer, "fc_out", STATES)
        return x + dropped(added + layer["fc_out_bias"].astype(dtype), key, index, rate), None

    x = dropped(embed(params, tokens, dtype), key, 0, rate)
    x, _ = jax.lax.scan(REMAT[plan.remat](body), x, (jnp.arange(1, config.n_layer + 1), layers_of(params)))
    return layer_norm(x, params["ln_f_scale"], params["ln_f_bias"], config.layer_norm_epsilon)


def narrow(array: Array, dtype: Any) -> Array:
    """Matrices in the type of the products, before they are sent about; vectors and 8 bits as they are."""
    return array.astype(dtype) if array.ndim == 2 and array.dtype == jnp.float32 else array


def embed(params: Params, tokens: Array, dtype: Any) -> Array:
    """model.embed on a mesh. Looked up in a table cut along its width alone: no device needs all of it."""
    cut = P(None, "tensor")
    if "wte_int8" in params:
        codes, scales = (jax.reshard(params[name], P(None, None)) for name in ("wte_int8", "wte_scale"))
        rows, of_rows = (table.at[tokens].get(out_sharding=STATES) for table in (codes, scales))
        return dequantised(rows, of_rows, dtype, axis=-1)
    # looked up in float32, so that the gradients of a frequent token are summed in it
    table = jax.reshard(params["wte"].astype(dtype), cut).astype(jnp.float32)
    return jax.reshard(table.at[tokens].get(out_sharding=P(ROWS, None, "tensor")).astype(dtype), STATES)


def dropped(x: Array, key: Array | None, index: Array | int, rate: float) -> Array:
    """model.drop with the draws that one device makes, for rows laid after each other."""
    if key is None or not rate:
        return x
    return drop(x.reshape(-1, x.shape[-1]), key, index, rate).reshape(x.shape)


def token_losses(states: Array, params: Params, targets: Array, z_loss: float) -> Array:
    """Cross-entropy + z_loss * log(z)^2 of each target: (batch, time) float32, a few tokens' logits at a time."""
    batch, time = targets.shape
    sizes = jax.typeof(states).sharding.mesh.shape
    pieces = pieces_of(time, batch // (sizes["data"] * sizes["fsdp"]))
    bias, parts = params["head_bias"], ("head", "head_int8", "head_scale")
    stored = {name: narrow(params[name], states.dtype) for name in parts if name in params}

    @jax.checkpoint
    def some(piece: tuple[Array, Array]) -> Array:
        h, target = piece
        # 8 bits are gathered as such, so no block of them is cut where they are dequantised
        head = head_matrix({name: gathered(array) for name, array in stored.items()}, h.dtype)
        scores = jnp.matmul(h, head).astype(jnp.float32) + bias
        log_z = jax.nn.logsumexp(scores, axis=-1)
        hit = jnp.arange(scores.shape[-1]) == target[..., None]
        return log_z - jnp.where(hit, scores, 0).sum(-1) + z_loss * log_z**2

    def cut(array: Array) -> Array:
        return array.reshape(batch, pieces, time // pieces, *array.shape[2:]).swapaxes(0, 1)

    return jax.lax.map(some, (cut(states), cut(targets))).swapaxes(0, 1).reshape(batch, time)


def pieces_of(time: int, rows: int) -> int:
    """The fewest equal pieces of a row with at most HEAD_TOKENS tokens of `rows` rows each."""
    return next(n for n in range(1, time + 1) if time % n == 0 and (rows * time // n <= HEAD_TOKENS or n == time))


def micro_loss(
    params: Params, rows: Array, bos_id: Array, share: Array, key: Array, config: Config, hyper: Hyper, plan: Plan
) -> Array:
    """A micro-batch's part of the batch's mean loss: `share` is 1 over the tokens that the batch predicts."""
    inputs, targets, weights, segments = split_rows(rows, bos_id, hyper.mask_documents)
    dropout = (key, hyper.dropout) if hyper.dropout else None
    states = hidden(params, inputs, segments, config, plan, jnp.dtype(hyper.precision), dropout)
    return (token_losses(states, params, targets, hyper.z_loss) * weights).sum() * share


@partial(jax.jit, static_argnames=("config", "hyper", "plan"), donate_argnames=("state",))
def mesh_step(
    state: State,
    frozen: Params,
    rows: Array,
    rate: Array,
    bos_id: Array,
    key: Array,
    config: Config,
    hyper: Hyper,
    plan: Plan,
) -> tuple[State, Measures]:
    """One step of training on the rows (micro-batches, batch, time + 1), with gradients summed in float32."""
    loss, gradients, small = loss_and_gradients(state.params, frozen, rows, bos_id, key, config, hyper, plan)
    square = square_of(gradients)
    rates = dict.fromkeys(state.params, rate)
    after = applied(state, gradients, rates, hyper.optimiser())
    return after, Measures(loss, jnp.sqrt(square), jnp.stack([small, square]))


def square_of(gradients: Params) -> Array:
    """The squared norm of all of them together."""
    return sum((jnp.square(array).sum() for array in gradients.values()), jnp.zeros(()))


def loss_and_gradients(
    params: Params,
    frozen: Params,
    rows: Array,
    bos_id: Array,
    key: Array,
    config: Config,
    hyper: Hyper,
    plan: Plan,
) -> tuple[Array, Params, Array]:
    """(mean loss, its gradients, mean squared norm of the micro-batches' own mean gradients)."""
    share = 1 / jnp.maximum(((rows[..., :-1] >= 0) & (rows[..., 1:] >= 0)).sum(), 1)

    def of_micro(trained: Params, some: Array, key: Array) -> Array:
        whole = joined(frozen, trained, hyper.lora_scale)
        return micro_loss(whole, some, bos_id, share, key, config, hyper, plan)

    if plan.accumulate == 1:
        loss, gradients = jax.value_and_grad(of_micro)(params, rows[0], key)
        return loss, gradients, jnp.zeros(())

    def add(
        carry: tuple[Array, Params, Array], numbered: tuple[Array, Array]
    ) -> tuple[tuple[Array, Params, Array], None]:
        index, some = numbered
        loss, gradients = jax.value_and_grad(of_micro)(params, some, jax.random.fold_in(key, index))
        square = plan.accumulate * square_of(gradients)  # of the mean: (n g)^2, and 1 / n of a mean of n
        return (carry[0] + loss, jax.tree.map(jnp.add, carry[1], gradients), carry[2] + square), None

    start = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params), jnp.zeros(())
    (loss, gradients, square), _ = jax.lax.scan(add, start, (jnp.arange(plan.accumulate), rows))
    return loss, gradients, square


@partial(jax.jit, static_argnames=("config", "plan", "dtype"))
def mesh_nats(params: Params, rows: Array, bos_id: Array, config: Config, plan: Plan, dtype: str) -> Array:
    """train.token_nats on a mesh: (batch, time + 1) -> (batch, time)."""
    inputs, targets, weights, segments = split_rows(rows, bos_id, True)
    states = hidden(params, inputs, segments, config, plan, jnp.dtype(dtype))
    return token_losses(states, params, targets, 0.0) * weights
