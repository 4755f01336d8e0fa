"""Spellings that a normalisation policy may make one: digits, apostrophes, dandas, Vietnamese tone marks, diacritics.

Each function leaves its own result as it is. Text is NFC or NFKC before and, where that is said, may not be after.
"""

import re
import unicodedata
from typing import Literal

_FULL_WIDTH = {point: point - 0xFEE0 for point in range(0xFF01, 0xFF5F)}
# Zero-width space, soft hyphen, word joiner and direction marks. Joiners stay: they change how letters are written.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])[’‘ʼ′´`＇](?=[^\W\d_])")
_DIGIT = re.compile(r"\d")
# A bar after a letter, sign or digit of an Indic script stands for a danda.
_DANDA = re.compile(r"([\u0900-\u0963\u0966-\u0dff] *+)(\|+)")
_MARKS = re.compile("[\u0300-\u036f]+")
_STROKES = str.maketrans("ĐđŁłØøĦħŦŧ", "DdLlOoHhTt")

_TONES = "\u0300\u0301\u0309\u0303\u0323"


def _toned(vowel: str) -> str:
    """The vowel with each of the five tone marks, in both cases."""
    return "".join(unicodedata.normalize("NFC", letter + tone) for letter in vowel + vowel.upper() for tone in _TONES)


def _open_pair(one: str, two: str) -> str:
    """Either vowel with a tone mark and the other without."""
    return f"[{_toned(one)}][{two}{two.upper()}]|[{one}{one.upper()}][{_toned(two)}]"


_LETTER = r"[^\W\d_]|[\u0300-\u036f]"
# The schools differ in open syllables on oa, oe and uy alone. `qu` is a consonant: quý has one vowel; so has `gi`.
_OPEN_SYLLABLE = re.compile(
    rf"(?<!{_LETTER})"
    r"((?i:ch|gh|kh|ngh|ng|nh|ph|th|tr|[bcdđghklmnprstvx])?)"
    rf"({_open_pair('o', 'a')}|{_open_pair('o', 'e')}|{_open_pair('u', 'y')})(?!{_LETTER})"
)


def ascii_forms(text: str) -> str:
    """Full-width forms of ASCII characters as ASCII."""
    return text.translate(_FULL_WIDTH)


def without_invisible(text: str) -> str:
    """Without zero-width spaces, soft hyphens, word joiners and direction marks."""
    return _INVISIBLE.sub("", text)


def one_apostrophe(text: str) -> str:
    """Between two letters `'` for what stands as an apostrophe."""
    return _APOSTROPHE.sub("'", text)


def dandas(text: str) -> str:
    """`|` and `||` behind an Indic letter as । and ॥."""
    return _DANDA.sub(lambda found: found[1] + ("।" if len(found[2]) == 1 else "॥"), text) if "|" in text else text


def digits(text: str, how: Literal["ascii", "mask"]) -> str:
    """Decimal digits of all scripts as ASCII digits, or all as 0."""
    if how == "mask":
        return _DIGIT.sub("0", text)
    return text if text.isascii() else _DIGIT.sub(lambda found: str(unicodedata.digit(found[0])), text)


def tone_marks(text: str, school: Literal["old", "new"]) -> str:
    """Vietnamese tone marks by one school: old hòa, khỏe, thúy; new hoà, khoẻ, thuý. text: NFC."""

    def placed(found: re.Match[str]) -> str:
        plain = unicodedata.normalize("NFD", found[2])
        tone = next(mark for mark in plain if mark in _TONES)
        one, two = plain.replace(tone, "")
        return found[1] + unicodedata.normalize("NFC", one + tone + two if school == "old" else one + two + tone)

    return _OPEN_SYLLABLE.sub(placed, text)


def without_diacritics(text: str) -> str:
    """Letters without the marks of U+0300 to U+036F and without strokes: `Đắk Lắk` is `Dak Lak`. The result is NFC."""
    if text.isascii():
        return text
    plain = _MARKS.sub("", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", plain.translate(_STROKES))
