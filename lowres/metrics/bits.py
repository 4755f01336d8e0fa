"""Bits per byte: how language models with different tokenizers are compared.

The held-out documents are the same for every model, every document starts from an empty context, and every `<unk>` is
charged 8 bits for each UTF-8 byte it hides, on top of its own probability: a tokenizer that throws bytes away pays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lowres.artifacts import Corpus

BITS_PER_NAT = 1 / math.log(2)


@dataclass(frozen=True)
class HeldOutLoss:
    """What a model's evaluation adds up over the held-out documents.

    nats: sum of -log p over all text tokens (document markers not counted). tokens: those tokens. unknown_tokens,
    unknown_bytes: how many of them are <unk>, and the UTF-8 bytes those hide. text_bytes, words: of the texts.
    """

    nats: float
    tokens: int
    unknown_tokens: int
    unknown_bytes: int
    text_bytes: int
    words: int

    @property
    def bits_per_byte(self) -> float:
        """(nats in bits + 8 x hidden bytes) / text bytes."""
        return (self.nats * BITS_PER_NAT + 8 * self.unknown_bytes) / self.text_bytes

    def facts(self) -> dict[str, float]:
        """The figures of a language model's record."""
        return {
            "bits_per_byte": self.bits_per_byte,
            "nats_per_token": self.nats / self.tokens,
            "fertility": self.tokens / max(self.words, 1),
            "tokens_per_byte": self.tokens / self.text_bytes,
            "unknown_rate": self.unknown_tokens / self.tokens,
            "held_out_bytes": self.text_bytes,
        }


def held_out_texts(corpus: Corpus, max_bytes: int) -> list[str]:
    """Test documents of `corpus` in their stored order until `max_bytes` of UTF-8 are reached, at least one.

    The document that crosses the limit is the last one, whole.
    """
    texts, seen = [], 0
    for text in corpus.texts("test"):
        texts.append(text)
        seen += len(text.encode("utf-8"))
        if seen >= max_bytes:
            break
    return texts


def text_sizes(texts: Sequence[str]) -> tuple[int, int]:
    """(UTF-8 bytes, whitespace-separated words) of some texts."""
    return sum(len(text.encode("utf-8")) for text in texts), sum(len(text.split()) for text in texts)
