"""The settings of tokenizers and packed arrays, and their stages."""

from typing import Literal

from pydantic import Field

from lowres.artifacts import Node, Spec, Stage


class Subword(Spec):
    """The recipe's `[tokenizer]`: SentencePiece with ULMFiT's rules in front."""

    model: Literal["unigram", "bpe"] = "unigram"
    vocab_size: int = Field(default=8000, ge=256, le=65000)
    character_coverage: float = Field(default=0.9995, gt=0.9, le=1.0)
    byte_fallback: bool = False
    case_rules: bool = True
    """xxmaj and xxup, Unicode-correct and reversible: a word is marked only where the mark gives it back exactly."""
    repetition_rules: bool = True
    """xxrep (a character four times or more) and xxwrep (a word four times or more), reversible."""
    sample_bytes: int = 20_000_000
    """SentencePiece learns from at most these bytes of the train split, drawn by a hash of the document."""


class TokenizerSpec(Spec):
    """What `train_tokenizer` is given beside the corpus."""

    subword: Subword
    language: str


class Gpt2Spec(Spec):
    """GPT-2's byte-level BPE from its two files."""

    encoder_sha256: str
    merges_sha256: str

    def raw_files(self) -> tuple[str, ...]:
        """The vocabulary and the merges."""
        return self.encoder_sha256, self.merges_sha256


class PackSpec(Spec):
    """Packing has no settings of its own: the tokenizer and the corpus decide."""


TRAIN_TOKENIZER = Stage("train_tokenizer", 1, "data", "lowres.tokenizers.stages:train_tokenizer", TokenizerSpec)
READ_GPT2_TOKENIZER = Stage("read_gpt2_tokenizer", 1, "data", "lowres.tokenizers.stages:read_gpt2_tokenizer", Gpt2Spec)
PACK_TOKENS = Stage("pack_tokens", 1, "data", "lowres.tokenizers.stages:pack_tokens", PackSpec)


def packed(corpus: Node, tokenizer: Node) -> Node:
    """The request for a corpus as packed token ids."""
    return Node(PACK_TOKENS, PackSpec(), {"corpus": corpus, "tokenizer": tokenizer})
