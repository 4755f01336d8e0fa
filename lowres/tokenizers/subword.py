"""SentencePiece with ULMFiT's rules in front. The ids are SentencePiece's own, everywhere.

Ids 0 to 9 are fixed:

    0 xxunk   a character outside the vocabulary        5 xxup    the next word is all capitals
    1 xxpad   fills batches                             6 xxrep   xxrep N C: the character C, N times
    2 xxbos   starts a document                         7 xxwrep  xxwrep N W: the word W, N times
    3 xxeos   not used in packed text                   8 xxesc   the next character stands for another (rules.py)
    4 xxmaj   the next word starts with a capital       9 a line break

SentencePiece changes nothing in the text: normalisation is ours and comes before. Every line starts with one added
space, so that a word has the same piece at the start of a line as within it; decoding takes that space away again.
"""

import io
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import sentencepiece

from lowres.artifacts import read_json, write_json
from lowres.errors import DataError
from lowres.tokenizers.rules import ESC, MAJ, REP, SPACE_SYMBOL, UP, WREP, Rules
from lowres.tokenizers.sampling import Sampler, Vocabulary
from lowres.tokenizers.spec import Subword

CONTROL = ("xxunk", "xxpad", "xxbos", "xxeos")
MARKS = {MAJ: "xxmaj", UP: "xxup", REP: "xxrep", WREP: "xxwrep", ESC: "xxesc"}
RESERVED = (*CONTROL, *MARKS.values(), "\n")
"""The pieces with ids 0 to 9."""

_NAME_IN_TEXT = re.compile(f"xx(?={'|'.join(name[2:] for name in RESERVED[:-1])})")
_MARK_OR_BREAK = re.compile(f"({'|'.join(MARKS.values())}|\n)")
_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")
_MODEL_FILE, _ABOUT_FILE = "spm.model", "lowres_tokenizer.json"
_MAX_LINE_BYTES = 1 << 24  # the library's default of 4192 leaves longer lines out without a word


class SubwordTokenizer:
    """A trained SentencePiece model and its rules; see lowres.tokenizers.base.Tokenizer.

    model: the bytes of a SentencePiece model whose first ids are RESERVED. Raises DataError where they are not.
    """

    unk_id: int | None = 0
    pad_id = 1
    bos_id = 2
    eos_id = 3

    def __init__(self, model: bytes, rules: Rules):
        self.model = model
        self.rules = rules
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise DataError(f"not a SentencePiece model ({error}); train the tokenizer again") from error
        self.vocab_size: int = self._processor.vocab_size()
        found = tuple(self.pieces[: len(RESERVED)])
        if found != RESERVED:
            raise DataError(f"a SentencePiece model of lowres starts with the pieces {RESERVED}; this one with {found}")

    @cached_property
    def pieces(self) -> list[str]:
        """The piece of each id; a space is written as U+2581."""
        return self._processor.id_to_piece(list(range(self.vocab_size)))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without xxbos; an empty text has none. One thread."""
        ids = self._processor.encode([self._spell(text) for text in texts], out_type=int, num_threads=1)
        return [found if text else [] for text, found in zip(texts, ids, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids: control pieces leave nothing, xxunk leaves U+FFFD.

        A space at the start is taken for the added one, so decode a text whole and not by parts.
        """
        surfaces = self._surfaces
        marked = b"".join([surfaces[i] for i in ids]).decode("utf-8", "replace")
        text = self.rules.unmark(marked.replace(ESC + "x", "x"))
        return text.removeprefix(" ").replace("\n ", "\n")

    @property
    def surfaces(self) -> list[bytes | None]:
        """What bytes each id stands for, a space before a word with them; None for controls and marks."""
        silent = len(RESERVED) - 1
        return [None] * silent + self._surfaces[silent:]

    def cut(self, text: str) -> list[int]:
        """The ids of a text as it stands: no rules, no space added."""
        return self._processor.encode(text, out_type=int)

    def sampler(self, alpha: float) -> Sampler:
        """What draws other segmentations than encode's. Marks and line breaks are always one piece."""
        size, processor = range(self.vocab_size), self._processor
        kept = [i for i in size if i >= len(RESERVED) and not processor.is_byte(i) and not processor.is_unused(i)]
        pieces = {i: self.pieces[i] for i in kept}
        return Sampler(
            Vocabulary(
                ids={piece: i for i, piece in pieces.items()},
                scores={piece: float(processor.get_score(i)) for i, piece in pieces.items()},
                unk_id=RESERVED.index("xxunk"),
                byte_ids=[i for i in size if processor.is_byte(i)],
            ),
            alpha,
            self._parts,
        )

    def _parts(self, text: str) -> list[str | int]:
        """A text as SentencePiece is given it, with the ids of marks and line breaks in place of their names."""
        parts = _MARK_OR_BREAK.split(self._spell(text))
        return [RESERVED.index(part) if place % 2 else part for place, part in enumerate(parts) if part]

    def unknown_bytes(self, text: str) -> int:
        """UTF-8 bytes that the xxunks of `text` hide. A repetition counts once: xxrep keeps its number."""
        spelt = self._spell(text)
        ids = self._processor.encode(spelt, out_type=int)
        if self.unk_id not in ids:
            return 0
        surfaces = self._processor.encode(spelt, out_type=str)
        return sum(len(surface.encode("utf-8")) for surface, i in zip(surfaces, ids, strict=True) if i == self.unk_id)

    def save(self, folder: Path) -> None:
        """Writes `spm.model` and `lowres_tokenizer.json`."""
        (folder / _MODEL_FILE).write_bytes(self.model)
        about = {
            "kind": "subword",
            "language": self.rules.language,
            "case_rules": self.rules.case,
            "repetition_rules": self.rules.repetition,
            "vocab_size": self.vocab_size,
        }
        write_json(folder / _ABOUT_FILE, about)

    @classmethod
    def load(cls, folder: Path) -> "SubwordTokenizer":
        """The tokenizer that was saved in `folder`. Raises DataError where its model is missing or damaged."""
        about = read_json(folder / _ABOUT_FILE)
        model = folder / _MODEL_FILE
        if not model.is_file():
            raise DataError(f"{model}: no such file; a subword tokenizer is {_MODEL_FILE} and {_ABOUT_FILE}")
        rules = Rules(about["language"], case=about["case_rules"], repetition=about["repetition_rules"])
        return cls(model.read_bytes(), rules)

    def _spell(self, text: str) -> str:
        """What SentencePiece is given."""
        return _name_marks(self.rules.mark(_start_lines(text)))

    @cached_property
    def _surfaces(self) -> list[bytes]:
        """What each id leaves in a marked text, in UTF-8."""
        marks = {name: mark for mark, name in MARKS.items()}
        surfaces = []
        for piece in self.pieces:
            byte = _BYTE_PIECE.fullmatch(piece)
            if byte and self._processor.is_byte(len(surfaces)):
                surfaces.append(bytes([int(byte[1], 16)]))
            else:
                surfaces.append(marks.get(piece, piece.replace(SPACE_SYMBOL, " ")).encode("utf-8"))
        surfaces[: len(CONTROL)] = ["\ufffd".encode(), b"", b"", b""]
        return surfaces


def train_subword(texts: Iterable[str], spec: Subword, language: str) -> SubwordTokenizer:
    """Trains SentencePiece on the lines of some texts. The same texts give the same bytes: one thread, no sampling.

    A small corpus gives fewer pieces than asked for: see the result's vocab_size. Raises DataError where there is no
    text, or more different characters than pieces.
    """
    rules = Rules(language, case=spec.case_rules, repetition=spec.repetition_rules)
    lines = (_name_marks(rules.mark(" " + line)) for text in texts for line in text.split("\n") if line)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type=spec.model,
            vocab_size=spec.vocab_size,
            hard_vocab_limit=False,
            character_coverage=spec.character_coverage,
            byte_fallback=spec.byte_fallback,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            max_sentence_length=_MAX_LINE_BYTES,
            num_threads=1,  # the vocabulary depends on it
            unk_id=0,
            pad_id=1,
            bos_id=2,
            eos_id=3,
            unk_piece=RESERVED[0],
            pad_piece=RESERVED[1],
            bos_piece=RESERVED[2],
            eos_piece=RESERVED[3],
            user_defined_symbols=list(RESERVED[4:]),
            minloglevel=2,
        )
    except RuntimeError as error:
        raise DataError(_what_to_mend(str(error), spec)) from error
    return SubwordTokenizer(model.getvalue(), rules)


def _start_lines(text: str) -> str:
    """`text` with one space in front of every line."""
    return " " + text.replace("\n", "\n ")


def _name_marks(marked: str) -> str:
    """Marks as the names of their pieces; a name that stands in the text itself is broken by xxesc."""
    if "xx" in marked:
        marked = _NAME_IN_TEXT.sub(f"x{ESC}x", marked)
    for mark, name in MARKS.items():
        marked = marked.replace(mark, name)
    return marked


def _what_to_mend(message: str, spec: Subword) -> str:
    """SentencePiece's own message as one line with the mend."""
    last = " ".join(message.split())
    if "required_chars" in last:
        counts = re.search(r"(\d+) vs (\d+)", last)
        needed = f"; {counts[2]} are needed" if counts else ""
        return (
            f"tokenizer.vocab_size is {spec.vocab_size}, fewer than the characters to cover{needed}: "
            "raise vocab_size or lower character_coverage"
        )
    if "sentences_.empty()" in last:
        return "the corpus has no text to train a tokenizer on; check its filters and its train split"
    return f"SentencePiece could not train a {spec.model} model of {spec.vocab_size} pieces: {last}"
