"""Text from a GPT-J: one compiled step on a buffer of fixed size, so nothing recompiles as the text grows."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lowres.errors import DataError
from lowres.families.gptj.huggingface import load_lm
from lowres.families.gptj.model import Config, Params, hidden, logits
from lowres.tokenizers.base import Tokenizer


@partial(jax.jit, static_argnames=("config",))
def next_token(
    params: Params, buffer: Array, length: Array, settings: Array, banned: Array, key: Array, config: Config
) -> Array:
    """Draws the token after the first `length` of buffer (n_ctx,).

    settings: (temperature, top_k, top_p); temperature 0 takes the likeliest, top_k 0 and top_p 1 cut nothing. banned:
    bool (V,). top_p keeps the likeliest tokens until their probabilities reach it (Holtzman et al. 2020), after top_k.
    """
    temperature, top_k, top_p = settings
    state = hidden(params, buffer[None], config)[0, length - 1]
    scores = jnp.where(banned, -jnp.inf, logits(params, state))
    order = jnp.argsort(-scores)
    ranked = scores[order] / jnp.maximum(temperature, 1e-6)
    rank = jnp.arange(len(ranked))
    ranked = jnp.where((top_k > 0) & (rank >= top_k), -jnp.inf, ranked)
    probabilities = jax.nn.softmax(ranked)
    before = jnp.cumsum(probabilities) - probabilities
    ranked = jnp.where((before >= top_p) & (rank > 0), -jnp.inf, ranked)
    return order[jnp.where(temperature > 0, jax.random.categorical(key, ranked), 0)]


@dataclass(frozen=True)
class Generator:
    """A language model that writes."""

    params: Params
    config: Config
    tokenizer: Tokenizer

    def generate(
        self,
        prompt: str,
        max_tokens: int = 100,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 0.95,
        seed: int = 0,
    ) -> str:
        """The prompt (normalised already) gone on with, until the document ends or max_tokens are written.

        The model looks back n_ctx tokens. The same arguments give the same text.
        """
        if temperature < 0 or top_k < 0 or not 0 < top_p <= 1:
            raise DataError("temperature and top_k must not be negative, and top_p lies in (0, 1]")
        start = [self.tokenizer.bos_id, *self.tokenizer.encode([prompt])[0]]
        ids, key = list(start), jax.random.key(seed)
        settings = np.array([temperature, top_k, top_p], np.float32)
        for step in range(max_tokens):
            recent = ids[-self.config.n_ctx :]
            buffer = np.zeros(self.config.n_ctx, np.int32)
            buffer[: len(recent)] = recent
            drawn = next_token(
                self.params, buffer, len(recent), settings, self._banned(), jax.random.fold_in(key, step), self.config
            )
            if int(drawn) == self.tokenizer.bos_id:
                break
            ids.append(int(drawn))
        return self.tokenizer.decode(ids[1:])

    def _banned(self) -> np.ndarray:
        """Padding, <unk> and the spare rows beyond the tokenizer: never drawn."""
        banned = np.arange(self.config.vocab_size) >= self.tokenizer.vocab_size
        for token in {self.tokenizer.pad_id, self.tokenizer.unk_id} - {None, self.tokenizer.bos_id}:
            banned[token] = True
        return banned


def load(folder: Path, int8: bool = False) -> Generator:
    """The language model in a folder, ready to write. Raises DataError for int8."""
    if int8:
        raise DataError(f"{folder}: a GPT-J, which generates in float32; leave --int8 out")
    params, config, tokenizer = load_lm(folder)
    return Generator({name: jnp.asarray(array) for name, array in params.items()}, config, tokenizer)
