"""Treebanks of Universal Dependencies (CoNLL-U): their sentences, tokens and words, and scores against them.

A token is what stands in the text ("moo"); a word is what syntax sees in it ("mu" and "a"). Most tokens are one word.
In Vietnamese a token may hold spaces ("chủ tịch").
"""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from lowres.errors import DataError
from lowres.text.normalise import Normalisation, normalise

_NO_SPACE = re.compile(r"(^|\|)SpaceAfter=No($|\|)")


@dataclass(frozen=True)
class Token:
    """A token, the words it stands for (itself, or those of a contraction), and whether a space follows it."""

    text: str
    words: tuple[str, ...]
    space_after: bool = True


Sentence = tuple[Token, ...]


@dataclass(frozen=True)
class Paragraph:
    """Sentences of a document that follow each other."""

    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """As it was written: tokens, and a space wherever the treebank has one."""
        return "".join(f"{token.text} " if token.space_after else token.text for token in self._tokens()).rstrip()

    def _tokens(self) -> Iterator[Token]:
        return (token for sentence in self.sentences for token in sentence)


def read_conllu(path: Path) -> tuple[Paragraph, ...]:
    """The paragraphs of a treebank's file; one that marks none (`# newpar`, `# newdoc`) is one paragraph.

    The text is made from the tokens and SpaceAfter, not from the comment `# text`, which some treebanks misspell. Empty
    nodes (8.1) are left out. Raises DataError, file and line first, where the file is not CoNLL-U.
    """
    paragraphs: list[list[Sentence]] = [[]]
    for number, block in _blocks(path):
        if any(line.startswith(("# newpar", "# newdoc")) for line in block) and paragraphs[-1]:
            paragraphs.append([])
        if sentence := tuple(_tokens(block, path, number)):
            paragraphs[-1].append(sentence)
    if not paragraphs[0]:
        raise DataError(f"{path}: no sentences; a treebank's file is CoNLL-U")
    return tuple(Paragraph(tuple(sentences)) for sentences in paragraphs)


def _blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of each sentence, and the number of the first."""
    block: list[str] = []
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):  # noqa: B007 - the last number is used
                if line := line.rstrip("\n\r"):
                    block.append(line)
                elif block:
                    yield number - len(block), block
                    block = []
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); a treebank's file is CoNLL-U in UTF-8") from error
    if block:
        yield number - len(block) + 1, block


def _tokens(block: list[str], path: Path, first: int) -> Iterator[Token]:
    """The tokens of one sentence. first: the number of its first line."""
    pending, last, words = None, 0, []  # a contraction, the id of its last word, its words so far
    for number, line in enumerate(block, first):
        if line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 10 or not (place := re.fullmatch(r"(\d+)(?:([-.])(\d+))?", columns[0])):
            raise DataError(f"{path}, line {number}: not a line of CoNLL-U (an id and nine more columns, tabs between)")
        form = normalise(columns[1], Normalisation())
        if place[2] == "." or not form:
            continue
        if place[2] == "-":
            pending, last, words = (form, not _NO_SPACE.search(columns[9])), int(place[3]), []
        elif pending is None:
            yield Token(form, (form,), not _NO_SPACE.search(columns[9]))
        else:
            words.append(form)
            if int(place[1]) == last:
                yield Token(pending[0], tuple(words), pending[1])
                pending = None


def contractions(paragraphs: Sequence[Paragraph]) -> dict[str, tuple[str, ...]]:
    """Token in lower case -> the words it most often stands for, of the tokens that are several words."""
    seen: dict[str, Counter[tuple[str, ...]]] = {}
    for sentence in (sentence for paragraph in paragraphs for sentence in paragraph.sentences):
        for token in sentence:
            if len(token.words) > 1:
                words = tuple(word.lower() for word in token.words)
                seen.setdefault(token.text.lower(), Counter())[words] += 1
    return {text: min(found, key=lambda words: (-found[words], words)) for text, found in sorted(seen.items())}


# --- scores ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SegmentationScores:
    """F1 of sentences, tokens and words, 0 to 1."""

    sentences: float
    tokens: float
    words: float

    def facts(self) -> dict[str, float]:
        """As a manifest holds them."""
        return {"sentence_f1": self.sentences, "token_f1": self.tokens, "word_f1": self.words}


def segmentation_scores(gold: Sequence[Sentence], found: Sequence[Sentence]) -> SegmentationScores:
    """How well `found` agrees with `gold`, two segmentations of one text, as the CoNLL 2018 shared task scores it.

    Sentences and tokens count where both ends agree, white space left out. So do words, but those of contractions,
    which have no place of their own: over each run of text where either side has one, their longest common
    subsequence in lower case counts. Raises DataError where the characters differ.
    """
    if _characters(gold) != _characters(found):
        raise DataError("the two segmentations are not of the same text")
    (gold_sentences, gold_tokens), (found_sentences, found_tokens) = _spans(gold), _spans(found)
    same = len(gold_sentences & found_sentences)
    same_tokens = len(gold_tokens.keys() & found_tokens.keys())
    counts = [sum(map(len, tokens.values())) for tokens in (gold_tokens, found_tokens)]
    return SegmentationScores(
        sentences=_f1(same, len(gold_sentences), len(found_sentences)),
        tokens=_f1(same_tokens, len(gold_tokens), len(found_tokens)),
        words=_f1(_same_words(gold_tokens, found_tokens), *counts),
    )


Span = tuple[int, int]


def _spans(sentences: Sequence[Sentence]) -> tuple[set[Span], dict[Span, tuple[str, ...]]]:
    """The places of sentences, and of tokens with their words, in characters that are no white space."""
    lengths = [[len("".join(token.text.split())) for token in sentence] for sentence in sentences]
    ends = [0, *accumulate(length for sentence in lengths for length in sentence)]
    spans = list(zip(ends, ends[1:], strict=False))
    tokens = (token for sentence in sentences for token in sentence)
    sentence_ends = [0, *accumulate(map(sum, lengths))]
    return (
        set(zip(sentence_ends, sentence_ends[1:], strict=False)),
        {span: token.words for span, token in zip(spans, tokens, strict=True)},
    )


def _same_words(gold: dict[Span, tuple[str, ...]], found: dict[Span, tuple[str, ...]]) -> int:
    """Words that agree."""
    regions = _merged(span for side in (gold, found) for span, words in side.items() if len(words) > 1)
    (gold_alone, gold_inside), (found_alone, found_inside) = (_parted(side, regions) for side in (gold, found))
    inside = sum(_common(words, found_inside.get(region, [])) for region, words in gold_inside.items())
    return len(gold_alone & found_alone) + inside


def _parted(tokens: dict[Span, tuple[str, ...]], regions: Sequence[Span]) -> tuple[set[Span], dict[int, list[str]]]:
    """The places of tokens outside all regions, and by region the words, in lower case, of the tokens in it."""
    starts = [start for start, _ in regions]
    alone, inside = set(), defaultdict(list)
    for span, words in tokens.items():
        region = bisect_right(starts, span[0]) - 1
        if region >= 0 and span[1] <= regions[region][1]:
            inside[region] += [word.lower() for word in words]
        else:
            alone.add(span)
    return alone, inside


def _merged(spans: Iterator[Span]) -> list[Span]:
    """Spans as the fewest that cover the same places; those that only touch stay apart."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for place, there in enumerate(other):
            row.append(before[place] + 1 if word == there else max(row[place], before[place + 1]))
    return row[-1]


def _f1(same: int, gold: int, found: int) -> float:
    return 2 * same / (gold + found) if gold + found else 0.0


def _characters(sentences: Sequence[Sentence]) -> str:
    return "".join("".join(token.text.split()) for sentence in sentences for token in sentence)
