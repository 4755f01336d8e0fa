"""GPT-J as a text classifier: a softmax on the masked concat of last, max and mean hidden state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lowres.artifacts import Run, read_json, write_json
from lowres.cards import TaskKind
from lowres.families.gptj.checkpoints.configuration import read_config
from lowres.families.gptj.data import shape_of
from lowres.families.gptj.huggingface import read_params, save_lm
from lowres.families.gptj.model import Config, Params, hidden
from lowres.tokenizers.base import Tokenizer, load_tokenizer
from lowres.training.classifier import TextPolicy
from lowres.training.head import LogisticHead, fit_head

BATCH_TOKENS = 2048
"""Tokens of a batch where nothing is trained."""
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


Read = Callable[[Params, np.ndarray, np.ndarray, Config], Any]
"""(params, tokens (texts, shape), lengths (texts,), config) -> the pool of each text (texts, 3 D)."""


@partial(jax.jit, static_argnames=("config",))
def read_here(params: Params, tokens: Array, lengths: Array, config: Config) -> Array:
    """The pool without dropout, on one device."""
    return pooled(params, tokens, lengths, config, None)


def features(
    params: Params, ids: Sequence[np.ndarray], config: Config, run: Run | None = None, read: Read = read_here
) -> np.ndarray:
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
            result[some] = np.asarray(read(body, tokens, lengths, config))[: len(some)]
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
    read: Read = read_here

    @property
    def kind(self) -> TaskKind:
        """One label a text; spec.FAMILY declares no other kind."""
        return "classification"

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, labels) float32, rows sum to 1."""
        ids = encode(texts, self.tokenizer, self.max_tokens).ids
        return self.head.predict_proba(features(self.params, ids, self.config, read=self.read))

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


def train_head(
    params: Params, config: Config, train: Labelled, dev: Labelled, labels: int, run: Run, read: Read = read_here
) -> LogisticHead:
    """The logistic head on frozen features."""
    everything = features(params, (*train.ids, *dev.ids), config, run, read)
    n = len(train.ids)
    return fit_head(everything[:n], train.gold, everything[n:], dev.gold, labels)
