"""Vocabularies of models that fastai trained: its text rules, a SentencePiece model, and a list of pieces of its own.

These rules lose text (capitals within words, some white space), so decode is no inverse; models of ours use
lowres.tokenizers.subword. They are here as they are, faults included, because a model reads nothing else well: case
rules know ASCII alone in fastai 2, and `xxbos`, `xxmaj` stand in the vocabulary twice, the second time as pieces.
"""

import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import sentencepiece

from lowres.artifacts import read_json, write_json
from lowres.errors import DataError
from lowres.tokenizers.rules import SPACE_SYMBOL

UNK, PAD, BOS, EOS, FLD, REP, WREP, UP, MAJ = (
    "xxunk xxpad xxbos xxeos xxfld xxrep xxwrep xxup xxmaj".split()
)  # fmt: skip
_SILENT = {UNK: "\ufffd", PAD: "", BOS: "", EOS: "", FLD: ""}
_MODEL_FILE, _VOCABULARY_FILE, _ABOUT_FILE = "spm.model", "vocabulary.json", "lowres_tokenizer.json"

_ENTITIES = (
    ("#39;", "'"), ("amp;", "&"), ("#146;", "'"), ("nbsp;", " "), ("#36;", "$"), ("\\n", "\n"), ("quot;", "'"),
    ("<br />", "\n"), ('\\"', '"'), ("<unk>", UNK), (" @.@ ", "."), (" @-@ ", "-"),
)  # fmt: skip
"""Remains of HTML and of the Moses tokenizer, in the order in which fastai replaces them."""
_TWO_SPACES = re.compile(" {2,}")


@dataclass(frozen=True)
class FastaiRules:
    """Which rules a vocabulary was made with.

    version: of fastai (2 stands for every later one). fields: texts begin with `xxfld 1`, as MultiFiT's do. moses: the
    Moses tokenizer of `language` (ISO 639-1) comes first, as in MultiFiT; it needs sacremoses.
    """

    version: Literal[1, 2]
    fields: bool = False
    moses: bool = False
    language: str = "en"

    def apply(self, text: str) -> str:
        """What SentencePiece is given, without `xxbos`."""
        if self.version == 2:
            return _rules_of_fastai_2(text)
        marked = f"{FLD} 1 {text}" if self.fields else text
        return _rules_of_fastai_1(_moses(self.language)(marked) if self.moses else marked)


def _rules_of_fastai_2(text: str) -> str:
    """fastai.text.core's default rules: entities, repetitions, spaces, capitals, lower case."""
    for old, new in (*_ENTITIES, ("...", " …")):
        text = text.replace(old, new)
    text = html.unescape(text)
    text = re.sub(r"(\S)(\1{2,})", lambda m: f" {REP} {len(m[0])} {m[1]} ", text)
    text = re.sub(
        r"(?:\s|^)(\w+)\s+((?:\1\s+)+)\1(\s|\W|$)", lambda m: f" {WREP} {len(m[2].split()) + 2} {m[1]} {m[3]}", text
    )
    text = _TWO_SPACES.sub(" ", re.sub(r"([/#\\])", r" \1 ", text))

    def lowered(mark: str) -> Callable[[re.Match[str]], str]:
        return lambda m: f"{m[1]}{f'{mark} ' if len(m[2]) > 1 else ''}{m[2].lower()}"

    text = re.sub(r"(\s|^)([A-Z]+[^a-z\s]*)(?=(\s|$))", lowered(UP), text)
    text = re.sub(r"(\s|^)([A-Z][^A-Z\s]*)(?=(\s|$))", lowered(MAJ), text)
    return text.lower().strip()


def _rules_of_fastai_1(text: str) -> str:
    """The rules of fastai 1.0.5x before and behind a split at white space."""
    text = text.strip(" ")
    for old, new in (*_ENTITIES, (" @,@ ", ","), ("\\", " \\ ")):
        text = text.replace(old, new)
    text = _TWO_SPACES.sub(" ", html.unescape(text))
    text = re.sub(r"(\S)(\1{3,})", lambda m: f" {REP} {len(m[0])} {m[1]} ", text)
    text = re.sub(r"(\b\w+\W+)(\1{3,})", lambda m: f" {WREP} {len(m[2].split()) + 1} {m[1]} ", text)
    words: list[str] = []
    for word in re.sub(r"([/#\n])", r" \1 ", text).split():
        if word.isupper() and len(word) > 1:
            words.append(UP)
        elif word[0].isupper() and word[1:].islower():
            words.append(MAJ)
        words.append(word.lower())
    return " ".join(words)


@lru_cache(maxsize=4)
def _moses(language: str) -> Callable[[str], str]:
    """The Moses tokenizer, as MultiFiT calls it. Raises DataError where sacremoses is not installed."""
    try:
        from sacremoses import MosesTokenizer  # type: ignore[import-not-found]
    except ImportError as error:
        raise DataError("MultiFiT's texts go through the Moses tokenizer: pip install 'lowres[multifit]'") from error
    tokenizer = MosesTokenizer(language)
    return lambda text: str(tokenizer.tokenize(text, return_str=True, escape=True))


class FastaiTokenizer:
    """See lowres.tokenizers.base.Tokenizer, but for decode: it gives back what the rules left of a text.

    model: the bytes of a SentencePiece model; vocabulary: the piece of each id. DataError where they do not fit.
    """

    def __init__(self, model: bytes, vocabulary: Sequence[str], rules: FastaiRules):
        self.model, self.rules, self.pieces = model, rules, list(vocabulary)
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise DataError(f"not a SentencePiece model ({error}); name the vocabulary's spm.model") from error
        self._place = {piece: k for k, piece in reversed(list(enumerate(self.pieces)))}
        own = [self._processor.id_to_piece(k) for k in range(self._processor.vocab_size())]
        missing = [piece for piece in own if piece not in self._place]
        if len(missing) > len(own) / 2:
            raise DataError(
                f"{len(missing)} of {len(own)} pieces of spm.model, such as {missing[-1]!r}, are not in the "
                "vocabulary; the two belong to different models"
            )
        self.vocab_size: int = len(self.pieces)
        self.unk_id: int | None = self._id(("<unk>", UNK) if rules.version == 1 else (UNK, "<unk>"))
        self.bos_id: int = self._id((SPACE_SYMBOL + BOS, BOS))
        self.pad_id: int = self._id((PAD, SPACE_SYMBOL + PAD))

    def _id(self, names: Sequence[str]) -> int:
        found = next((self._place[name] for name in names if name in self._place), None)
        if found is None:
            raise DataError(f"the vocabulary has no {names[-1]}; it is not one of fastai")
        return found

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without bos."""
        spelt = [self.rules.apply(text) for text in texts]
        pieces = self._processor.encode(spelt, out_type=str, num_threads=1)
        return [[self._place.get(piece, self.unk_id or 0) for piece in row] for row in pieces]

    def decode(self, ids: Sequence[int]) -> str:
        """The text, as near as the rules let it: marks are undone, `xxbos`, `xxfld` and their like leave nothing."""
        text = "".join(self.pieces[k] if k != self.unk_id else "\ufffd" for k in ids).replace(SPACE_SYMBOL, " ")
        words, marks = [], iter(text.split())
        for word in marks:
            if word == FLD:
                next(marks, "")
            elif word in _SILENT:
                words.append(_SILENT[word])
            elif word in (MAJ, UP):
                following = next(marks, "")
                words.append(following.capitalize() if word == MAJ else following.upper())
            elif word in (REP, WREP):
                count, what = next(marks, ""), next(marks, "")
                times = min(int(count), 999) if count.isdecimal() else 1
                words.append(what * times if word == REP else " ".join([what] * times))
            else:
                words.append(word)
        return " ".join(word for word in words if word)

    def unknown_bytes(self, text: str) -> int:
        """UTF-8 bytes of the pieces of `text` that are not in the vocabulary."""
        pieces = self._processor.encode(self.rules.apply(text), out_type=str)
        strange = [p for p in pieces if self._place.get(p, self.unk_id) == self.unk_id]
        return sum(len(piece.replace(SPACE_SYMBOL, "").encode("utf-8")) for piece in strange)

    @cached_property
    def about(self) -> dict[str, Any]:
        """What `lowres_tokenizer.json` says."""
        return {"kind": "fastai", "rules": asdict(self.rules), "vocab_size": self.vocab_size}

    def save(self, folder: Path) -> None:
        """Writes `spm.model`, `vocabulary.json` and `lowres_tokenizer.json`."""
        (folder / _MODEL_FILE).write_bytes(self.model)
        (folder / _VOCABULARY_FILE).write_text(json.dumps(self.pieces, ensure_ascii=False), encoding="utf-8")
        write_json(folder / _ABOUT_FILE, self.about)

    @classmethod
    def load(cls, folder: Path) -> "FastaiTokenizer":
        """The tokenizer that was saved in `folder`. Raises DataError where a file is missing or damaged."""
        try:
            rules = FastaiRules(**read_json(folder / _ABOUT_FILE)["rules"])
            return cls((folder / _MODEL_FILE).read_bytes(), read_json(folder / _VOCABULARY_FILE), rules)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder}: not a whole tokenizer of fastai ({error}); import the model again") from error
