"""The settings of a corpus and its stage."""

from typing import Literal

from pydantic import Field

from lowres.artifacts import Spec, Stage
from lowres.fingerprint import added_later
from lowres.text.normalise import Normalisation


class Filters(Spec):
    """Which documents are left out of a corpus; each is counted in the manifest with example ids."""

    min_bytes: int | Literal["auto"] = "auto"
    """Least UTF-8 bytes of a document. "auto": the tenth percentile of the articles, held between 100 and 500."""
    stubs: bool = True
    """Leave out template-made stubs: more than half of their digit-masked word 5-grams stand in four or more pages."""
    duplicates: bool = True
    """Leave out documents whose normalised text was seen before."""


class Splits(Spec):
    """Shares of documents held out, by a hash of the document id."""

    valid: float = Field(default=0.05, gt=0, lt=0.5)
    test: float = Field(default=0.05, gt=0, lt=0.5)


class CorpusSpec(Spec):
    """What `build_corpus` computes a corpus from."""

    source_sha256: str
    """The raw file, by checksum; compression is told by its first bytes."""
    format: Literal["mediawiki", "jsonl", "parquet", "text"]
    language: str
    """ISO 639-3."""
    text_field: str = "text"
    title_field: str = "title"
    normalisation: Normalisation = Normalisation()
    filters: Filters = Filters()
    splits: Splits = Splits()
    max_bytes: int | None = None
    """Byte budget of the train split, drawn by a hash of the document id; None: everything."""
    more_sha256: tuple[str, ...] = added_later((), neutral=())
    """Files that are read behind the first, in this order."""
    documents: Literal["blank-line", "file"] = added_later("blank-line", neutral="blank-line")
    """What ends a document of plain text: a blank line, or its file."""
    allow_truncated: bool = added_later(False, neutral=False)
    """Take the whole pages of a file that is cut short; else it is refused."""

    def raw_files(self) -> tuple[str, ...]:
        """The dump, or the files of the corpus."""
        return (self.source_sha256, *self.more_sha256)


BUILD_CORPUS = Stage("build_corpus", 2, "data", "lowres.corpus.build:build_corpus", CorpusSpec)
