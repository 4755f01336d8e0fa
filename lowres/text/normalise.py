"""One normalisation policy for every method: what a text is before any tokenizer or classifier sees it."""

import re
import unicodedata
from typing import Literal

from lowres.artifacts import Spec

_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r" ?\n ?(?:\n ?)*")
_STRAIGHT = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "..."})
# C0 and C1 controls except tab, newline and carriage return, the byte-order mark and the replacement character.
# Zero-width joiners and direction marks stay: scripts need them.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff]")


class Normalisation(Spec):
    """The recipe's `[normalisation]`: applied to corpora, tasks and prediction input alike."""

    unicode: Literal["NFC", "NFKC"] = "NFC"
    """The Unicode normalisation form (UAX 15)."""
    straight_quotes: bool = False
    """Typographic quotes, dashes and ellipses become their ASCII forms."""
    lowercase: bool = False
    """Everything in lower case (Unicode default mapping)."""


def normalise(text: str, policy: Normalisation) -> str:
    r"""`text` under `policy`: control characters out, Unicode form, runs of spaces to one, runs of line breaks to one.

    Idempotent. Line breaks stay as single `\n`; leading and trailing white space goes.
    """
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = unicodedata.normalize(policy.unicode, text)
    if policy.straight_quotes:
        text = text.translate(_STRAIGHT)
    if policy.lowercase:
        text = unicodedata.normalize(policy.unicode, text.lower())
    return _BLANK_LINES.sub("\n", _SPACES.sub(" ", text)).strip()
