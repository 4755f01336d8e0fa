"""Whole words as tokens, the most frequent of a corpus, with ULMFiT's marks: what subwords are compared with.

Words are told by white space or by a segmenter (lowres.text.words), which travels in the tokenizer's folder, so that
corpora, tasks and prediction input are all cut alike. A word may hold spaces. It keeps the space before it, so "cơm"
behind an opening quote and " cơm" are two words, and decoding gives the text back. Ids 0 to 9 are those of
lowres.tokenizers.subword; all other words are xxunk.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path

from lowres.artifacts import read_json, write_json
from lowres.errors import DataError
from lowres.text.spec import SEGMENTER_FILES
from lowres.text.treebank import Token
from lowres.text.words import lines_of_words, load_splitter
from lowres.tokenizers.rules import MAJ, REP, UP, WREP, Rules
from lowres.tokenizers.spec import Words
from lowres.tokenizers.subword import CONTROL, MARKS, RESERVED

_MARKS = f"{MAJ}{UP}{REP}{WREP}"
_PARTS = re.compile(f"[{_MARKS}]| ?[^ {_MARKS}]+")
_PLAIN = Rules("und", case=False, repetition=False)  # escapes alone
_LEAST_REPEATED = 4  # as in ULMFiT
_LINE_BREAK = RESERVED.index("\n")
_WORDS_FILE, _ABOUT_FILE = "words.json", "lowres_tokenizer.json"
_MOST_KEPT = 1 << 18  # spellings: the table stays under some 60 MB


class WordTokenizer:
    """A vocabulary of words, its rules and what tells words; see lowres.tokenizers.base.Tokenizer.

    words: from id 10 on, each with the space before it where it has one. segmenter: the folder of a segmenter; None:
    white space.
    """

    unk_id: int | None = 0
    pad_id = 1
    bos_id = 2
    eos_id = 3

    def __init__(self, words: Sequence[str], rules: Rules, segmenter: Path | None):
        self.words, self.rules, self.segmenter = tuple(words), rules, segmenter
        self.vocab_size = len(RESERVED) + len(self.words)
        self.speller = Speller(rules, segmenter)
        self._ids = {word: place for place, word in enumerate(self.words, len(RESERVED))}
        self._ids.update({mark: RESERVED.index(name) for mark, name in MARKS.items()}, **{"\n": _LINE_BREAK})

    @property
    def pieces(self) -> list[str]:
        """The piece of each id; a space is written as it is."""
        return [*RESERVED, *self.words]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without xxbos; an empty text has none."""
        ids = self._ids
        return [[ids.get(part, 0) for part in parts] for parts in self.speller.spelt(texts)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids: control pieces leave nothing, xxunk leaves U+FFFD."""
        surfaces = self._surfaces
        text = self.rules.unmark("".join([surfaces[i] for i in ids]))
        return text.removeprefix(" ").replace("\n ", "\n")

    def unknown_bytes(self, text: str) -> int:
        """UTF-8 bytes of the words that the xxunks of `text` hide, with the space before each."""
        (parts,) = self.speller.spelt([text])
        return sum(len(part.encode("utf-8")) for part in parts if part not in self._ids)

    def save(self, folder: Path) -> None:
        """Writes `words.json`, `lowres_tokenizer.json`, and the segmenter's files where there is one."""
        write_json(folder / _WORDS_FILE, self.words)
        about = {
            "kind": "word",
            "language": self.rules.language,
            "case_rules": self.rules.case,
            "repetition_rules": self.rules.repetition,
            "words_by": "whitespace" if self.segmenter is None else "segmenter",
            "vocab_size": self.vocab_size,
        }
        write_json(folder / _ABOUT_FILE, about)
        if self.segmenter is not None:
            for name in SEGMENTER_FILES:
                shutil.copyfile(self.segmenter / name, folder / name)

    @classmethod
    def load(cls, folder: Path) -> "WordTokenizer":
        """The tokenizer that was saved in `folder`. Raises DataError where its words are missing."""
        about = read_json(folder / _ABOUT_FILE)
        if not (folder / _WORDS_FILE).is_file():
            raise DataError(
                f"{folder / _WORDS_FILE}: no such file; a word tokenizer is {_WORDS_FILE} and {_ABOUT_FILE}"
            )
        rules = Rules(about["language"], case=about["case_rules"], repetition=about["repetition_rules"])
        return cls(read_json(folder / _WORDS_FILE), rules, None if about["words_by"] == "whitespace" else folder)

    @cached_property
    def _surfaces(self) -> list[str]:
        """What each id leaves in a marked text."""
        return ["\ufffd", *[""] * (len(CONTROL) - 1), *MARKS, "\n", *self.words]


class Speller:
    """Texts as words and marks. segmenter: the folder of a segmenter, read at the first text; None: white space."""

    def __init__(self, rules: Rules, segmenter: Path | None):
        self.rules, self.segmenter = rules, segmenter
        self._spellings: dict[str, tuple[str, ...]] = {}

    @cached_property
    def splitter(self):  # noqa: ANN201 - a Splitter
        """What tells words."""
        return load_splitter(self.segmenter)

    def spelt(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Each text as words (the space before them kept), marks and line breaks."""
        for text, lines in zip(texts, lines_of_words(self.splitter, texts), strict=True):
            parts: list[str] = []
            for line in lines if text else ():
                parts += ["\n", *self._line(line)]
            yield parts[1:]

    def _line(self, tokens: Sequence[Token]) -> list[str]:
        """One line; without marks where they would not give it back, as between words with no space between."""
        spaces = [" ", *(" " if token.space_after else "" for token in tokens)]
        words = [space + token.text for space, token in zip(spaces, tokens, strict=False)]
        parts: list[str] = []
        for word, run in groupby(words):
            count = sum(1 for _ in run)
            if self.rules.repetition and count >= _LEAST_REPEATED and word[1:].isalnum() and word[0] == " ":
                parts += [WREP, f" {count}", *self._word(word)]
            else:
                parts += self._word(word) * count
        if self.rules.unmark("".join(parts)) != "".join(words):
            return [_PLAIN.mark(word) for word in words]
        return parts

    def _word(self, word: str) -> tuple[str, ...]:
        """A word and its marks. One of several syllables keeps capitals that a single mark does not give back."""
        if word in self._spellings:
            return self._spellings[word]
        marked = self.rules.mark(word)
        if " " not in word[1:]:
            parts = tuple(_PARTS.findall(marked))
        elif marked[0] in (MAJ, UP) and not re.search(f"[{_MARKS}]", marked[1:]):
            parts = (marked[0], marked[1:])
        else:
            parts = (_PLAIN.mark(word),)
        if len(self._spellings) < _MOST_KEPT:
            self._spellings[word] = parts
        return parts


def train_words(texts: Iterable[Sequence[str]], spec: Words, language: str, segmenter: Path | None) -> WordTokenizer:
    """The most frequent words of some texts, which come in batches; of equally frequent ones the first by its letters.

    Raises DataError where there is no text.
    """
    rules = Rules(language, case=spec.case_rules, repetition=spec.repetition_rules)
    speller = Speller(rules, segmenter)
    counts: Counter[str] = Counter()
    for batch in texts:
        for parts in speller.spelt(batch):
            counts.update(parts)
    for mark in (*MARKS, "\n"):
        counts.pop(mark, None)
    if not counts:
        raise DataError("the corpus has no text to take words from; check its filters and its train split")
    frequent = sorted((-count, word) for word, count in counts.items() if count >= spec.min_count)
    words = [word for _, word in frequent[: spec.vocab_size - len(RESERVED)]]
    return WordTokenizer(words, rules, segmenter)
