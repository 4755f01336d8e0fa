"""Training a GPT-J classifier by gradients: all its weights, or a low-rank adapter, with a linear head on the pool."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from lowres.artifacts import Run
from lowres.errors import DataError
from lowres.families.gptj.classify import POOL_NAMES, Labelled, Read, features, padded, pooled, read_here, without_heads
from lowres.families.gptj.data import shape_of
from lowres.families.gptj.lora import joined, merged, parted, scale_of
from lowres.families.gptj.mesh import on_processor
from lowres.families.gptj.model import Config, Params
from lowres.families.gptj.train import (
    DECAYED,
    State,
    applied,
    check_finite,
    learning_rate,
    load_state,
    optimiser,
    tell,
)
from lowres.training.checkpoint import Checkpoints
from lowres.training.head import LogisticHead, dev_scores
from lowres.training.log import TrainingLog

MOST_BATCH_TOKENS = 8192
"""Tokens of a training batch; of long texts fewer stand in a batch."""
DEV_CHECKS = 10
"""How often the dev texts are scored in training, at most."""
DECAYED_HERE = (*DECAYED, "pool_weights")
Batch = tuple[Any, Any, Any]
"""tokens (texts, shape), lengths (texts,), gold (texts,); a text of length 0 only fills the batch."""


@dataclass(frozen=True)
class Batches:
    """Labelled texts in batches of a few fixed shapes, in an order drawn from `seed` for each pass."""

    shapes: tuple[int, ...]
    """Of each text."""
    batch_size: int
    seed: int

    @classmethod
    def of(cls, ids: Sequence[np.ndarray], n_ctx: int, batch_size: int, seed: int) -> "Batches":
        """A shape with fewer texts than a batch joins the next longer one: compiling costs more than their padding."""
        own = [shape_of(len(text), n_ctx) for text in ids]
        known = sorted(set(own))
        for shape, longer in zip(known, known[1:], strict=False):
            if own.count(shape) < batch_size:
                own = [longer if one == shape else one for one in own]
        return cls(tuple(own), batch_size, seed)

    def rows(self, shape: int) -> int:
        """Texts in a batch of this shape."""
        return max(min(self.batch_size, MOST_BATCH_TOKENS // shape), 1)

    @cached_property
    def count(self) -> int:
        """Batches of a pass."""
        return sum(math.ceil(self.shapes.count(shape) / self.rows(shape)) for shape in set(self.shapes))

    def batch(self, step: int) -> tuple[int, list[int]]:
        """(shape, indices of the texts) of a step."""
        epoch, index = divmod(step, self.count)
        return _pass(self, epoch)[index]

    def cursor(self, step: int) -> dict[str, int]:
        """Where the data are before a step, for a checkpoint."""
        return {"batches_read": step, "batches_a_pass": self.count, "texts": len(self.shapes), "seed": self.seed}

    def step_at(self, cursor: Mapping[str, int]) -> int:
        """The step that a cursor stands before. Raises DataError where it is one of other texts."""
        now = self.cursor(cursor["batches_read"])
        if now != dict(cursor):
            raise DataError(f"the checkpoint is of other texts ({dict(cursor)}, now {now}); remove it")
        return cursor["batches_read"]


@lru_cache(maxsize=2)
def _pass(batches: Batches, epoch: int) -> list[tuple[int, list[int]]]:
    """The batches of one pass, in their order."""
    generator = np.random.default_rng([batches.seed, epoch])
    order = [int(i) for i in generator.permutation(len(batches.shapes))]
    found = []
    for shape in sorted(set(batches.shapes)):
        members = [i for i in order if batches.shapes[i] == shape]
        rows = batches.rows(shape)
        found += [(shape, members[start : start + rows]) for start in range(0, len(members), rows)]
    return [found[i] for i in generator.permutation(len(found))]


@dataclass(frozen=True)
class ClassHyper:
    """What the compiled step of fine-tuning depends on, beside the shapes."""

    weight_decay: float
    dropout: float
    layer_dropout: float
    lora_scale: float = 1.0


def class_loss(
    params: Params, tokens: Array, lengths: Array, gold: Array, key: Array, config: Config, hyper: ClassHyper
) -> Array:
    """Mean cross-entropy over the texts of a batch, rows of length 0 left out."""
    below, above = jax.random.split(key)
    pool = pooled(params, tokens, lengths, config, (below, hyper.layer_dropout) if hyper.layer_dropout else None)
    kept = jax.random.bernoulli(above, 1 - hyper.dropout, pool.shape)
    scores = jnp.where(kept, pool / (1 - hyper.dropout), 0) @ params["pool_weights"] + params["pool_bias"]
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, gold)
    return jnp.where(lengths > 0, losses, 0).sum() / jnp.maximum((lengths > 0).sum(), 1)


@partial(jax.jit, static_argnames=("config", "hyper"), donate_argnames=("state",))
def class_step(
    state: State,
    frozen: Params,
    batch: Batch,
    rates: Array,
    key: Array,
    config: Config,
    hyper: ClassHyper,
) -> tuple[State, Array]:
    """One step. batch: tokens, lengths, gold. rates: of the body and of the head. frozen: weights that stay."""

    def loss_of(trained: Params) -> Array:
        return class_loss(joined(frozen, trained, hyper.lora_scale), *batch, key, config, hyper)

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    return applied(state, gradients, rates_of(state.params, rates), chain_of(hyper)), loss


def rates_of(params: Params, rates: Array) -> dict[str, Array]:
    """The learning rate of each: that of the body, or that of the head."""
    return {name: rates[int(name in POOL_NAMES)] for name in params}


def chain_of(hyper: ClassHyper) -> optax.GradientTransformation:
    """The optimiser."""
    return optimiser(hyper.weight_decay, 0.99, DECAYED_HERE)


# --- where ------------------------------------------------------------------------------------------------------------


@dataclass
class Progress:
    """What a training has so far. best: what was trained at the best look at dev, on the host.

    score: its macro-F1, minus its log loss, its step.
    """

    state: State
    best: dict[str, Any]
    score: np.ndarray

    def tree(self) -> tuple[State, dict[str, Any], np.ndarray]:
        """What a checkpoint holds."""
        return self.state, self.best, self.score


class Place(Protocol):
    """Where a classifier is trained and read: one device, or class_mesh.OnMesh."""

    def read(self, params: Params, tokens: np.ndarray, lengths: np.ndarray, config: Config) -> Any:
        """The pool of some texts, without dropout."""
        ...

    def scope(self) -> AbstractContextManager[Any]:
        """Everything else is called in it."""
        ...

    def put(self, params: Mapping[str, Any]) -> Params:
        """Arrays of the host, where they are computed with."""
        ...

    def on_host(self, params: Params) -> dict[str, Any]:
        """Copies that no step overwrites."""
        ...

    def state(self, trained: Params, chain: optax.GradientTransformation) -> State:
        """Before the first step."""
        ...

    def step(
        self, state: State, frozen: Params, batch: Batch, rates: Any, key: Array, config: Config, hyper: ClassHyper
    ) -> tuple[State, Array]:
        """class_step on a batch of the host."""
        ...

    def resume(self, progress: Progress, batches: Batches, run: Run) -> int:
        """Goes on from the newest checkpoint in run.work. Returns the step it is at."""
        ...

    def tell(self, run: Run, step_of: tuple[int, int], note: str, progress: Progress, batches: Batches) -> None:
        """Says how far training is. Saves where it is time, or before Stopped is raised."""
        ...

    def close(self) -> None:
        """All is written when it returns."""
        ...


class OneDevice:
    """The device that JAX computes on by default."""

    def read(self, params: Params, tokens: np.ndarray, lengths: np.ndarray, config: Config) -> Any:
        """The pool of some texts, without dropout."""
        return read_here(params, tokens, lengths, config)

    def scope(self) -> AbstractContextManager[Any]:
        """Nothing is to be set."""
        return nullcontext()

    def put(self, params: Mapping[str, Any]) -> Params:
        """As they are, where they are there already."""
        return {name: jnp.asarray(array) for name, array in params.items()}

    def on_host(self, params: Params) -> dict[str, Any]:
        """Copies: steps reuse the buffers."""
        return jax.tree.map(np.array, params)

    def state(self, trained: Params, chain: optax.GradientTransformation) -> State:
        """Before the first step."""
        return State(trained, chain.init(trained))

    def step(
        self, state: State, frozen: Params, batch: Batch, rates: Any, key: Array, config: Config, hyper: ClassHyper
    ) -> tuple[State, Array]:
        """class_step."""
        return class_step(state, frozen, batch, rates, key, config, hyper)

    def resume(self, progress: Progress, batches: Batches, run: Run) -> int:
        """Goes on from the checkpoint in run.work."""
        self._checkpoints = Checkpoints(run.work / "checkpoints")
        if not (saved := self._checkpoints.latest()):
            return 0
        progress.state, progress.best, progress.score = load_state(saved[1], progress.tree())
        return saved[0]

    def tell(self, run: Run, step_of: tuple[int, int], note: str, progress: Progress, batches: Batches) -> None:
        """train.tell."""
        tell(run, self._checkpoints, step_of, note, progress.tree())

    def close(self) -> None:
        """All is written already."""


# --- loop -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """The classifier's weights, what of them was trained, steps taken, tokens seen, dev scores of the step kept."""

    params: Params
    """Below the head, with an adapter added to them."""
    trained: Params
    """As they were trained: with POOL_NAMES, and of an adapter A and B."""
    head: LogisticHead
    steps: int
    tokens_seen: int
    dev_macro_f1: float
    kept_step: int


def fine_tune(
    params: Params, config: Config, train: Labelled, dev: Labelled, labels: int, spec: Any, run: Run, place: Place
) -> Trained:
    """Trains all weights, or an adapter, with a linear head on the pool; keeps the best of DEV_CHECKS looks at dev.

    params: on the host, unless `place` is the one device. spec: spec.ClassifierSpec, of the arms "full" and "lora".
    Goes on from the checkpoint in run.work, to the same weights.
    """
    batches = Batches.of(train.ids, config.n_ctx, spec.batch_size, spec.seed)
    total = max(round(spec.epochs * batches.count), spec.min_steps)
    every = math.ceil(total / DEV_CHECKS)
    lora = spec.lora if spec.arm == "lora" else None
    hyper = ClassHyper(spec.weight_decay, spec.dropout, spec.layer_dropout, scale_of(lora))
    with on_processor():
        frozen, trained = parted(without_heads(params), config, lora, spec.seed)
        trained |= {"pool_weights": jnp.zeros((3 * config.n_embd, labels)), "pool_bias": jnp.zeros(labels)}
    with place.scope():
        beside, there = place.put(frozen), place.put(trained)
        progress = Progress(place.state(there, chain_of(hyper)), place.on_host(there), np.array([-1.0, -np.inf, 0]))
        start, loss = place.resume(progress, batches, run), math.nan
        log = TrainingLog(run.work / "checkpoints.jsonl")
        log.go_on_from(start)
        root = jax.random.key(spec.seed)
        for step in range(start, total):
            note = "compiling" if math.isnan(loss) else f"loss {loss:.3f}, dev macro-F1 {max(progress.score[0], 0):.3f}"
            place.tell(run, (step, total), note, progress, batches)
            peak = learning_rate(step, total, 1.0, 0.0, spec.warmup)
            rates = np.array([spec.lr * peak, spec.head_lr * peak], np.float32)
            batch, key = _arrays(train, batches, step), jax.random.fold_in(root, step)
            progress.state, value = place.step(progress.state, beside, batch, rates, key, config, hyper)
            loss = check_finite(float(value), step, spec.lr)
            if (step + 1) % every == 0 or step + 1 == total:
                whole = joined(beside, progress.state.params, hyper.lora_scale)
                now = np.array([*_dev_score(whole, config, dev, place.read), step + 1])
                if tuple(now[:2]) >= tuple(progress.score[:2]):
                    progress.best, progress.score = place.on_host(progress.state.params), now
                log.add(step + 1, loss=loss, lr=float(rates[0]), dev_macro_f1=float(now[0]))
            elif log.due(step + 1):
                log.add(step + 1, loss=loss, lr=float(rates[0]))
        place.close()
    log.keep(run.out / "training.jsonl")
    best, score = progress.best, progress.score
    seen = sum(len(train.ids[i]) for step in range(total) for i in batches.batch(step)[1])
    with on_processor():
        whole = without_heads(merged(frozen, best, hyper.lora_scale))
    return Trained(whole, best, _linear(best), total, seen, float(score[0]), int(score[2]))


def _arrays(train: Labelled, batches: Batches, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tokens, lengths, gold) of a step."""
    shape, some = batches.batch(step)
    tokens, lengths = padded([train.ids[i] for i in some], shape, batches.rows(shape))
    gold = np.zeros(len(lengths), np.int32)
    gold[: len(some)] = train.gold[some]
    return tokens, lengths, gold


def _dev_score(params: Params, config: Config, dev: Labelled, read: Read) -> tuple[float, float]:
    """(macro-F1, minus log loss); the same for all where there is no dev text, so that the last step is kept."""
    if not len(dev.gold):
        return 0.0, 0.0
    f1, loss = dev_scores(_linear(params).predict_proba(features(params, dev.ids, config, read=read)), dev.gold)
    return f1, -loss


def _linear(params: Params) -> LogisticHead:
    """The trained linear head in the form that classifiers keep."""
    weights, bias = (np.asarray(params[name]) for name in POOL_NAMES)
    ones = np.ones(len(weights), np.float32)
    return LogisticHead(0 * ones, ones, weights, bias, c=0.0)
