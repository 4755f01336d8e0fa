"""A GPT-J classifier on the mesh of all devices: its pool, loss and step, and where it is trained and read."""

from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lowres.artifacts import Run
from lowres.devices import Devices
from lowres.families.gptj import attention, classify
from lowres.families.gptj.config import Config
from lowres.families.gptj.finetune import (
    Batch,
    Batches,
    ClassHyper,
    OneDevice,
    Place,
    Progress,
    chain_of,
    rates_of,
)
from lowres.families.gptj.lora import joined
from lowres.families.gptj.mesh import ROWS, make_mesh, on_host, on_processor, placed, put, put_like, whole
from lowres.families.gptj.mesh_train import alone, tell
from lowres.families.gptj.model import Params
from lowres.families.gptj.parallel import STATES, Plan, hidden
from lowres.families.gptj.saving import MeshCheckpoints, folder_of
from lowres.families.gptj.train import State, applied, load_state
from lowres.training.checkpoint import Checkpoints

TEXTS = P(ROWS, None)
"""Of (texts, tokens) and (texts, 3 D)."""


def pooled(
    params: Params, tokens: Array, lengths: Array, config: Config, plan: Plan, dropout: tuple[Array, float] | None
) -> Array:
    """classify.pooled on a mesh: (texts, 3 D) float32."""
    texts, shape = tokens.shape
    lengths = jnp.maximum(lengths, 1)
    there = jnp.arange(shape)[None] < lengths[:, None]
    windows = (-1, min(shape, config.n_ctx))
    cut = [jax.lax.reshape(array, _sizes(array, windows), out_sharding=TEXTS) for array in (tokens, there)]
    states = hidden(params, cut[0], cut[1].astype(jnp.int32), config, plan, jnp.float32, dropout)
    states = jax.lax.reshape(states, (texts, shape, config.n_embd), out_sharding=STATES)
    last = _at(states, lengths - 1)
    # max's own gradient asks which states equal it, and XLA may compute these twice, with other rounding
    greatest = _at(states, jnp.where(there[..., None], states, jnp.finfo(jnp.float32).min).argmax(axis=1))
    mean = (states * there[..., None]).sum(axis=1) / lengths[:, None]
    return jnp.concatenate([last, greatest, mean], axis=-1)


def _at(states: Array, places: Array) -> Array:
    """Of states (texts, time, D) those at one place of each text, (texts,), or of each dim too, (texts, D).

    A look-up by index would gather all texts on every device.
    """
    own = places if places.ndim == 2 else places[:, None]
    return jnp.where(jnp.arange(states.shape[1])[None, :, None] == own[:, None], states, 0).sum(axis=1)


def _sizes(array: Array, windows: tuple[int, int]) -> tuple[int, int]:
    return array.size // windows[1], windows[1]


def class_loss(params: Params, batch: Batch, key: Array, config: Config, hyper: ClassHyper, plan: Plan) -> Array:
    """finetune.class_loss on a mesh."""
    tokens, lengths, gold = batch
    below, above = jax.random.split(key)
    dropout = (below, hyper.layer_dropout) if hyper.layer_dropout else None
    pool = pooled(params, tokens, lengths, config, plan, dropout)
    kept = jax.random.bernoulli(above, 1 - hyper.dropout, pool.shape)
    scores = jnp.where(kept, pool / (1 - hyper.dropout), 0) @ params["pool_weights"] + params["pool_bias"]
    hit = jnp.arange(scores.shape[-1]) == gold[:, None]
    losses = jax.nn.logsumexp(scores, axis=-1) - jnp.where(hit, scores, 0).sum(-1)
    return jnp.where(lengths > 0, losses, 0).sum() / jnp.maximum((lengths > 0).sum(), 1)


@partial(jax.jit, static_argnames=("config", "hyper", "plan"))
def loss_and_gradients(
    trained: Params, frozen: Params, batch: Batch, key: Array, config: Config, hyper: ClassHyper, plan: Plan
) -> tuple[Array, Params]:
    """Mean loss of a batch and its gradients by what is trained."""

    def loss_of(trained: Params) -> Array:
        return class_loss(joined(frozen, trained, hyper.lora_scale), batch, key, config, hyper, plan)

    return jax.value_and_grad(loss_of)(trained)


@partial(jax.jit, static_argnames=("config", "hyper", "plan"), donate_argnames=("state",))
def class_step(
    state: State, frozen: Params, batch: Batch, rates: Array, key: Array, config: Config, hyper: ClassHyper, plan: Plan
) -> tuple[State, Array]:
    """finetune.class_step on a mesh."""
    loss, gradients = loss_and_gradients(state.params, frozen, batch, key, config, hyper, plan)
    return applied(state, gradients, rates_of(state.params, rates), chain_of(hyper)), loss


@partial(jax.jit, static_argnames=("config", "plan"))
def _pool(params: Params, tokens: Array, lengths: Array, config: Config, plan: Plan) -> Array:
    return pooled(params, tokens, lengths, config, plan, None)


# --- where ------------------------------------------------------------------------------------------------------------


def place_of(devices: Devices, config: Config, work: Path | None = None) -> Place:
    """One CPU device, as ever; or the mesh, also to go on with what was begun there."""
    if alone() and not (work is not None and (work / "mesh-checkpoints").is_dir()):
        return OneDevice()
    return OnMesh(devices, config)


def load(folder: Path, devices: Devices) -> classify.GptjClassifier:
    """The classifier in a folder, where `place_of` puts it."""
    with on_processor():
        found = classify.load(folder)
    place = place_of(devices, found.config)
    if isinstance(place, OneDevice):
        return found
    with place.scope():
        return replace(found, params=place.put(found.params), read=place.read)


class OnMesh:
    """All devices of all hosts. Batches are filled up with empty texts until the devices divide them."""

    def __init__(self, devices: Devices, config: Config):
        # texts are filled up, so that any number of them fits: as if a batch had one for each device
        self.mesh = make_mesh(devices.mesh, config, jax.device_count(), 1)
        self._devices, self._config = devices, config
        self._checkpoints: MeshCheckpoints | None = None

    def scope(self) -> AbstractContextManager[Any]:
        """Everything below is called in it."""
        return jax.set_mesh(self.mesh)

    def put(self, params: Any) -> Params:
        """Each device takes its part."""
        return placed(params, self.mesh)

    def on_host(self, params: Params) -> dict[str, Any]:
        """Whole copies."""
        return on_host(params)

    def state(self, trained: Params, chain: optax.GradientTransformation) -> State:
        """Before the first step."""
        return State(trained, jax.jit(chain.init)(trained))

    def step(
        self, state: State, frozen: Params, batch: Batch, rates: Any, key: Array, config: Config, hyper: ClassHyper
    ) -> tuple[State, Array]:
        """class_step on a batch of the host."""
        tokens, lengths, gold = self.batch(*batch)
        return class_step(state, frozen, (tokens, lengths, gold), rates, key, config, hyper, self.plan(batch[0]))

    def read(self, params: Params, tokens: np.ndarray, lengths: np.ndarray, config: Config) -> np.ndarray:
        """The pool of some texts, without dropout. Also outside of the scope."""
        with self.scope():
            lying = self.batch(tokens, lengths)
            return whole(_pool(params, *lying, config=config, plan=self.plan(tokens)))[: len(lengths)]

    def resume(self, progress: Progress, batches: Batches, run: Run) -> int:
        """Goes on from the newest checkpoint, also from one that a single device wrote. Returns the step it is at."""
        self._checkpoints = checkpoints = MeshCheckpoints(folder_of(run.work, self._devices), self._devices)
        plain, step = Checkpoints(run.work / "checkpoints").latest(), checkpoints.latest()
        if plain is not None and plain[0] > (step or 0):
            host, progress.best, progress.score = load_state(plain[1], progress.tree())
            progress.state = put_like(host, progress.state)
            return plain[0]
        if step is None:
            return 0
        (progress.state, best, score), cursor = checkpoints.load(step, progress.tree())
        progress.best, progress.score = jax.tree.map(np.array, best), np.array(score)
        return batches.step_at(cursor)

    def tell(self, run: Run, step_of: tuple[int, int], note: str, progress: Progress, batches: Batches) -> None:
        """Says how far training is, and saves where it is time."""
        assert self._checkpoints is not None
        tell(run, self._checkpoints, step_of, note, progress, batches)

    def close(self) -> None:
        """Waits until all is written."""
        if self._checkpoints is not None:
            self._checkpoints.close()

    def batch(self, *arrays: np.ndarray) -> tuple[Array, ...]:
        """Arrays of a text each on the mesh, with empty texts behind them."""
        rows = self.mesh.shape["data"] * self.mesh.shape["fsdp"]
        more = -len(arrays[0]) % rows
        padded = (np.pad(array, [(0, more)] + [(0, 0)] * (array.ndim - 1)) for array in arrays)
        return tuple(put(a, NamedSharding(self.mesh, P(ROWS, *[None] * (a.ndim - 1)))) for a in padded)

    def plan(self, tokens: np.ndarray) -> Plan:
        """How a batch of this shape is computed."""
        time = min(tokens.shape[1], self._config.n_ctx)
        return Plan(1, "full", attention.chosen(jax.devices()[0], self._config.head_dim, time, "float32"))
