"""ULMFiT's text rules, Unicode-correct and exactly reversible: capitals and repetitions become marks before a word.

Howard and Ruder 2018 mark capitals so that "Hà" and "hà" share a piece; fastai's rules do it with ASCII letters and
cannot be undone. Here a word is marked only where the mark gives it back exactly, and everything else is left alone:

    Hà Nội là THỦ ĐÔ, haaaaay!  ->  M hà M nội là U thủ U đô, hR5 ay!      (M, U, R stand for one mark each)

A mark stands in front of the space before its word, so that the word keeps the piece it has in lower case. Marks are
Unicode noncharacters, reserved for use inside a program; a noncharacter of the text itself is escaped.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import compress, count

import numpy as np

MAJ, UP, REP, WREP, ESC = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3", "\ufdd4"
"""xxmaj: the next word starts with a capital. xxup: it is all capitals. xxrep N C: the character C, N times.
xxwrep N W: the word W, N times. xxesc: the next character stands for one that could not be written as itself."""

SPACE_SYMBOL = "\u2581"  # SentencePiece writes a space so; one in the text itself is escaped

DOTTED_I = frozenset({"tur", "aze", "azj", "crh", "gag"})
"""Languages whose I is the capital of dotless i, and whose i has a dotted capital (SpecialCasing.txt; Crimean Tatar
and Gagauz write the same letters)."""

_ESCAPED = {MAJ: "0", UP: "1", REP: "2", WREP: "3", ESC: "4", SPACE_SYMBOL: "5"}
_RAW = {code: char for char, code in _ESCAPED.items()}
_TO_ESCAPE = re.compile(f"[{''.join(_ESCAPED)}]")
_TO_UNESCAPE = re.compile(f"{ESC}(.?)", re.DOTALL)
_MARKS = re.compile(f"[{MAJ}{UP}{REP}{WREP}]")
_LONGEST_KEPT, _MOST_KEPT = 40, 1 << 17  # characters, entries: the table of forms stays under some 30 MB
_LAST_CODE_POINT = 0x1FFFF  # no cased letter stands above


@dataclass(frozen=True)
class Rules:
    """The rules of one tokenizer. language: ISO 639-3, for the Turkish i alone."""

    language: str
    case: bool = True
    repetition: bool = True

    def mark(self, text: str) -> str:
        """`text` with marks. unmark(mark(text)) == text for every str."""
        text = _TO_ESCAPE.sub(lambda match: ESC + _ESCAPED[match[0]], text)
        if self.repetition:
            text = _mark_repetitions(text)
        return self._mark_case(text) if self.case else text

    def unmark(self, marked: str) -> str:
        """The text that was marked. Marks that stand where `mark` sets none (a model wrote them) are dropped."""
        patterns = _patterns()
        text = patterns.case_mark.sub(self._unmark_case, marked)
        text = patterns.repetition_mark.sub(lambda match: match[1] + match[3] * int(match[2]), text)
        text = patterns.word_repetition_mark.sub(_unmark_word_repetition, text)
        text = _MARKS.sub("", text)
        return _TO_UNESCAPE.sub(lambda match: _RAW.get(match[1], match[1]), text)

    def _mark_case(self, text: str) -> str:
        """Marks of xxmaj and xxup, from a table of words: one expression over the whole text is a third as fast."""
        first, *others = text.split(" ")
        first = _patterns().capital_word.sub(self._marked_word, first)
        return first + "".join(map(self._forms.__getitem__, others))

    @cached_property
    def _forms(self) -> "_Forms":
        def marked(token: str) -> str:
            if token == token.lower():
                return " " + token
            return _patterns().capital_word.sub(self._marked_word, " " + token)

        return _Forms(marked)

    def _marked_word(self, match: re.Match[str]) -> str:
        """A word that starts with a capital: its mark and its lower case, or itself where that is not reversible."""
        lead, word = match[1], match[2]
        lower = self._lower(word)
        if lower == word or not _patterns().word.fullmatch(lower):
            return match[0]
        if self._capitalise(lower) == word:
            return MAJ + lead + lower
        if sum(char.isalpha() for char in word) > 1 and self._upper(lower) == word:
            return UP + lead + lower
        return match[0]

    def _unmark_case(self, match: re.Match[str]) -> str:
        change = self._capitalise if match[1] == MAJ else self._upper
        return match[2] + change(match[3])

    def _lower(self, word: str) -> str:
        if self.language in DOTTED_I:
            word = word.replace("I", "ı").replace("İ", "i")
        return word.lower()

    def _upper(self, word: str) -> str:
        if self.language in DOTTED_I:
            word = word.replace("i", "İ")
        return word.upper()

    def _capitalise(self, word: str) -> str:
        """Title case of the first character alone: "ǆ" gives "ǅ", and Georgian, which has no title case, stays."""
        first = "İ" if word[0] == "i" and self.language in DOTTED_I else word[0].title()
        return first + word[1:]


class _Forms(dict[str, str]):
    """What stands between two spaces -> the same with its marks and the space before it; filled as it is asked."""

    def __init__(self, marked: Callable[[str], str]):
        super().__init__()
        self.marked = marked

    def __missing__(self, token: str) -> str:
        form = self.marked(token)
        if len(token) <= _LONGEST_KEPT and len(self) < _MOST_KEPT:
            self[token] = form
        return form


def _mark_repetitions(text: str) -> str:
    """Marks of xxwrep and xxrep. The patterns are slow (5 and 17 MB/s) and seldom match: a quick look comes first."""
    if _may_repeat_words(text.split(" ")):
        text = _patterns().repeated_word.sub(_mark_word_repetition, text)
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    equal = points[1:] == points[:-1]
    if (equal[2:] & equal[1:-1] & equal[:-2]).any():
        text = _patterns().repeated_character.sub(_mark_repetition, text)
    return text


def _may_repeat_words(tokens: list[str]) -> bool:
    """Whether a word may stand four times in a row: its two middle copies have no punctuation, so they are equal."""
    for i in compress(count(), map(operator.eq, tokens, tokens[1:])):
        if 0 < i < len(tokens) - 2 and tokens[i - 1].endswith(tokens[i]) and tokens[i + 2].startswith(tokens[i]):
            return True
    return False


def _mark_repetition(match: re.Match[str]) -> str:
    return f"{REP}{match[1]}{len(match[0]) - len(match[1])} {match[2]}"


def _mark_word_repetition(match: re.Match[str]) -> str:
    lead, word = match[1], match[2]
    count = (len(match[0]) - len(lead) + 1) // (len(word) + 1)
    return f"{WREP}{lead}{count} {word}"


def _unmark_word_repetition(match: re.Match[str]) -> str:
    return match[1] + " ".join([match[3]] * int(match[2]))


@dataclass(frozen=True)
class _Patterns:
    """Compiled once. Python's `re` has no class of capitals, so it is spelled out from the Unicode tables.

    A word is letters, digits, `_` and combining marks (Yoruba "Ẹ̀kọ́" has marks even in NFC).
    """

    word: re.Pattern[str]
    capital_word: re.Pattern[str]
    repeated_character: re.Pattern[str]
    repeated_word: re.Pattern[str]
    case_mark: re.Pattern[str]
    repetition_mark: re.Pattern[str]
    word_repetition_mark: re.Pattern[str]


@lru_cache(maxsize=1)
def _patterns() -> _Patterns:
    import unicodedata

    points = [chr(point) for point in range(_LAST_CODE_POINT + 1)]
    capitals = _character_class([c for c in points if unicodedata.category(c) in ("Lu", "Lt")])
    word = rf"[\w{_character_class([c for c in points if unicodedata.category(c)[0] == 'M'])}]"
    # Counts stay under 1000, so that a model that writes marks of its own cannot make a text of gigabytes.
    return _Patterns(
        word=re.compile(f"{word}+"),
        capital_word=re.compile(rf"( ?)(?<!{word})([{capitals}]{word}*)"),
        repeated_character=re.compile(r"( ?)([^\n])\2{3,998}"),
        repeated_word=re.compile(rf"( ?)(?<!{word})({word}++)(?: \2){{3,998}}(?!{word})"),
        case_mark=re.compile(rf"([{MAJ}{UP}])( ?)({word}+)"),
        repetition_mark=re.compile(f"{REP}( ?)([0-9]{{1,3}}) (.)", re.DOTALL),
        word_repetition_mark=re.compile(rf"{WREP}( ?)([0-9]{{1,3}}) ({word}+)"),
    )


def _character_class(chars: list[str]) -> str:
    """Ascending characters as the inside of a regular expression's class, runs written as ranges."""
    runs: list[list[str]] = []
    for char in chars:
        if runs and ord(char) == ord(runs[-1][1]) + 1:
            runs[-1][1] = char
        else:
            runs.append([char, char])
    return "".join(first if first == last else f"{first}-{last}" for first, last in runs)
