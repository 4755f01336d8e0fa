"""Words of a text, by white space or by a trained segmenter: the one way for counts, tokenizers and prediction."""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

from lowres.text.treebank import Paragraph, SegmentationScores, Sentence, Token, segmentation_scores

_ENDS = frozenset(".!?…。！？।॥؟۔።")


class Splitter(Protocol):
    """What tells the sentences and words of texts."""

    def paragraphs(self, texts: Sequence[str]) -> list[tuple[Sentence, ...]]:
        """The sentences of each text, one line, normalised (lowres.text.normalise).

        Joined, with a space where space_after says so, the tokens give the text back.
        """
        ...


class Whitespace:
    """A word is what stands between two spaces, without the punctuation at its ends, each mark of which is a word.

    A sentence ends behind a word that ends in a full stop, a question mark or an exclamation mark.
    """

    def paragraphs(self, texts: Sequence[str]) -> list[tuple[Sentence, ...]]:
        """See Splitter."""
        return [tuple(self._sentences(text)) for text in texts]

    def _sentences(self, text: str) -> Iterator[Sentence]:
        tokens: list[Token] = []
        for chunk in text.split():
            word, before, behind = _without_ends(chunk)
            *glued, last = [*before, *([word] if word else ()), *behind]
            tokens += [*(Token(part, (part,), space_after=False) for part in glued), Token(last, (last,))]
            if not _ENDS.isdisjoint(behind):
                yield tuple(tokens)
                tokens = []
        if tokens:
            yield tuple(tokens)


def _without_ends(chunk: str) -> tuple[str, str, str]:
    """A run of characters without spaces: its middle, and the marks before and behind it; marks alone are behind."""
    inner = [place for place, character in enumerate(chunk) if unicodedata.category(character)[0] not in "PS"]
    if not inner:
        return "", "", chunk
    return chunk[inner[0] : inner[-1] + 1], chunk[: inner[0]], chunk[inner[-1] + 1 :]


def score(splitter: Splitter, paragraphs: Sequence[Paragraph]) -> SegmentationScores:
    """How well a splitter does that is given the raw text of a treebank's paragraphs."""
    gold = [sentence for paragraph in paragraphs for sentence in paragraph.sentences]
    found = splitter.paragraphs([paragraph.text for paragraph in paragraphs])
    return segmentation_scores(gold, [sentence for text in found for sentence in text])


def load_splitter(folder: Path | None) -> Splitter:
    """The segmenter in a folder; None: white space. Imports torch where there is a folder."""
    if folder is None:
        return Whitespace()
    from lowres.text.segment import Segmenter

    return Segmenter.load(folder)


def lines_of_words(splitter: Splitter, texts: Sequence[str]) -> list[list[list[Token]]]:
    """Text -> its lines -> the tokens of each; lines are split apart, so a heading is never read into the next line."""
    lines = [text.split("\n") for text in texts]
    found = iter(splitter.paragraphs([line for text in lines for line in text]))
    return [[list(chain.from_iterable(next(found))) for _ in text] for text in lines]
