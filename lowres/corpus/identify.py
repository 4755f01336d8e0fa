"""Identifiers of languages: which documents are not in the corpus's language.

An identifier is any callable from texts to (ISO 639-3 code, probability). The one at hand learns character n-grams from
corpora that the user names (Cavnar and Trenkle 1994; naive Bayes as in Lui and Baldwin 2011), so it knows no other
languages than those. fastText models such as GlotLID or lid.176, and lingua, serve where they are installed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lowres.artifacts import Corpus
from lowres.corpus.spec import LanguageFilter
from lowres.errors import DataError
from lowres.fingerprint import file_sha256
from lowres.text.scripts import code_points, lettered
from lowres.text.shingles import runs

UNDETERMINED = "und"
"""ISO 639-3's code for a text that nothing can be said of."""

SAMPLE_DOCUMENTS = 2000
_SAMPLE_CHARACTERS = 1_000_000
_LOOKED_AT = 4000
_ORDERS = (1, 2, 3, 4)
_BITS = 18
_PIECE = 200
_SMOOTHING = 0.01


class LanguageIdentifier(Protocol):
    """Says what language texts are in."""

    @property
    def codes(self) -> Collection[str] | None:
        """ISO 639-3 codes of the languages it knows; None where it cannot say."""
        ...

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """(ISO 639-3 code, probability) of each text; ("und", 0.0) where nothing can be said."""
        ...


# --- character n-grams -----------------------------------------------------------------------------------------------


def _ngrams(text: str) -> list[np.ndarray]:
    """For each order, the places of a text's n-grams in a table of 2**18: lower case, all but letters a space."""
    points = code_points(f" {text[:_LOOKED_AT].lower()} ").copy()
    points[~lettered(points)] = 32
    blank = points == 32
    points = points[~(blank & np.roll(blank, 1))].astype(np.uint64)
    points = np.concatenate([np.array([32], dtype=np.uint64), points])
    if not np.any(points != 32):
        return [np.zeros(0, dtype=np.int64) for _ in _ORDERS]
    shift = np.uint64(64 - _BITS)
    return [(runs(points, order) >> shift).astype(np.int64) for order in _ORDERS]


@dataclass(frozen=True)
class CharacterNGrams:
    """Naive Bayes on characters' 1- to 4-grams, every language as likely as the next. A LanguageIdentifier.

    codes: ISO 639-3, sorted. log_probabilities: (orders, languages, 2**18) float32. The probability is the mean over
    pieces of 200 characters, so lists of foreign names do not decide for a page: about the share of the text that is in
    the language, if it is in any that was learnt.
    """

    codes: tuple[str, ...]
    log_probabilities: np.ndarray

    @classmethod
    def learn(cls, samples: Mapping[str, Sequence[str]]) -> "CharacterNGrams":
        """Learns from texts by language: of each text the first 4,000 characters, of each language equally many.

        Raises DataError where there are fewer than two languages, or one without any letters.
        """
        codes = tuple(sorted(samples))
        if len(codes) < 2:
            raise DataError(
                f"{len(codes)} languages to tell apart; two are the least: name a corpus in another language"
            )
        least = min(sum(min(len(text), _LOOKED_AT) for text in samples[code]) for code in codes)
        tables = np.zeros((len(_ORDERS), len(codes), 1 << _BITS), dtype=np.float32)
        for place, code in enumerate(codes):
            for text in _first(samples[code], min(least, _SAMPLE_CHARACTERS)):
                for order, found in enumerate(_ngrams(text)):
                    np.add.at(tables[order, place], found, 1)
            if not tables[0, place].any():
                raise DataError(f"the texts of {code!r} hold no letters; there is nothing to learn the language from")
        tables += _SMOOTHING
        return cls(codes, np.log(tables / tables.sum(axis=2, keepdims=True)))

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest language of each text and its probability."""
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> tuple[str, float]:
        found = _ngrams(text)
        if not len(found[0]):
            return UNDETERMINED, 0.0
        fits = np.zeros((len(self.codes), len(found[0])), dtype=np.float32)
        for table, places in zip(self.log_probabilities, found, strict=True):
            fits[:, : len(places)] += table[:, places]
        starts = np.arange(0, fits.shape[1], _PIECE)
        # Every character stands in an n-gram of each order: their mean counts it once.
        scores = np.add.reduceat(fits, starts, axis=1) / len(_ORDERS)
        odds = np.exp(scores - scores.max(axis=0))
        lengths = np.minimum(_PIECE, fits.shape[1] - starts)
        mean = (odds / odds.sum(axis=0)) @ (lengths / lengths.sum())
        best = int(np.argmax(mean))
        return self.codes[best], min(1.0, float(mean[best]))


def _first(texts: Iterable[str], characters: int) -> Iterator[str]:
    """Texts, cut to 4,000 characters, until so many characters are reached."""
    for text in texts:
        cut = text[: min(_LOOKED_AT, characters)]
        if not cut:
            return
        characters -= len(cut)
        yield cut


# --- identifiers of others -------------------------------------------------------------------------------------------


@cache
def iso_639_3(code: str) -> str:
    """The ISO 639-3 code of a label such as "vie_Latn", "vi", "__label__vi" or "vie"; "und" where there is none."""
    import pycountry

    bare = code.removeprefix("__label__").split("_")[0].split("-")[0].lower()
    known = pycountry.languages.get(**{"alpha_2" if len(bare) == 2 else "alpha_3": bare})
    return known.alpha_3 if known else UNDETERMINED


class FastText:
    """A fastText model whose labels are languages: GlotLID, lid.176, OpenLID. A LanguageIdentifier."""

    def __init__(self, model: Path):
        """Raises DataError where fastText is not installed or the file is no model."""
        try:
            import fasttext  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise DataError(
                'filters.language.identifier is "fasttext", which is not installed: pip install fasttext'
            ) from error
        try:
            self._model: Any = fasttext.load_model(str(model))
        except ValueError as error:
            raise DataError(f"{model}: fastText cannot read it ({error}); give the .bin file of a model") from error
        labels = getattr(self._model, "labels", ())  # builds of fastText that only predict have no list of labels
        self.codes = frozenset(map(iso_639_3, labels)) or None

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The model's first label of each text."""
        # A list, because one text at a time fails under NumPy 2; no line break, because a line is a text.
        labels, probabilities = self._model.predict([" ".join(text[:_LOOKED_AT].split()) for text in texts], k=1)
        return [
            (iso_639_3(names[0]), min(1.0, float(values[0]))) if len(names) else (UNDETERMINED, 0.0)
            for names, values in zip(labels, probabilities, strict=True)
        ]


class Lingua:
    """lingua's 75 languages. A LanguageIdentifier."""

    def __init__(self) -> None:
        """Raises DataError where lingua is not installed."""
        try:
            from lingua import Language, LanguageDetectorBuilder  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise DataError(
                'filters.language.identifier is "lingua", which is not installed: pip install lingua-language-detector'
            ) from error
        self.codes = frozenset(language.iso_code_639_3.name.lower() for language in Language.all())
        self._detector: Any = LanguageDetectorBuilder.from_all_languages().build()

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The detector's first guess for each text and its confidence."""
        found = []
        for text in texts:
            values = self._detector.compute_language_confidence_values(text[:_LOOKED_AT])
            best = values[0] if values and values[0].value > 0 else None
            found.append((best.language.iso_code_639_3.name.lower(), best.value) if best else (UNDETERMINED, 0.0))
        return found


# --- the filter ------------------------------------------------------------------------------------------------------


def stride(count: int) -> int:
    """How far apart texts of a sample stand among `count`, so that they are 2,000 at most."""
    return max(1, -(-count // SAMPLE_DOCUMENTS))


def sample_of_corpus(corpus: Corpus) -> list[str]:
    """At most 2,000 texts of the train split, evenly spread."""
    import pyarrow.parquet as pq  # here, so that who builds a corpus without this does not hold it while reading

    count = pq.ParquetFile(corpus.path / "train.parquet").metadata.num_rows
    return list(islice(corpus.texts("train"), 0, None, stride(count)))


def identifier_for(settings: LanguageFilter, language: str, samples: Mapping[str, Sequence[str]]) -> LanguageIdentifier:
    """The identifier that the settings name, which is not None; samples: texts by language for "ngrams".

    Raises DataError where it is not installed, does not know the language (it would take every document for another
    one's), or a model's file is not the one whose checksum is given.
    """
    found: LanguageIdentifier
    if settings.identifier == "ngrams":
        found = CharacterNGrams.learn(samples)
    elif settings.identifier == "lingua":
        found = Lingua()
    else:
        path = Path(settings.model or "")
        if not path.is_file():
            raise DataError(f"{path}: no such file; filters.language.model is the .bin file of a fastText model")
        if (came := file_sha256(path)) != settings.model_sha256:
            raise DataError(f"{path}: its sha256 is {came}, filters.language.model_sha256 says {settings.model_sha256}")
        found = FastText(path)
    if found.codes is not None and not {language, *settings.accept} & set(found.codes):
        raise DataError(
            f"filters.language.identifier {settings.identifier!r} does not know {language!r}; take another one, or "
            "name in filters.language.accept the code that it has for the language"
        )
    return found


def foreign(
    texts: Sequence[str], language: str, settings: LanguageFilter, identifier: LanguageIdentifier
) -> list[bool]:
    """Whether each text is in another language than `language`; a text that nothing can be said of is not."""
    ours = {language, *settings.accept, UNDETERMINED}
    return [code not in ours and probability >= settings.certainty for code, probability in identifier(texts)]
