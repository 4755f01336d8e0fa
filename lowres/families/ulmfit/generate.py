"""Text from a language model, token by token, in plain torch without fastai."""

from pathlib import Path

import torch
from torch import Tensor

from lowres.errors import DataError
from lowres.families.ulmfit.config import LmConfig, read_config
from lowres.families.ulmfit.inference import TorchEncoder, matrix_product
from lowres.families.ulmfit.quantised import quantised
from lowres.families.ulmfit.tensors import below, read_tensors
from lowres.tokenizers.base import Tokenizer, load_tokenizer


class Generator:
    """A forward language model that continues a text. weights: its tensors by name, float32, or int8 with `.scale`."""

    def __init__(self, config: LmConfig, weights: dict[str, Tensor], tokenizer: Tokenizer):
        encoder = below(weights, "0.")
        self.encoder, self.tokenizer = TorchEncoder(config, encoder), tokenizer
        self._scores = matrix_product(encoder, "encoder.weight", weights["1.decoder.bias"])

    @torch.inference_mode()
    def generate(
        self, prompt: str, max_tokens: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        """The prompt (normalised already) and up to `max_tokens` more tokens, until a document ends.

        temperature 0: always the likeliest token. top_k: only the k likeliest (0: all); top_p: only the likeliest whose
        probabilities reach it together. The same seed gives the same text.
        """
        draws = torch.Generator().manual_seed(seed)
        ids = self.tokenizer.encode([prompt])[0] if prompt else []
        states, read = self.encoder.start(1), [self.tokenizer.bos_id, *ids]
        for _ in range(max_tokens):
            hidden, states = self.encoder.read(torch.tensor([read]), states)
            chosen = pick(self.scores(hidden[:, -1]), temperature, top_k, top_p, draws)
            if chosen == self.tokenizer.bos_id:
                break
            ids.append(chosen)
            read = [chosen]
        return self.tokenizer.decode(ids)

    def scores(self, hidden: Tensor) -> Tensor:
        """(1, width) -> (vocabulary,) scores of the next token; padding and <unk> are never chosen."""
        scores = self._scores(hidden)[0]
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


def load(path: Path, int8: bool = False) -> Generator:
    """The generator of a language model's folder. int8: its matrices are rounded to 8 bits, which is faster.

    Raises DataError for a backward model.
    """
    config, tokenizer = read_config(path), load_tokenizer(path / "tokenizer")
    if config.direction == "backward":
        raise DataError(f"{path}: a backward language model cannot continue a text; name a forward one")
    weights = read_tensors(path / "model.safetensors")
    return Generator(config, quantised(weights) if int8 else weights, tokenizer)
