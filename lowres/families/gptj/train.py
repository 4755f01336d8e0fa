"""Training a GPT-J as a language model: the loss, the optimiser, the loop, and scoring."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from safetensors.numpy import load_file, save_file

from lowres.artifacts import Run
from lowres.errors import NotFinite, Stopped
from lowres.families.gptj.data import Rows
from lowres.families.gptj.lora import ADAPTER, joined, scale_of
from lowres.families.gptj.model import MATRICES, Config, Params, head_matrix, hidden, logits
from lowres.families.gptj.moments import scale_by_adam_in_8_bits
from lowres.families.gptj.settings import Moments
from lowres.training.checkpoint import Checkpoints
from lowres.training.log import TrainingLog

HEAD_ROWS = 512
"""Rows of logits at a time: 512 x 8000 float32 are 16 MB. On CPU 256 and 512 took 0.8 of the time of all at once."""


class State(NamedTuple):
    """What training goes on from: the weights that are trained and the optimiser's moments."""

    params: Params
    moments: Any


@dataclass(frozen=True)
class Hyper:
    """What the compiled step depends on, beside the shapes. The rate is an argument, so no schedule recompiles."""

    weight_decay: float
    beta2: float
    z_loss: float
    dropout: float
    mask_documents: bool
    precision: str
    lora_scale: float = 1.0
    moments: Moments = "float32"

    @classmethod
    def of(cls, settings: Any) -> "Hyper":
        """From an object with these attributes (spec.Optimisation), and `lora` where there may be an adapter."""
        names = cls.__dataclass_fields__.keys() - {"lora_scale"}
        scale = scale_of(getattr(settings, "lora", None))
        return cls(**{name: getattr(settings, name) for name in names}, lora_scale=scale)

    def optimiser(self) -> optax.GradientTransformation:
        """The chain that takes gradients to updates."""
        return optimiser(self.weight_decay, self.beta2, moments=self.moments)


# --- loss ------------------------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def head_loss(states: Array, head: Array, bias: Array, targets: Array, weights: Array, z_loss: float) -> Array:
    """Sum over rows of weight * (cross-entropy + z_loss * log(z)^2), a few rows of logits at a time.

    states: (n, D); head: (D, V); bias: (V,); targets: int (n,); weights: float32 (n,). The gradients are computed along
    with the loss, so logits are never kept and never computed twice.
    """
    return _head_forward(states, head, bias, targets, weights, z_loss)[0]


def _head_forward(states, head, bias, targets, weights, z_loss):  # noqa: ANN001, ANN202 - as head_loss
    wide = head.astype(states.dtype)

    def some_rows(carry, rows):  # noqa: ANN001, ANN202
        total, d_head, d_bias = carry
        h, target, weight = rows
        scores = (h @ wide).astype(jnp.float32) + bias
        log_z = jax.nn.logsumexp(scores, axis=-1)
        hit = jnp.arange(scores.shape[-1]) == target[:, None]
        loss = log_z - jnp.where(hit, scores, 0).sum(-1) + z_loss * log_z**2
        share = jnp.exp(scores - log_z[:, None]) * (1 + 2 * z_loss * log_z)[:, None]
        slope = ((share - hit) * weight[:, None]).astype(states.dtype)
        carry = total + (weight * loss).sum(), d_head + (h.T @ slope).astype(jnp.float32), d_bias + slope.sum(0)
        return carry, slope @ wide.T

    start = jnp.zeros(()), jnp.zeros(head.shape, jnp.float32), jnp.zeros_like(bias)
    (total, d_head, d_bias), d_states = jax.lax.scan(some_rows, start, _in_pieces(states, targets, weights))
    return total, (d_states.reshape(-1, states.shape[1])[: len(states)], d_head, d_bias)


def _head_backward(z_loss, gradients, upstream):  # noqa: ANN001, ANN202
    return (*((upstream * g).astype(g.dtype) for g in gradients), None, None)


head_loss.defvjp(_head_forward, _head_backward)


def _in_pieces(*arrays: Array) -> tuple[Array, ...]:
    """Arrays of n rows as (pieces, at most HEAD_ROWS, ...), filled with zeros (weight 0)."""
    n = len(arrays[0])
    size = min(HEAD_ROWS, n)
    pieces = -(-n // size)
    return tuple(
        jnp.pad(array, [(0, pieces * size - n)] + [(0, 0)] * (array.ndim - 1)).reshape(pieces, size, *array.shape[1:])
        for array in arrays
    )


def split_rows(rows: Array, bos_id: Array | int, mask_documents: bool) -> tuple[Array, Array, Array, Array]:
    """(inputs, targets, weights, segments), each (batch, time), of rows (batch, time + 1) with PADDING as -1.

    weights: 1 where there is a next token to predict. segments: documents numbered from 0, or padding against the rest.
    """
    inputs, targets = rows[:, :-1], rows[:, 1:]
    there = inputs >= 0
    segments = jnp.cumsum(inputs == bos_id, axis=1) if mask_documents else there.astype(jnp.int32)
    weights = (there & (targets >= 0)).astype(jnp.float32)
    return jnp.maximum(inputs, 0), jnp.maximum(targets, 0), weights, jnp.where(there, segments, -1)


def lm_loss(params: Params, rows: Array, bos_id: Array | int, config: Config, hyper: Hyper, key: Array | None) -> Array:
    """Mean loss a predicted token, in nats, with the z-loss. key: of dropout, or None."""
    inputs, targets, weights, segments = split_rows(rows, bos_id, hyper.mask_documents)
    dropout = (key, hyper.dropout) if key is not None and hyper.dropout else None
    states = hidden(params, inputs, config, segments, jnp.dtype(hyper.precision), dropout)
    flat = states.reshape(-1, config.n_embd)
    scaled = weights.reshape(-1) / jnp.maximum(weights.sum(), 1)
    head = head_matrix(params, jnp.float32)
    return head_loss(flat, head, params["head_bias"], targets.reshape(-1), scaled, hyper.z_loss)


@partial(jax.jit, static_argnames=("config", "mask_documents"))
def token_nats(params: Params, rows: Array, bos_id: Array | int, config: Config, mask_documents: bool = True) -> Array:
    """-log p of every token of rows but the first, 0 where there is none: (batch, time + 1) -> (batch, time)."""
    inputs, targets, weights, segments = split_rows(rows, bos_id, mask_documents)
    flat = hidden(params, inputs, config, segments).reshape(-1, config.n_embd)

    def some_rows(rows: tuple[Array, Array]) -> Array:
        scores = logits(params, rows[0])
        return jax.nn.logsumexp(scores, axis=-1) - jnp.take_along_axis(scores, rows[1][:, None], axis=-1)[:, 0]

    nats = jax.lax.map(some_rows, _in_pieces(flat, targets.reshape(-1))).reshape(-1)[: targets.size]
    return nats.reshape(targets.shape) * weights


# --- optimiser -------------------------------------------------------------------------------------------------------


DECAYED = (*MATRICES, *ADAPTER)


def optimiser(
    weight_decay: float, beta2: float, decayed: tuple[str, ...] = DECAYED, moments: Moments = "float32"
) -> optax.GradientTransformation:
    """Clip the global norm at 1, Adam, decoupled weight decay on `decayed`; to be scaled by minus the learning rate."""
    adam = scale_by_adam_in_8_bits if moments == "int8" else optax.scale_by_adam
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        adam(b1=0.9, b2=beta2, eps=1e-8),
        optax.add_decayed_weights(weight_decay, mask=partial(_names, decayed)),
    )


def _names(decayed: tuple[str, ...], params: Any) -> dict[str, bool]:
    return {name: name in decayed for name in params}


def learning_rate(step: int, total: int, lr: float, end_lr: float, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then a cosine from lr to end_lr at the last step."""
    rising = math.ceil(warmup * total)
    if step < rising:
        return lr * (step + 1) / rising
    turn = (step - rising) / max(total - 1 - rising, 1)
    return end_lr + (lr - end_lr) * 0.5 * (1 + math.cos(math.pi * min(turn, 1.0)))


@partial(jax.jit, static_argnames=("config", "hyper"), donate_argnames=("state",))
def lm_step(
    state: State, frozen: Params, rows: Array, rate: Array, bos_id: Array, key: Array, config: Config, hyper: Hyper
) -> tuple[State, Array, Array]:
    """One step of training: the new state; loss and norm of the gradients before it. frozen: weights that stay."""

    def loss_of(trained: Params) -> Array:
        return lm_loss(joined(frozen, trained, hyper.lora_scale), rows, bos_id, config, hyper, key)

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    rates = dict.fromkeys(state.params, rate)
    after = applied(state, gradients, rates, hyper.optimiser())
    return after, loss, optax.tree.norm(gradients)


def applied(state: State, gradients: Params, rates: dict[str, Array], chain: optax.GradientTransformation) -> State:
    """The state after one update, each parameter with the learning rate under its name."""
    updates, moments = chain.update(gradients, state.moments, state.params)
    return State(jax.tree.map(lambda p, rate, u: p - rate * u, state.params, rates, updates), moments)


# --- loop ------------------------------------------------------------------------------------------------------------


def train_lm(
    params: Params, rows: Rows, config: Config, bos_id: int, settings: Any, run: Run, frozen: Params | None = None
) -> tuple[Params, float]:
    """Trains for settings.epochs passes. Returns the weights and the mean loss of the last tenth of the steps, in nats.

    settings: a PretrainSpec or TuneSpec. `params` is given away: its buffers are reused. frozen: weights that stay
    as they are, beside `params` (lora.parted). Goes on from the checkpoint
    in run.work, to the same weights as an uninterrupted run. Raises Stopped after saving, NotFinite where the loss is
    no number.
    """
    hyper, total = Hyper.of(settings), rows.steps(settings.epochs)
    state = State(params, hyper.optimiser().init(params))
    checkpoints = Checkpoints(run.work / "checkpoints")
    start, losses = 0, np.zeros(total, np.float32)
    if saved := checkpoints.latest():
        start = saved[0]
        state, losses = load_state(saved[1], (state, losses))
    log = TrainingLog(checkpoints.folder.with_suffix(".jsonl"))
    log.go_on_from(start)
    root = jax.random.key(rows.seed)
    for step in range(start, total):
        note = f"loss {losses[step - 1]:.3f}" if step else "compiling"
        tell(run, checkpoints, (step, total), note, (state, losses))
        rate = learning_rate(step, total, settings.lr, settings.end_lr, settings.warmup)
        state, loss, norm = lm_step(
            state,
            frozen or {},
            rows.batch(step),
            np.float32(rate),
            np.int32(bos_id),
            jax.random.fold_in(root, step),
            config,
            hyper,
        )
        losses[step] = check_finite(float(loss), step, settings.lr)
        if log.due(step + 1) or step + 1 == total:
            log.add(step + 1, loss=float(loss), lr=float(rate), grad_norm=float(norm))
    log.keep(run.out / "training.jsonl")
    run.progress(total, total, "steps", f"loss {losses[-1]:.3f}")
    return state.params, float(losses[-max(total // 10, 1) :].mean())


def tell(run: Run, checkpoints: Checkpoints, step_of: tuple[int, int], note: str, state: Any) -> None:
    """Says how far training is. Saves `state` where it is time, or before Stopped is raised."""
    step, total = step_of
    try:
        run.progress(step, total, "steps", note)
    except Stopped:
        checkpoints.save(step, partial(save_state, state=state))
        raise
    if checkpoints.due():
        checkpoints.save(step, partial(save_state, state=state))


def check_finite(loss: float, step: int, lr: float) -> float:
    """The loss itself. Raises NotFinite where it is infinite or not a number."""
    if not math.isfinite(loss):
        raise NotFinite(f"the loss is {loss} at step {step}; lower lr (it is {lr})")
    return loss


def save_state(folder: Path, state: Any) -> None:
    """Writes the leaves of a tree of arrays to `state.safetensors`, in the tree's order."""
    leaves = jax.tree.leaves(state)
    save_file({f"{i:05d}": np.asarray(leaf, order="C") for i, leaf in enumerate(leaves)}, folder / "state.safetensors")


def load_state(folder: Path, like: Any) -> Any:
    """The tree that was saved, in the form of `like`."""
    arrays = load_file(folder / "state.safetensors")
    leaves, form = jax.tree.flatten(like)
    read = [
        np.array(arrays[name]) if isinstance(leaf, np.ndarray) else jnp.asarray(arrays[name])
        for name, leaf in zip(sorted(arrays), leaves, strict=True)
    ]
    return jax.tree.unflatten(form, read)


def mean_nats(params: Params, rows: np.ndarray, config: Config, bos_id: int, batch_size: int) -> float:
    """Mean -log p over the tokens of rows (rows, n_ctx + 1), with documents masked; NaN where there are none."""
    nats = sum(float(batch.sum()) for batch in row_nats(params, rows, config, bos_id, batch_size))
    tokens = int(((rows[:, :-1] >= 0) & (rows[:, 1:] >= 0)).sum())
    return nats / tokens if tokens else math.nan


def row_nats(
    params: Params,
    rows: np.ndarray,
    config: Config,
    bos_id: int,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[np.ndarray]:
    """token_nats of many rows, in batches of one shape (the last one filled with padding): a list of (batch, n_ctx)."""
    results = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        filled = np.pad(batch, ((0, batch_size - len(batch)), (0, 0)), constant_values=-1)
        results.append(np.asarray(token_nats(params, filled, np.int32(bos_id), config))[: len(batch)])
        progress(start + len(batch), len(rows))
    return results
