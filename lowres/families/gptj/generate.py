"""Text from a GPT-J: prompts are read once, then a token at a time, many texts at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lowres.errors import DataError
from lowres.families.gptj import cache, compiled, lanes, layered
from lowres.families.gptj.checkpoints.convert import raise_faults
from lowres.families.gptj.checkpoints.loading import arrays_of
from lowres.families.gptj.checkpoints.opening import open_checkpoint
from lowres.families.gptj.data import shape_of
from lowres.families.gptj.layered import Arrays, Layered, load_layered
from lowres.families.gptj.model import Config, Params
from lowres.kernels.load import Missing
from lowres.tokenizers.base import Tokenizer, load_tokenizer


@jax.jit
def next_tokens(scores: Array, settings: Array, seen: Array, banned: Array, keys: Array, step: Array | int) -> Array:
    """Draws one token a row from scores (rows, V), by the row's key and the step.

    settings: (temperature, top_k, top_p, repetition_penalty); temperature 0 takes the likeliest, top_k 0, top_p 1 and
    penalty 1 change nothing. seen: bool (rows, V), the tokens that stand in a row: their scores are divided by the
    penalty, or multiplied where they are negative (Keskar et al. 2019). banned: bool (V,). top_p keeps the likeliest
    tokens until their probabilities reach it (Holtzman et al. 2020), after top_k.
    """
    penalty = settings[3]
    scores = jnp.where(seen, jnp.where(scores > 0, scores / penalty, scores * penalty), scores)
    scores = jnp.where(banned, -jnp.inf, scores)
    # sorting 10,000 scores takes 2 ms a row on a CPU, as long as a small model's products
    return jax.lax.cond(settings[0] > 0, _drawn, _likeliest, scores, settings, keys, step)


def _likeliest(scores: Array, settings: Array, keys: Array, step: Array) -> Array:
    """The first of the greatest in each row."""
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def _drawn(scores: Array, settings: Array, keys: Array, step: Array) -> Array:
    """One of the likeliest in each row."""
    temperature, top_k, top_p, _ = settings
    order = jnp.argsort(-scores, axis=-1)
    ranked = jnp.take_along_axis(scores, order, axis=-1) / jnp.maximum(temperature, 1e-6)
    rank = jnp.arange(scores.shape[-1])
    ranked = jnp.where((top_k > 0) & (rank >= top_k), -jnp.inf, ranked)
    probabilities = jax.nn.softmax(ranked)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    ranked = jnp.where((before >= top_p) & (rank > 0), -jnp.inf, ranked)
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, step)
    places = jax.vmap(jax.random.categorical)(keys, ranked)
    return jnp.take_along_axis(order, places[:, None], axis=-1)[:, 0]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; see next_tokens. stop: a text ends before the first of these."""

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises DataError where a setting is out of range."""
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise DataError("temperature and top_k must not be negative, and top_p lies in (0, 1]")
        if self.repetition_penalty <= 0 or "" in self.stop:
            raise DataError("repetition_penalty must be over 0, and no stop text may be empty")

    def array(self) -> np.ndarray:
        """What next_tokens takes."""
        return np.array([self.temperature, self.top_k, self.top_p, self.repetition_penalty], np.float32)


class Reading(NamedTuple):
    """How params are read with: empty_cache and read_on of cache, layered or compiled."""

    empty_cache: Callable[[Config, int, int], Any]
    read_on: Callable[..., tuple[Any, Any]]


@dataclass(frozen=True)
class Generator:
    """A language model that writes."""

    params: Params | Layered
    config: Config
    tokenizer: Tokenizer
    reading: Reading = Reading(cache.empty_cache, cache.read_on)

    def generate(
        self,
        prompt: str,
        max_tokens: int = 100,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 0.95,
        seed: int = 0,
    ) -> str:
        """The prompt (normalised already) gone on with, until the document ends or max_tokens are written."""
        return self.generate_batch([prompt], max_tokens, Sampling(temperature, top_k, top_p), [seed])[0]

    def generate_batch(
        self, prompts: Sequence[str], max_tokens: int, sampling: Sampling, seeds: Sequence[int]
    ) -> list[str]:
        """The same of many prompts at once, each with its seed; what a row writes does not depend on the others.

        The model looks back at most n_ctx tokens. Where they are full it goes on from their last half.
        """
        starts = [[self.tokenizer.bos_id, *ids] for ids in self.tokenizer.encode(list(prompts))]
        texts = list(prompts)
        written = self.continuations(starts, max_tokens, sampling, seeds)
        for row, (start, new) in enumerate(zip(starts, written, strict=True)):
            texts[row] = self.tokenizer.decode([*start[1:], *new])
            places = [texts[row].find(stop, len(self.tokenizer.decode(start[1:]))) for stop in sampling.stop]
            texts[row] = texts[row][: min((place for place in places if place >= 0), default=None)]
        return texts

    def continuations(
        self, starts: Sequence[Sequence[int]], max_tokens: int, sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[int]]:
        """The new ids of each row, without the bos_id that ends it."""
        if not starts:
            return []
        rows, n_ctx = len(starts), self.config.n_ctx
        ids, ended = [list(start) for start in starts], np.zeros(rows, bool)
        keys = jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))
        seen, settings, banned = self._seen(ids), sampling.array(), self._banned()
        size = shape_of(min(max(map(len, ids)) + max_tokens, n_ctx), n_ctx)
        read = [row[-n_ctx:] for row in ids]
        scores, kept = self._read(read, size)
        for step in range(max_tokens):
            drawn = np.asarray(next_tokens(scores, settings, seen, banned, keys, step))
            for row, token in enumerate(drawn):
                ended[row] |= token == self.tokenizer.bos_id
                if not ended[row]:
                    ids[row].append(int(token))
                    seen[row, token] = True
                    ended[row] |= self._stops(ids[row][len(starts[row]) :], sampling.stop)
            if ended.all() or step + 1 == max_tokens:
                break
            read = [[*row, int(token)] for row, token in zip(read, drawn, strict=True)]
            if max(map(len, read)) <= size:
                one = np.ones(rows, np.int32)
                scores, kept = self.reading.read_on(self.params, drawn[:, None], one, kept, self.config)
            else:  # size is n_ctx then
                read = [row[-(n_ctx // 2) :] if len(row) > size else row for row in read]
                scores, kept = self._read(read, size)
        return [row[len(start) :] for row, start in zip(ids, starts, strict=True)]

    def _read(self, rows: Sequence[Sequence[int]], size: int) -> tuple[Any, Any]:
        """Reads rows of ids from an empty context: (scores, cache)."""
        counts = np.array([len(row) for row in rows], np.int32)
        tokens = np.zeros((len(rows), min(shape_of(int(counts.max()), size), size)), np.int32)
        for place, row in enumerate(rows):
            tokens[place, : len(row)] = row
        empty = self.reading.empty_cache(self.config, len(rows), size)
        return self.reading.read_on(self.params, tokens, counts, empty, self.config)

    def _stops(self, new: list[int], stop: tuple[str, ...]) -> bool:
        """Whether what is written holds one of `stop`."""
        text = self.tokenizer.decode(new) if stop else ""
        return any(one in text for one in stop)

    def _seen(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        seen = np.zeros((len(rows), self.config.vocab_size), bool)
        for place, row in enumerate(rows):
            seen[place, list(row)] = True
        return seen

    def _banned(self) -> np.ndarray:
        """Padding, <unk> and the spare rows beyond the tokenizer: never drawn."""
        banned = np.arange(self.config.vocab_size) >= self.tokenizer.vocab_size
        for token in {self.tokenizer.pad_id, self.tokenizer.unk_id} - {None, self.tokenizer.bos_id}:
            banned[token] = True
        return banned


def load(folder: Path, int8: bool = False) -> Generator:
    """The language model in a folder, ready to write; int8: its matrices in 8 bits."""
    return load_any(str(folder), None, int8)


def load_any(
    source: str, config: Path | None = None, int8: bool = False, offload: Literal["host"] | None = None
) -> Generator:
    """A language model in any layout that can be read, with `tokenizer/` or GPT-2's vocab.json and merges.txt.

    int8: matrices of 8 bits, rounded one at a time while they are read. offload "host": layers stay in the host's
    memory, as they are stored or in 8 bits, and are sent to the device one after another.
    """
    found = open_checkpoint(source, config)
    raise_faults(found.faults)
    tokenizer = _tokenizer(Path(source))
    if tokenizer.vocab_size > found.config.vocab_size:
        raise DataError(f"{source}: {found.config.vocab_size} embeddings and a tokenizer of {tokenizer.vocab_size} ids")
    if not int8 and offload is None and not _on_cpu():
        arrays = arrays_of(found.tensors, found.config, source)
        return Generator({name: jnp.asarray(array) for name, array in arrays.items()}, found.config, tokenizer)
    keep, reading = layered_reading(int8, offload)
    return Generator(load_layered(found.tensors, found.config, source, int8, keep), found.config, tokenizer, reading)


def layered_reading(int8: bool, offload: str | None) -> tuple[Callable[[str, Arrays], Arrays], Reading]:
    """(where arrays of layers are kept, how they are read with): by the compiled kernels on a CPU that has them."""
    on_device = Reading(layered.empty_cache, layered.read_on)
    if offload is not None:
        return layered.keep_on_host, on_device
    if _on_cpu() and not isinstance(lanes.kernels(), Missing):
        return compiled.keep, Reading(compiled.empty_cache, compiled.read_on)
    return layered.keep_on_device if int8 else layered.keep_wide, on_device


def _on_cpu() -> bool:
    """Whether JAX computes on a processor; there a scan over layers copies each one's matrices for every token."""
    return jax.local_devices()[0].platform == "cpu"


def _tokenizer(folder: Path) -> Tokenizer:
    if (folder / "tokenizer").is_dir():
        return load_tokenizer(folder / "tokenizer")
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        from lowres.tokenizers.gpt2 import Gpt2Tokenizer

        return Gpt2Tokenizer((folder / "vocab.json").read_bytes(), (folder / "merges.txt").read_bytes())
    raise DataError(f"{folder}: no tokenizer/ of lowres in it, nor vocab.json and merges.txt of GPT-2")
