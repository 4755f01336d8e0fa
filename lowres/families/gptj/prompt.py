"""A classifier without training: the label whose words the language model finds likeliest behind the text.

Brown et al. 2020; log p for a UTF-8 byte of the word, so that long words and scripts of many bytes are not at a loss;
divided by the same for inputs without content (Zhao et al. 2021, contextual calibration).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from os.path import commonprefix
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lowres.artifacts import read_json, write_json
from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.families.gptj.cache import Cache, empty_cache, read_branches, read_on
from lowres.families.gptj.classify import BATCH_TOKENS
from lowres.families.gptj.data import shape_of
from lowres.families.gptj.huggingface import load_lm, save_lm
from lowres.families.gptj.model import Config, Params
from lowres.prompts import Prompt
from lowres.text.normalise import normalise
from lowres.tokenizers.base import Tokenizer
from lowres.training.calibration import tempered
from lowres.training.classifier import TextPolicy
from lowres.training.head import softmax

PROMPT_FILE = "prompt.json"
CONTENT_FREE = ("N/A", "[MASK]", "")
"""The inputs of Zhao et al. 2021."""
COLUMNS = 32
"""The cache grows by so many tokens, so that few sizes are compiled."""


@dataclass(frozen=True)
class Asked:
    """A text as it is put to the model. prefix: ids with bos_id in front. words: the ids of each word behind it.

    cut: tokens that its text lost because they did not fit.
    """

    prefix: tuple[int, ...]
    words: tuple[tuple[int, ...], ...]
    cut: int = 0

    @property
    def tokens(self) -> int:
        """All of them, the prefix once."""
        return len(self.prefix) + sum(map(len, self.words))


@dataclass(frozen=True)
class PromptClassifier:
    """A prompt, its examples and a language model. prior: log p of each label without content, or ()."""

    labels: tuple[str, ...]
    params: Params
    config: Config
    tokenizer: Tokenizer
    prompt: Prompt
    policy: TextPolicy
    shots: tuple[str, ...] = ()
    """Examples, written out; they stand before the text, a line break between them."""
    prior: tuple[float, ...] = ()
    temperature: float = 1.0

    @property
    def kind(self) -> TaskKind:
        """One label a text."""
        return "classification"

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Of all labels, in their order."""
        return tuple(word for label in self.labels for word in self.prompt.words(label))

    def write_out(self, text: str, label: str) -> str:
        """An example."""
        before, between, behind = self.prompt.parts
        return self._normal(f"{before}{text}{between}{self.prompt.words(label)[0]}{behind}")

    def ask(self, texts: Sequence[str]) -> list[Asked]:
        """Texts with examples and template around them; one that does not fit loses its end."""
        before, between, _ = self.prompt.parts
        start = "".join(f"{shot}\n" for shot in self.shots) + before
        asked = []
        for text in texts:
            found = self._encoded(start, text, between)
            whole = len(found.prefix)
            while text and len(found.prefix) + max(map(len, found.words)) > self.config.n_ctx:
                over = len(found.prefix) + max(map(len, found.words)) - self.config.n_ctx
                own = max(len(self.tokenizer.encode([text])[0]), 1)
                text = text[: min(int(len(text) * (1 - over / own)), len(text) - 1)] if over < own else ""
                found = self._encoded(start, text, between)
            if len(found.prefix) + max(map(len, found.words)) > self.config.n_ctx:
                raise DataError(
                    f"prompt {self.prompt.name!r} alone takes {found.tokens} tokens, and the model looks back "
                    f"{self.config.n_ctx}; write a shorter one, or raise lm.n_ctx"
                )
            asked.append(replace(found, cut=max(whole - len(found.prefix), 0)))
        return asked

    def _encoded(self, start: str, text: str, between: str) -> Asked:
        """The ids that all words share, and what is left of each: a piece may reach across the place of the label."""
        prefix = self._normal(f"{start}{text}{between}")
        alone, *wholes = self.tokenizer.encode(
            [prefix, *(self._normal(f"{start}{text}{between}{word}") for word in self.words)]
        )
        shared = len(commonprefix([alone, *wholes]))
        return Asked((self.tokenizer.bos_id, *alone[:shared]), tuple(tuple(whole[shared:]) for whole in wholes))

    def _normal(self, text: str) -> str:
        return normalise(text, self.policy.normalisation)

    def label_scores(self, asked: Sequence[Asked]) -> np.ndarray:
        """(texts, labels) float64: log of the mean over a label's words of p ** (1 / UTF-8 bytes)."""
        if not asked:
            return np.zeros((0, len(self.labels)))
        nats = word_nats(self.params, asked, self.config, self._spare())
        sizes = np.array([len(self._normal(word).encode("utf-8")) for word in self.words])
        scores, result = -nats.astype(np.float64) / sizes, np.zeros((len(asked), len(self.labels)))
        owners = np.array([place for place, label in enumerate(self.labels) for _ in self.prompt.words(label)])
        for place in range(len(self.labels)):
            own = scores[:, owners == place]
            result[:, place] = np.logaddexp.reduce(own, axis=1) - np.log(own.shape[1])
        return result

    def _spare(self) -> np.ndarray:
        """Of (V,), bool: padding and the rows beyond the tokenizer, which no text can go on with."""
        spare = np.arange(self.config.vocab_size) >= self.tokenizer.vocab_size
        spare[self.tokenizer.pad_id] |= self.tokenizer.pad_id != self.tokenizer.bos_id
        return spare

    def calibrated(self) -> "PromptClassifier":
        """With the prior of the inputs without content."""
        without = softmax(self.label_scores(self.ask(CONTENT_FREE))).astype(np.float64).mean(axis=0)
        return replace(self, prior=tuple(float(p) for p in np.log(np.maximum(without, 1e-30))))

    def probabilities(self, asked: Sequence[Asked]) -> np.ndarray:
        """(texts, labels) float32, rows sum to 1."""
        prior = np.array(self.prior or (0.0,) * len(self.labels))
        found = softmax(self.label_scores(asked) - prior)
        return tempered(found, self.temperature).astype(np.float32)

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, labels) float32, rows sum to 1."""
        return self.probabilities(self.ask(texts))

    def save(self, folder: Path) -> None:
        """Writes all that `load` reads, and the text policy."""
        save_lm(folder, self.params, self.config, self.tokenizer)
        self.policy.write(folder)
        kept = {name: getattr(self, name) for name in ("labels", "shots", "prior", "temperature")}
        write_json(folder / PROMPT_FILE, kept | {"prompt": self.prompt.model_dump(mode="json")})


def load(folder: Path) -> PromptClassifier:
    """The classifier in a folder."""
    facts = read_json(folder / PROMPT_FILE)
    arrays, config, tokenizer = load_lm(folder)
    return PromptClassifier(
        labels=tuple(facts["labels"]),
        params={name: jnp.asarray(array) for name, array in arrays.items()},
        config=config,
        tokenizer=tokenizer,
        prompt=Prompt.model_validate(facts["prompt"]),
        policy=TextPolicy.read(folder),
        shots=tuple(facts["shots"]),
        prior=tuple(facts["prior"]),
        temperature=facts["temperature"],
    )


# --- scoring ---------------------------------------------------------------------------------------------------------


def word_nats(params: Params, asked: Sequence[Asked], config: Config, banned: np.ndarray) -> np.ndarray:
    """-log p of every word behind its text, (texts, words) float32.

    What all prefixes begin with (examples, the template's beginning) is read once for all texts, a text's own part once
    for all words. banned: bool (V,), tokens that have no probability.
    """
    shared = len(commonprefix([one.prefix[:-1] for one in asked]))
    base = _read_base(params, asked[0].prefix[:shared], config) if shared else None
    longest = max(len(word) for one in asked for word in one.words)
    result = np.zeros((len(asked), len(asked[0].words)), np.float32)
    by_shape: dict[int, list[int]] = {}
    for index, one in enumerate(asked):
        by_shape.setdefault(shape_of(len(one.prefix) - shared, config.n_ctx), []).append(index)
    for shape, indices in sorted(by_shape.items()):
        rows = max(BATCH_TOKENS // shape, 1)
        for start in range(0, len(indices), rows):
            some = indices[start : start + rows]
            words = _words_of([asked[i] for i in some], rows, longest)
            size = _columns(shared + shape + words.shape[1] * (longest - 1))
            tokens, counts = np.zeros((rows, shape), np.int32), np.ones(rows, np.int32)
            for row, index in enumerate(some):
                own = asked[index].prefix[shared:]
                tokens[row, : len(own)], counts[row] = own, len(own)
            scores, cache = read_on(params, tokens, counts, _spread(base, config, rows, size), config)
            result[some] = np.asarray(_nats(params, scores, words, cache, banned, config))[: len(some)]
    return result


@partial(jax.jit, static_argnames=("config",))
def _nats(params: Params, first: Array, words: Array, cache: Cache, banned: Array, config: Config) -> Array:
    """(rows, words) of words (rows, words, time), filled with -1. first: the scores (rows, V) of their first token."""

    def log_p(scores: Array, tokens: Array) -> Array:
        scores = jnp.where(banned, -jnp.inf, scores)
        taken = jnp.take_along_axis(scores, jnp.maximum(tokens, 0)[..., None], axis=-1)[..., 0]
        return jnp.where(tokens >= 0, taken - jax.nn.logsumexp(scores, axis=-1), 0)

    nats = -log_p(first[:, None], words[:, :, 0])
    if words.shape[2] == 1:
        return nats
    later = read_branches(params, jnp.maximum(words[:, :, :-1], 0), cache, config)
    return nats - log_p(later, words[:, :, 1:]).sum(axis=-1)


def _words_of(asked: Sequence[Asked], rows: int, longest: int) -> np.ndarray:
    """(rows, words, longest) int32, filled with -1; rows over and above have no token."""
    words = np.full((rows, len(asked[0].words), longest), -1, np.int32)
    for row, one in enumerate(asked):
        for place, word in enumerate(one.words):
            words[row, place, : len(word)] = word
    return words


def _read_base(params: Params, ids: Sequence[int], config: Config) -> Cache:
    """The cache of one row that has read ids."""
    size = _columns(len(ids))
    tokens = np.zeros((1, size), np.int32)
    tokens[0, : len(ids)] = ids
    return read_on(params, tokens, np.array([len(ids)], np.int32), empty_cache(config, 1, size), config)[1]


def _spread(base: Cache | None, config: Config, rows: int, size: int) -> Cache:
    """A cache of `rows` rows and `size` tokens, each with what base has read."""
    empty = empty_cache(config, rows, size)
    if base is None:
        return empty
    kept = min(base.keys.shape[3], size)
    keys, values = (
        new.at[..., :kept, :].set(old[..., :kept, :])
        for new, old in ((empty.keys, base.keys), (empty.values, base.values))
    )
    return Cache(keys, values, jnp.repeat(base.lengths, rows))


def _columns(tokens: int) -> int:
    return -(-tokens // COLUMNS) * COLUMNS
