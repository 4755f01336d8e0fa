"""What every layout gives: the files of one language model, and how its text was prepared."""

from dataclasses import dataclass
from pathlib import Path

from lowres.errors import DataError
from lowres.families.ulmfit.spec import Way
from lowres.tokenizers.fastai import FastaiRules


@dataclass(frozen=True)
class Source:
    """The layout's name; weights, vocabulary, pieces: the `.pth`, the list of pieces, the SentencePiece model.

    rules None: told by the vocabulary.
    """

    layout: str
    weights: Path
    vocabulary: Path
    pieces: Path
    direction: Way
    rules: FastaiRules | None = None


def one_of(folder: Path, patterns: list[str], what: str) -> Path:
    """The file of the first pattern that fits. Raises DataError where none does, or one fits several."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise DataError(
                f"{folder}: several files may be {what}: {', '.join(p.name for p in found)}; leave one there"
            )
        if found:
            return found[0]
    raise DataError(f"{folder}: no {what} there ({' or '.join(patterns)}); only SentencePiece vocabularies can be read")
