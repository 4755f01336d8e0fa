"""The settings of tokenizers and packed arrays, and their stages."""

from dataclasses import replace
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


class Words(Spec):
    """The recipe's `[words]`: whole words as tokens, with ULMFiT's rules."""

    vocab_size: int = Field(default=60000, ge=256)
    """The most frequent words, the ten marks among them; fewer where the corpus has fewer."""
    min_count: int = Field(default=2, ge=1)
    """Least occurrences of a word."""
    case_rules: bool = True
    """xxmaj and xxup. A word of several syllables keeps capitals that one mark does not give back: "Hà Nội"."""
    repetition_rules: bool = True
    """xxrep and xxwrep."""
    sample_bytes: int = 20_000_000
    """Words are counted in at most these bytes of the train split, drawn by a hash of the document."""


class WordTokenizerSpec(Spec):
    """What `train_word_tokenizer` is given beside the corpus and, if any, the segmenter."""

    words: Words
    language: str


class FertilitySpec(Spec):
    """Measuring has no settings: the tokenizer, the corpus and the segmenter decide."""


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
TRAIN_WORD_TOKENIZER = Stage(
    "train_word_tokenizer", 1, "segment", "lowres.tokenizers.stages:train_word_tokenizer", WordTokenizerSpec
)
MEASURE_FERTILITY = Stage(
    "measure_fertility", 1, "segment", "lowres.tokenizers.stages:measure_fertility", FertilitySpec
)
READ_GPT2_TOKENIZER = Stage("read_gpt2_tokenizer", 1, "data", "lowres.tokenizers.stages:read_gpt2_tokenizer", Gpt2Spec)
PACK_TOKENS = Stage("pack_tokens", 1, "data", "lowres.tokenizers.stages:pack_tokens", PackSpec)


def packed(corpus: Node, tokenizer: Node) -> Node:
    """The request for a corpus as packed token ids. Words may be told by torch, which the data worker never loads."""
    stage = replace(PACK_TOKENS, worker="segment") if tokenizer.stage is TRAIN_WORD_TOKENIZER else PACK_TOKENS
    return Node(stage, PackSpec(), {"corpus": corpus, "tokenizer": tokenizer})
