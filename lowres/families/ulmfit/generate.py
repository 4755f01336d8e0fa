"""Text from a language model, token by token."""

from pathlib import Path

import torch
from torch import Tensor

from lowres.errors import DataError
from lowres.families.ulmfit.models import MixedSequential
from lowres.families.ulmfit.saved import read_lm
from lowres.tokenizers.base import Tokenizer


class Generator:
    """A forward language model that continues a text."""

    def __init__(self, model: MixedSequential, tokenizer: Tokenizer):
        self.model, self.tokenizer = model, tokenizer

    @torch.no_grad()
    def generate(
        self, prompt: str, max_tokens: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        """The prompt (normalised already) and up to `max_tokens` more tokens, until a document ends.

        temperature 0: always the likeliest token. top_k: only the k likeliest (0: all); top_p: only the likeliest whose
        probabilities reach it together. The same seed gives the same text.
        """
        draws = torch.Generator().manual_seed(seed)
        ids = self.tokenizer.encode([prompt])[0] if prompt else []
        self.model.reset()
        scores = self._read([self.tokenizer.bos_id, *ids])
        for _ in range(max_tokens):
            chosen = pick(scores, temperature, top_k, top_p, draws)
            if chosen == self.tokenizer.bos_id:
                break
            ids.append(chosen)
            scores = self._read([chosen])
        return self.tokenizer.decode(ids)

    def _read(self, ids: list[int]) -> Tensor:
        """(vocabulary,) scores of the token after these; padding and <unk> are never chosen."""
        hidden = self.model(torch.tensor([ids]))[0]
        scores = self.model.decoder.scores(hidden[0, -1])
        for barred in (self.tokenizer.pad_id, self.tokenizer.unk_id):
            if barred is not None:
                scores[barred] = -torch.inf
        return scores


def pick(scores: Tensor, temperature: float, top_k: int, top_p: float, draws: torch.Generator) -> int:
    """One index of (vocabulary,) scores; see Generator.generate."""
    if temperature <= 0:
        return int(scores.argmax())
    values, order = (scores.double() / temperature).sort(descending=True, stable=True)
    if top_k > 0:
        values[top_k:] = -torch.inf
    shares = values.softmax(0)
    shares[shares.cumsum(0) - shares >= top_p] = 0
    return int(order[torch.multinomial(shares, 1, generator=draws)])


def load(path: Path) -> Generator:
    """The generator of a language model's folder. Raises DataError for a backward model."""
    model, config, tokenizer = read_lm(path)
    if config.direction == "backward":
        raise DataError(f"{path}: a backward language model cannot continue a text; name a forward one")
    return Generator(model, tokenizer)
