"""Which scripts a text is written in: the Unicode property Script (UAX 24), named by ISO 15924 codes."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

COMBINED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Hans": frozenset({"Hani"}),
        "Hant": frozenset({"Hani"}),
        "Hrkt": frozenset({"Hira", "Kana"}),
        "Jpan": frozenset({"Hani", "Hira", "Kana"}),
        "Kore": frozenset({"Hang", "Hani"}),
    }
)
"""Codes of ISO 15924 that name several scripts or a variant of one, and the values of Script that they hold."""

_NO_LETTERS = ("Zyyy", "Zinh", "Zzzz")


@cache
def _table() -> tuple[tuple[str, ...], np.ndarray]:
    """Codes, and (0x110000,) uint8: the place among them of each code point's script."""
    from fontTools.unicodedata import Scripts

    codes = tuple(sorted(set(Scripts.VALUES)))
    places = {code: place for place, code in enumerate(codes)}
    lengths = np.diff([*Scripts.RANGES, 0x110000])
    return codes, np.repeat(np.array([places[value] for value in Scripts.VALUES], dtype=np.uint8), lengths)


def known_script(code: str) -> bool:
    """Whether text can be told to be in the script of this ISO 15924 code."""
    return code in COMBINED or (code in _table()[0] and code not in _NO_LETTERS)


def code_points(text: str) -> np.ndarray:
    """(characters,) uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def lettered(points: np.ndarray) -> np.ndarray:
    """(n,) bool: which code points are of some script; marks, digits and signs that all scripts share are not."""
    codes, table = _table()
    return ~np.isin(table[points], [codes.index(code) for code in _NO_LETTERS])


def script_counts(text: str) -> dict[str, int]:
    """Characters of each script, the most frequent first. What all scripts share (digits, signs) does not count."""
    codes, table = _table()
    counts = np.bincount(table[code_points(text)], minlength=len(codes))
    found = {codes[place]: int(counts[place]) for place in np.flatnonzero(counts) if codes[place] not in _NO_LETTERS}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def share_in_script(text: str, script: str) -> float:
    """The share of a text's letters that are of `script`, an ISO 15924 code; 1 for a text without letters."""
    counts = script_counts(text)
    wanted = COMBINED.get(script, {script})
    total = sum(counts.values())
    return sum(counts.get(code, 0) for code in wanted) / total if total else 1.0
