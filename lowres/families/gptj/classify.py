"""GPT-J as a text classifier: a softmax on the masked concat of last, max and mean hidden state."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from lowres.artifacts import Run, read_json, write_json
from lowres.families.gptj.checkpoints.configuration import read_config
from lowres.families.gptj.huggingface import read_params, save_lm
from lowres.families.gptj.model import MATRICES, Config, Params, hidden
from lowres.families.gptj.train import (
    State,
    applied,
    check_finite,
    learning_rate,
    load_state,
    optimiser,
    tell,
)
from lowres.tokenizers.base import Tokenizer, load_tokenizer
from lowres.training.checkpoint import Checkpoints
from lowres.training.classifier import TextPolicy
from lowres.training.head import LogisticHead, dev_scores, fit_head
from lowres.training.log import TrainingLog

SHORTEST = 32
"""Tokens of the smallest shape; shapes double up to the longest text, so few are compiled."""
BATCH_TOKENS = 2048
"""Tokens of a batch where nothing is trained."""
MOST_BATCH_TOKENS = 8192
"""Tokens of a training batch; of long texts fewer stand in a batch."""
DEV_CHECKS = 10
"""How often the dev texts are scored in training, at most."""
POOL_NAMES = ("pool_weights", "pool_bias")


@dataclass(frozen=True)
class Encoded:
    """Texts as ids, each with bos_id in front. cut: share of the tokens that max_tokens took away."""

    ids: tuple[np.ndarray, ...]
    cut: float

    @property
    def tokens(self) -> int:
        """All of them."""
        return sum(len(ids) for ids in self.ids)


def encode(texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> Encoded:
    """Tokenises texts, bos_id in front, and cuts them to max_tokens."""
    whole = [[tokenizer.bos_id, *ids] for ids in tokenizer.encode(list(texts))]
    kept = tuple(np.array(ids[:max_tokens], np.int32) for ids in whole)
    total = sum(len(ids) for ids in whole)
    return Encoded(kept, 1 - sum(len(ids) for ids in kept) / total if total else 0.0)


def shape_of(length: int, n_ctx: int) -> int:
    """Tokens a text of `length` is padded to: 32, 64, ... n_ctx, then n_ctx times 2, 4, 8, ..."""
    shape = min(SHORTEST, n_ctx)
    while shape < length:
        shape = min(2 * shape, n_ctx) if shape < n_ctx else 2 * shape
    return shape


def padded(ids: Sequence[np.ndarray], shape: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(tokens (rows, shape) int32, lengths (rows,) int32) of some texts; rows over and above have length 0."""
    tokens, lengths = np.zeros((rows, shape), np.int32), np.zeros(rows, np.int32)
    for row, text in enumerate(ids):
        tokens[row, : len(text)] = text
        lengths[row] = len(text)
    return tokens, lengths


def pooled(params: Params, tokens: Array, lengths: Array, config: Config, dropout: tuple[Array, float] | None) -> Array:
    """(texts, 3 D): the last, the greatest and the mean hidden state of each text, in float32.

    tokens: (texts, shape), shape at most n_ctx or a multiple of it; longer texts are read in windows of n_ctx, each
    from an empty context, and pooled over all of them. Padding counts nowhere (Howard and Ruder 2018, concat pooling).
    """
    texts, shape = tokens.shape
    lengths = jnp.maximum(lengths, 1)  # a row that only fills the batch: finite, so that its gradient is 0 and no NaN
    there = jnp.arange(shape)[None] < lengths[:, None]
    window = min(shape, config.n_ctx)
    windows = tokens.reshape(-1, window)
    states = hidden(params, windows, config, there.reshape(-1, window).astype(jnp.int32), dropout=dropout)
    states = states.reshape(texts, shape, -1)
    last = jnp.take_along_axis(states, lengths[:, None, None] - 1, axis=1)[:, 0]
    greatest = jnp.where(there[..., None], states, jnp.finfo(jnp.float32).min).max(axis=1)
    mean = (states * there[..., None]).sum(axis=1) / lengths[:, None]
    return jnp.concatenate([last, greatest, mean], axis=-1)


@partial(jax.jit, static_argnames=("config",))
def _features(params: Params, tokens: Array, lengths: Array, config: Config) -> Array:
    return pooled(params, tokens, lengths, config, None)


def features(params: Params, ids: Sequence[np.ndarray], config: Config, run: Run | None = None) -> np.ndarray:
    """(texts, 3 D) float32, in the texts' order. A text's row does not depend on the texts beside it."""
    result = np.zeros((len(ids), 3 * config.n_embd), np.float32)
    body = without_heads(params)
    by_shape: dict[int, list[int]] = {}
    for index, text in enumerate(ids):
        by_shape.setdefault(shape_of(len(text), config.n_ctx), []).append(index)
    done = 0
    for shape, indices in sorted(by_shape.items()):
        rows = max(BATCH_TOKENS // shape, 1)
        for start in range(0, len(indices), rows):
            some = indices[start : start + rows]
            tokens, lengths = padded([ids[i] for i in some], shape, rows)
            result[some] = np.asarray(_features(body, tokens, lengths, config))[: len(some)]
            done += len(some)
            if run is not None:
                run.progress(done, len(ids), "texts", "features")
    return result


def without_heads(params: Params) -> Params:
    """The weights below the language model's and the classifier's heads."""
    return {name: array for name, array in params.items() if name not in ("head", "head_bias", *POOL_NAMES)}


# --- the trained classifier ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GptjClassifier:
    """A classifier from its folder: weights below the head, the head, and how its input is prepared."""

    labels: tuple[str, ...]
    params: Params
    config: Config
    tokenizer: Tokenizer
    head: LogisticHead
    max_tokens: int

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, labels) float32, rows sum to 1."""
        ids = encode(texts, self.tokenizer, self.max_tokens).ids
        return self.head.predict_proba(features(self.params, ids, self.config))

    def save(self, folder: Path, policy: TextPolicy) -> None:
        """Writes all that `load` reads, and the text policy."""
        save_lm(folder, without_heads(self.params), self.config, self.tokenizer)
        self.head.save(folder)
        policy.write(folder)
        write_json(folder / "classifier.json", {"labels": list(self.labels), "max_tokens": self.max_tokens})


def load(folder: Path) -> GptjClassifier:
    """The classifier in a folder."""
    facts, config = read_json(folder / "classifier.json"), read_config(folder)
    params = {name: jnp.asarray(array) for name, array in read_params(folder, config, with_head=False).items()}
    tokenizer, head = load_tokenizer(folder / "tokenizer"), LogisticHead.load(folder)
    return GptjClassifier(tuple(facts["labels"]), params, config, tokenizer, head, facts["max_tokens"])


@dataclass(frozen=True)
class Labelled:
    """Encoded texts and their label indices (texts,)."""

    ids: tuple[np.ndarray, ...]
    gold: np.ndarray


# --- all weights -----------------------------------------------------------------------------------------------------


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
class FullHyper:
    """What the compiled step of fine-tuning depends on, beside the shapes."""

    weight_decay: float
    dropout: float
    layer_dropout: float


def class_loss(
    params: Params, tokens: Array, lengths: Array, gold: Array, key: Array, config: Config, hyper: FullHyper
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
    state: State, batch: tuple[Array, Array, Array], rates: Array, key: Array, config: Config, hyper: FullHyper
) -> tuple[State, Array]:
    """One step. batch: tokens, lengths, gold. rates: of the body and of the head."""
    loss, gradients = jax.value_and_grad(class_loss)(state.params, *batch, key, config, hyper)
    by_name = {name: rates[int(name in POOL_NAMES)] for name in state.params}
    chain = optimiser(hyper.weight_decay, 0.99, (*MATRICES, "pool_weights"))
    return applied(state, gradients, by_name, chain), loss


@dataclass(frozen=True)
class Trained:
    """Weights (with POOL_NAMES), steps taken, texts and tokens seen, and the dev scores of the step that was kept."""

    params: Params
    head: LogisticHead
    steps: int
    tokens_seen: int
    dev_macro_f1: float
    kept_step: int


def train_full(
    params: Params, config: Config, train: Labelled, dev: Labelled, labels: int, spec: Any, run: Run
) -> Trained:
    """Fine-tunes all weights with a linear head on pooled features and keeps the best of DEV_CHECKS looks at dev.

    params: without heads. spec: spec.ClassifierSpec. Goes on from the checkpoint in run.work, to the same weights.
    """
    batches = Batches.of(train.ids, config.n_ctx, spec.batch_size, spec.seed)
    total = max(round(spec.epochs * batches.count), spec.min_steps)
    every = math.ceil(total / DEV_CHECKS)
    hyper = FullHyper(spec.weight_decay, spec.dropout, spec.layer_dropout)
    width = 3 * config.n_embd
    params = without_heads(params) | {"pool_weights": jnp.zeros((width, labels)), "pool_bias": jnp.zeros(labels)}
    state = State(params, optimiser(spec.weight_decay, 0.99, (*MATRICES, "pool_weights")).init(params))
    best, score = jax.tree.map(np.array, params), np.array([-1.0, -np.inf, 0])  # copies: steps reuse the buffers
    checkpoints, start = Checkpoints(run.work / "checkpoints"), 0
    if saved := checkpoints.latest():
        start = saved[0]
        state, best, score = load_state(saved[1], (state, best, score))
    log = TrainingLog(checkpoints.folder.with_suffix(".jsonl"))
    log.go_on_from(start)
    root, loss = jax.random.key(spec.seed), math.nan
    for step in range(start, total):
        note = "compiling" if math.isnan(loss) else f"loss {loss:.3f}, dev macro-F1 {max(score[0], 0):.3f}"
        tell(run, checkpoints, (step, total), note, (state, best, score))
        peak = learning_rate(step, total, 1.0, 0.0, spec.warmup)
        rates = np.array([spec.lr * peak, spec.head_lr * peak], np.float32)
        batch = _arrays(train, batches, step)
        state, value = class_step(state, batch, rates, jax.random.fold_in(root, step), config, hyper)
        loss = check_finite(float(value), step, spec.lr)
        if (step + 1) % every == 0 or step + 1 == total:
            now = np.array([*_dev_score(state.params, config, dev), step + 1])
            if tuple(now[:2]) >= tuple(score[:2]):
                best, score = jax.tree.map(np.array, state.params), now
            log.add(step + 1, loss=loss, lr=float(rates[0]), dev_macro_f1=float(now[0]))
        elif log.due(step + 1):
            log.add(step + 1, loss=loss, lr=float(rates[0]))
    log.keep(run.out / "training.jsonl")
    seen = sum(len(train.ids[i]) for step in range(total) for i in batches.batch(step)[1])
    return Trained(best, _linear(best), total, seen, float(score[0]), int(score[2]))


def _arrays(train: Labelled, batches: Batches, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tokens, lengths, gold) of a step."""
    shape, some = batches.batch(step)
    tokens, lengths = padded([train.ids[i] for i in some], shape, batches.rows(shape))
    gold = np.zeros(len(lengths), np.int32)
    gold[: len(some)] = train.gold[some]
    return tokens, lengths, gold


def _dev_score(params: Params, config: Config, dev: Labelled) -> tuple[float, float]:
    """(macro-F1, minus log loss); the same for all where there is no dev text, so that the last step is kept."""
    if not len(dev.gold):
        return 0.0, 0.0
    f1, loss = dev_scores(_linear(params).predict_proba(features(params, dev.ids, config)), dev.gold)
    return f1, -loss


def _linear(params: Params) -> LogisticHead:
    """The trained linear head in the form that classifiers keep."""
    weights, bias = (np.asarray(params[name]) for name in POOL_NAMES)
    ones = np.ones(len(weights), np.float32)
    return LogisticHead(0 * ones, ones, weights, bias, c=0.0)


def train_head(params: Params, config: Config, train: Labelled, dev: Labelled, labels: int, run: Run) -> LogisticHead:
    """The logistic head on frozen features."""
    everything = features(params, (*train.ids, *dev.ids), config, run)
    n = len(train.ids)
    return fit_head(everything[:n], train.gold, everything[n:], dev.gold, labels)
