"""One normalisation policy for every method: what a text is before any tokenizer or classifier sees it."""

import re
import unicodedata
from typing import Literal

from lowres.artifacts import Spec
from lowres.fingerprint import added_later
from lowres.text import spelling

_STRAIGHT = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "..."})
# No text: C0 and C1 controls other than white space, the byte-order mark, and lone surrogates, which UTF-8 cannot hold.
# Zero-width joiners, zero-width spaces and direction marks stay: scripts need them. U+FFFD stays: it shows damage.
_CONTROL = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ud800-\udfff"
# White space beside "\n" and " ", as str.isspace tells it, and what of it str.splitlines takes for a line break.
_SPACE = "\t\x0b-\r\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_BREAKS = frozenset("\x0b\x0c\r\x1c\x1d\x1e\x85\u2028\u2029")
_ODD = re.compile(f"[{_CONTROL}{_SPACE}]")


def _plain(odd: re.Match[str]) -> str:
    """What stands for a character of `_ODD`."""
    return "\n" if odd[0] in _BREAKS else " " if odd[0].isspace() else ""


class Normalisation(Spec):
    """The recipe's `[normalisation]`: applied to corpora, tasks and prediction input alike."""

    unicode: Literal["NFC", "NFKC"] = "NFC"
    """The Unicode normalisation form (UAX 15)."""
    straight_quotes: bool = False
    """Typographic quotes, dashes and ellipses become their ASCII forms."""
    lowercase: bool = False
    """Everything in lower case (Unicode default mapping)."""
    ascii_forms: bool = added_later(False, neutral=False)
    """Full-width forms of ASCII characters become ASCII."""
    apostrophes: bool = added_later(False, neutral=False)
    """Between letters there is one apostrophe, U+0027."""
    dandas: bool = added_later(False, neutral=False)
    """`|` and `||` behind an Indic letter become । and ॥."""
    digits: Literal["keep", "ascii", "mask"] = added_later("keep", neutral="keep")
    """Decimal digits of all scripts become ASCII digits, or all of them 0."""
    tone_marks: Literal["keep", "old", "new"] = added_later("keep", neutral="keep")
    """Vietnamese tone marks by one school: hòa or hoà."""
    strip_diacritics: bool = added_later(False, neutral=False)
    """Letters lose their diacritics: how much of a result hangs on them."""
    drop_invisible: bool = added_later(False, neutral=False)
    """Zero-width spaces, soft hyphens and direction marks go; joiners stay."""


def normalise(text: str, policy: Normalisation) -> str:
    r"""`text` under `policy`: control characters out, Unicode form, one space for any run of white space in a line.

    Idempotent. Lines, ended by whatever str.splitlines takes for a line break, are separated by a single `\n`; blank
    lines and white space around a line go. Within a line the only white space left is single U+0020. About 90 MB/s.
    """
    simple = policy == _NEUTRAL
    lines = [_line(line) if simple and line.isprintable() else _mended(line, policy) for line in text.split("\n")]
    return "\n".join(filter(None, lines))


def _line(line: str) -> str:
    """A line without a character of `_ODD` (they are not printable) under the policy that changes least."""
    return _spaced(line if line.isascii() else unicodedata.normalize("NFC", line))


def _spaced(line: str) -> str:
    # Replacing is three times as fast as splitting at white space and joining.
    while "  " in line:
        line = line.replace("  ", " ")
    return line.strip(" ")


def _mended(text: str, policy: Normalisation) -> str:
    """Any line under any policy; it may turn out to be several. Nothing here looks across a line break."""
    text = _ODD.sub(_plain, text)
    if policy.drop_invisible:
        text = spelling.without_invisible(text)
    text = unicodedata.normalize(policy.unicode, text)
    if policy.straight_quotes:
        text = text.translate(_STRAIGHT)
    if policy.lowercase:
        text = unicodedata.normalize(policy.unicode, text.lower())
    if policy.unicode == "NFKC":  # compatibility forms bring spaces of their own
        text = _ODD.sub(_plain, text)
    if policy != _NEUTRAL:
        text = _spelt(text, policy)
    return "\n".join(filter(None, map(_spaced, text.split("\n"))))


_NEUTRAL = Normalisation()


def _spelt(text: str, policy: Normalisation) -> str:
    """The policy's own spellings. Marks come before apostrophes and dandas, which look at the letters beside them."""
    if policy.ascii_forms:
        text = spelling.ascii_forms(text)
    if policy.digits != "keep":
        text = spelling.digits(text, policy.digits)
    if policy.tone_marks != "keep":
        text = spelling.tone_marks(unicodedata.normalize(policy.unicode, text), policy.tone_marks)
    if policy.strip_diacritics:
        text = spelling.without_diacritics(text)
    if policy.apostrophes:
        text = spelling.one_apostrophe(text)
    if policy.dandas:
        text = spelling.dandas(text)
    return unicodedata.normalize(policy.unicode, text)
