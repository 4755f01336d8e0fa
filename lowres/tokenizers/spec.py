"""The settings of tokenizers and packed arrays, and their stages."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lowres.artifacts import Node, Spec, Stage
from lowres.errors import DataError
from lowres.fingerprint import added_later, file_sha256
from lowres.tokenizers.definition import Definition, Named, files_at, find_roles, special_names

LEAST_PIECES = 256
CANNOT_DRAW = "cuts a text in one way alone; set subword_sampling to 0, or take the SentencePiece of the corpus"
"""Said of every tokenizer but "subword"."""


class Subword(Spec):
    """SentencePiece with ULMFiT's rules in front."""

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


class TokenizerSettings(Subword):
    """The recipe's `[tokenizer]`: one that is learnt from the corpus, or one that exists."""

    kind: Literal["sentencepiece", "hf"] = "sentencepiece"
    """"sentencepiece": learnt from the corpus, by the settings of Subword. "hf": the `tokenizer.json` at `path`."""
    path: str | None = None
    """"hf": a `tokenizer.json`, or a folder with it and with the files that name its special tokens."""
    bos: str | None = None
    """"hf": the token that starts a document. Unset: as its files say."""
    pad: str | None = None
    """"hf": the token that fills batches. Unset: as its files say."""
    unk: str | None = None
    """"hf": the token that stands for what has no piece. Unset: what its model writes."""
    new_pad: bool = False
    """"hf": batches are filled with an id of its own behind all others."""

    @model_validator(mode="after")
    def _no_setting_is_idle(self) -> Self:
        learnt, given = set(Subword.model_fields), set(TokenizerSettings.model_fields) - set(Subword.model_fields)
        idle = self.model_fields_set & (learnt if self.kind == "hf" else given - {"kind"})
        if idle:
            raise ValueError(f'{sorted(idle)[0]} has no effect where tokenizer.kind is "{self.kind}"; leave it out')
        if self.kind == "hf" and self.path is None:
            raise ValueError('tokenizer.kind is "hf" and there is no path; name a tokenizer.json, or a folder with it')
        if self.new_pad and self.pad is not None:
            raise ValueError("pad names a token and new_pad asks for another; leave one of them out")
        return self


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
    """What is measured: the tokenizer, the corpus and the segmenter decide the rest."""

    segmented: bool = added_later(True, neutral=True)
    """Whether words are also told as the recipe's `segment` tells them."""


class Gpt2Spec(Spec):
    """GPT-2's byte-level BPE from its two files."""

    encoder_sha256: str
    merges_sha256: str

    def raw_files(self) -> tuple[str, ...]:
        """The vocabulary and the merges."""
        return self.encoder_sha256, self.merges_sha256


class HfSpec(Spec):
    """A `tokenizer.json` by checksum, and which of its tokens serve as what. `path` says where and is not hashed."""

    path: str
    sha256: str
    bos: str
    pad: str | None
    """None: an id of its own behind all others."""
    unk: str | None
    """None: nothing is unknown."""

    def hashed(self) -> dict[str, Any]:
        """The checksum names the file, not the place."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name != "path"}


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
READ_HF_TOKENIZER = Stage("read_hf_tokenizer", 1, "data", "lowres.tokenizers.stages:read_hf_tokenizer", HfSpec)
PACK_TOKENS = Stage("pack_tokens", 1, "data", "lowres.tokenizers.stages:pack_tokens", PackSpec)


def hf_tokenizer(settings: TokenizerSettings) -> Node:
    """The request for the tokenizer that exists at `settings.path`. Raises DataError where it cannot serve."""
    file, beside = files_at(Path(str(settings.path)))
    named = Named(settings.bos, settings.pad, settings.unk, settings.new_pad)
    stamps = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in (file, *beside))
    return _hf_request(stamps, named)


@lru_cache(maxsize=16)
def _hf_request(stamps: tuple[tuple[Path, int, int], ...], named: Named) -> Node:
    """stamps: tokenizer.json and the files beside it, each with what changes when it does."""
    file, *beside = (path for path, _, _ in stamps)
    definition = Definition(file.read_bytes(), str(file))
    if len(definition.ids) < LEAST_PIECES:
        raise DataError(f"{file}: a tokenizer of {len(definition.ids)} pieces; at least {LEAST_PIECES} are needed")
    roles = find_roles(definition, special_names(beside, named), named)
    spec = HfSpec(path=str(file.resolve()), sha256=file_sha256(file), bos=roles.bos, pad=roles.pad, unk=roles.unk)
    return Node(READ_HF_TOKENIZER, spec)


def fertility(tokenizer: Node, corpus: Node, segmenter: Node | None, *, segmented: bool) -> Node:
    """The request for a tokenizer's measurement on a corpus; the data worker never loads what tells words."""
    inputs = {"corpus": corpus, "tokenizer": tokenizer} | ({"segmenter": segmenter} if segmenter else {})
    stage = MEASURE_FERTILITY if segmented else replace(MEASURE_FERTILITY, worker="data")
    return Node(stage, FertilitySpec(segmented=segmented), inputs)


def packed(corpus: Node, tokenizer: Node) -> Node:
    """The request for a corpus as packed token ids. Words may be told by torch, which the data worker never loads."""
    stage = replace(PACK_TOKENS, worker="segment") if tokenizer.stage is TRAIN_WORD_TOKENIZER else PACK_TOKENS
    return Node(stage, PackSpec(), {"corpus": corpus, "tokenizer": tokenizer})
