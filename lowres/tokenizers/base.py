"""What every tokenizer offers, and the one way to load one from an artifact or a model's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from lowres.artifacts import read_json
from lowres.errors import DataError
from lowres.tokenizers.sampling import Sampler
from lowres.tokenizers.spec import CANNOT_DRAW, LEAST_PIECES


class Tokenizer(Protocol):
    """Text to ids and back. Texts are normalised already (lowres.text.normalise).

    vocab_size counts every id. bos_id starts a document (for GPT-2: <|endoftext|>); pad_id fills batches; unk_id is
    None where nothing is unknown (byte-level).
    """

    vocab_size: int
    bos_id: int
    pad_id: int
    unk_id: int | None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without bos."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids; special tokens leave nothing.

        The inverse of encode wherever nothing is unknown.
        """
        ...

    def unknown_bytes(self, text: str) -> int:
        """UTF-8 bytes of `text` that its <unk>s hide."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the files that load_tokenizer reads."""
        ...


@runtime_checkable
class DrawsSubwords(Protocol):
    """A tokenizer that can cut a text in other ways than its best one."""

    def sampler(self, alpha: float) -> Sampler:
        """What draws them; see lowres.tokenizers.sampling."""
        ...


@runtime_checkable
class HasSurfaces(Tokenizer, Protocol):
    """A tokenizer that says what bytes each of its pieces stands for."""

    @property
    def surfaces(self) -> list[bytes | None]:
        """Of every id, a space before a word with it; None for controls and marks."""
        ...

    def cut(self, text: str) -> list[int]:
        """The pieces of a text as it stands: no rules, no space added."""
        ...


def sampler_of(tokenizer: Tokenizer, alpha: float) -> Sampler | None:
    """The sampler of a tokenizer; None with alpha 0. Raises DataError where it cannot draw."""
    if not alpha:
        return None
    if not isinstance(tokenizer, DrawsSubwords):
        raise DataError(f"subword_sampling is {alpha:g}, and a {type(tokenizer).__name__} {CANNOT_DRAW}")
    return tokenizer.sampler(alpha)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in `folder` (`lowres_tokenizer.json` says which kind: "subword", "word", "gpt2", "hf" or
    "fastai").

    Raises DataError where there is none, or where it has fewer than 256 pieces: transformers has been seen to return a
    one-token tokenizer, without a word, for files it could not find.
    """
    path = folder / "lowres_tokenizer.json"
    if not path.is_file():
        raise DataError(f"{folder}: no lowres_tokenizer.json there; train a tokenizer, or name a folder that holds one")
    kind = read_json(path)["kind"]
    if kind == "subword":
        from lowres.tokenizers.subword import SubwordTokenizer

        tokenizer: Tokenizer = SubwordTokenizer.load(folder)
    elif kind == "gpt2":
        from lowres.tokenizers.gpt2 import Gpt2Tokenizer

        tokenizer = Gpt2Tokenizer.load(folder)
    elif kind == "hf":
        from lowres.tokenizers.huggingface import HfTokenizer

        tokenizer = HfTokenizer.load(folder)
    elif kind == "word":
        from lowres.tokenizers.words import WordTokenizer

        tokenizer = WordTokenizer.load(folder)
    elif kind == "fastai":
        from lowres.tokenizers.fastai import FastaiTokenizer

        tokenizer = FastaiTokenizer.load(folder)
    else:
        raise DataError(f"{path}: kind is {kind!r}; it must be 'subword', 'word', 'gpt2', 'hf' or 'fastai'")
    if tokenizer.vocab_size < LEAST_PIECES:
        raise DataError(f"{folder}: a tokenizer of {tokenizer.vocab_size} pieces; at least {LEAST_PIECES} are needed")
    return tokenizer
