"""The settings of a corpus and its stage."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from lowres.artifacts import Spec, Stage
from lowres.cards import CorpusCard, card_of_language
from lowres.fingerprint import added_later
from lowres.templates import TemplateTable
from lowres.text.normalise import Normalisation


class LanguageFilter(Spec):
    """Which documents are in another language than the corpus's. Nothing is left out unless something is asked for."""

    script: str | None = None
    """ISO 15924. Documents with too few letters of this script are left out."""
    least_in_script: float = Field(default=0.5, gt=0, le=1)
    """Least share of a document's letters that are of `script`."""
    identifier: Literal["ngrams", "fasttext", "lingua"] | None = None
    """What tells languages apart."""
    against: tuple[str, ...] = ()
    """ "ngrams": cards of corpora in other languages, which it learns beside the corpus itself."""
    model: str | None = None
    """ "fasttext": the file of a model, such as GlotLID's; its checksum counts, not its place."""
    model_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    accept: tuple[str, ...] = ()
    """ISO 639-3 codes that pass for the corpus's language, e.g. "swh" for "swa"."""
    certainty: float = Field(default=0.9, ge=0, le=1)
    """Least probability of another language that leaves a document out."""

    @model_validator(mode="after")
    def _goes_together(self) -> "LanguageFilter":
        from lowres.text.scripts import known_script

        if self.script is not None and not known_script(self.script):
            raise ValueError(f"script is {self.script!r}, which is no ISO 15924 code of a script; e.g. 'Latn'")
        if (self.identifier == "ngrams") != bool(self.against):
            raise ValueError('identifier = "ngrams" and against = [cards of corpora in other languages] go together')
        if (self.identifier == "fasttext") != bool(self.model) or bool(self.model) != bool(self.model_sha256):
            raise ValueError('identifier = "fasttext", model (a file) and model_sha256 go together')
        return self

    def hashed(self) -> dict[str, Any]:
        """The checksum names the model, not the place; and the other corpora are inputs of the stage."""
        return {name: value for name, value in super().hashed().items() if name not in ("model", "against")}


class Filters(Spec):
    """Which documents are left out of a corpus; each is counted in the manifest with example ids."""

    min_bytes: int | Literal["auto"] = "auto"
    """Least UTF-8 bytes of a document. "auto": the tenth percentile of the articles, held between 100 and 500."""
    stubs: bool = True
    """Leave out template-made stubs: more than half of their digit-masked word 5-grams stand in four or more pages."""
    duplicates: bool = True
    """Leave out documents whose normalised text was seen before."""
    near_duplicates: float | None = added_later(0.8, neutral=None, ge=0.2, le=1)
    """Leave out all but the smallest id of documents whose shingles have this Jaccard similarity; false: keep them."""
    language: LanguageFilter = added_later(LanguageFilter(), neutral=LanguageFilter())
    """Leave out documents in another script or language."""

    @field_validator("near_duplicates", mode="before")
    @classmethod
    def _may_be_false(cls, value: Any) -> Any:
        """TOML has no None."""
        if value is True:
            raise ValueError("near_duplicates is true; give the least similarity, e.g. 0.8, or false")
        return None if value is False else value


class Markup(Spec):
    """What the markup of a dump becomes."""

    math: Literal["drop", "placeholder"] = added_later("drop", neutral="drop")
    """A formula (`<math>`, `<chem>`, `<ce>`): left out, or the word FORMULA."""


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
    markup: Markup = added_later(Markup(), neutral=Markup())
    templates: TemplateTable = added_later(TemplateTable(), neutral=TemplateTable())
    """What the language's card says of inline templates that the shipped tables do not; see `template_additions`."""

    @classmethod
    def of(cls, card: CorpusCard, normalisation: Normalisation | None = None, **settings: Any) -> "CorpusSpec":
        """The whole corpus of a card and of its language's card, with the default filters but for `settings`."""
        first, *more = (file.pinned for file in card.texts)
        return cls(
            source_sha256=first,
            more_sha256=tuple(more),
            format=card.format,
            language=card.language,
            text_field=card.text_field,
            title_field=card.title_field,
            documents=card.documents,
            normalisation=normalisation or Normalisation(),
            templates=template_additions(card.language, card.format),
            **settings,
        )

    def raw_files(self) -> tuple[str, ...]:
        """The dump, or the files of the corpus."""
        return (self.source_sha256, *self.more_sha256)


def template_additions(language: str, form: str) -> TemplateTable:
    """What the card of a language adds to the shipped tables of inline templates. form: only a dump has templates.

    Raises RecipeError where the card is at fault.
    """
    from lowres.corpus.templates import additions

    card = card_of_language(language) if form == "mediawiki" else None
    return additions(language, card.templates) if card else TemplateTable()


BUILD_CORPUS = Stage("build_corpus", 3, "data", "lowres.corpus.build:build_corpus", CorpusSpec)
