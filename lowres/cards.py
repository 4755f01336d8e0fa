"""Cards: TOML files under `corpora/` that declare a language, a corpus, a task, a treebank or a tokenizer.

A card says where data comes from (URL pinned to a commit or a date, and sha256), its licence, its language, always
named and never guessed, and a data statement. A card's name is its path below `corpora/` without `.toml`:
`vi/uit_vsfc_sentiment`.
"""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import Field, field_validator, model_validator

from lowres.errors import RecipeError, StoreError
from lowres.faults import validated
from lowres.fingerprint import Spec, added_later
from lowres.prompts import Prompt, prompt_faults
from lowres.templates import TemplateTable

_PACKAGE = Path(__file__).parent

TaskKind = Literal["classification", "multi-label"]
"""What a task asks of a text: its one label, or the set of its labels. lowres.labels owns what differs."""


class CardFile(Spec):
    """One raw file of a card.

    role: what it holds: "all" (a corpus, or a task to be carved), "train", "dev", "test" (of a task or a treebank); for
    parallel line files "train:text" and "train:label"; for GPT-2's tokenizer "encoder" and "merges"; "index": of a
    multistream dump.
    sha256: names the file everywhere. sha1: for a source that publishes no sha256; a download is checked by it, and
    `lowres fetch CARD --write` then fills in the sha256, without which no recipe runs.
    url: where those very bytes are served, pinned. derived: how the file was made, where no URL serves its bytes.
    path: beside the card, for data that the project carries or a user has.
    """

    role: str
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    sha1: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    bytes: int = Field(ge=0)
    url: str | None = None
    derived: str | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _has_origin(self) -> "CardFile":
        if not (self.url or self.derived or self.path):
            raise ValueError("a file needs url, path, or derived (how it was made)")
        if not (self.sha256 or self.sha1):
            raise ValueError("a file needs sha256, or the sha1 that its source publishes")
        return self

    @property
    def checksum(self) -> tuple[str, str]:
        """What the file is checked by: ("sha256", digits), or ("sha1", digits) where there is no sha256 yet."""
        return ("sha256", self.sha256) if self.sha256 else ("sha1", str(self.sha1))

    @property
    def pinned(self) -> str:
        """The sha256, by which artifacts name the file. Raises RecipeError where it is not known yet."""
        if self.sha256 is None:
            raise RecipeError(f"the file {self.role} has a sha1 alone; `lowres fetch CARD --write` fills in its sha256")
        return self.sha256


class Layout(Spec):
    """How a task's files are read."""

    format: Literal["csv", "tsv", "jsonl", "parquet", "lines"]
    """"lines": parallel files, one item a line, texts in one and labels in the other."""
    text: str = "text"
    label: str = "label"
    group: str | None = None
    id: str | None = None
    encoding: str = "utf-8"
    quoting: Literal["minimal", "none"] = "minimal"
    names: dict[str, str] = Field(default_factory=dict)
    """Label as it stands in the file -> label as lowres names it. Empty: as it stands."""
    label_separator: str | None = added_later(None, neutral=None, min_length=1)
    """multi-label: what stands between the labels of a text in its one field. Without it the field holds a list."""
    label_columns: tuple[str, ...] = added_later((), neutral=())
    """multi-label: columns of 0 and 1, each named like its label; `label` is not read then."""

    @model_validator(mode="after")
    def _labels_stand_in_one_way(self) -> "Layout":
        if self.label_columns and self.label_separator is not None:
            raise ValueError("label_columns and label_separator are both set; labels stand in one way")
        if self.label_columns and self.format == "lines":
            raise ValueError("label_columns are of tables; parallel line files take label_separator")
        if len(set(self.label_columns)) != len(self.label_columns):
            raise ValueError(f"label_columns {list(self.label_columns)} names a column twice")
        return self


class Carving(Spec):
    """Shares carved from train where a file has no dev or test split: stratified, groups whole, by hash."""

    dev: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.2, gt=0, lt=0.5)


class Card(Spec):
    """What every card says."""

    name: str
    language: str
    """ISO 639-3."""
    licence: str = Field(min_length=2)
    statement: str = Field(min_length=20)
    """The data statement: who wrote it, where, in which variety, what is known of its makers and its limits."""
    files: tuple[CardFile, ...] = Field(min_length=1)

    @field_validator("language")
    @classmethod
    def _language_is_known(cls, value: str) -> str:
        check_language(value)
        return value


class CorpusCard(Card):
    """Unlabelled text, in one file or in several that are read one behind the other.

    format: a MediaWiki export, JSON lines, Parquet, or plain text. documents: of plain text, what ends a document.
    """

    card: Literal["corpus"]
    script: str
    """ISO 15924."""
    format: Literal["mediawiki", "jsonl", "parquet", "text"]
    date: str = Field(pattern=r"^(unknown|\d{4}(\d{2}(\d{2})?)?)$")
    """Of the dump or the crawl: YYYYMMDD, YYYYMM, YYYY, or unknown."""
    text_field: str = "text"
    title_field: str = "title"
    documents: Literal["blank-line", "file"] = "blank-line"

    @field_validator("files")
    @classmethod
    def _revisions_are_pinned(cls, value: tuple[CardFile, ...]) -> tuple[CardFile, ...]:
        for file in value:
            dataset = re.match(r"https://huggingface\.co/datasets/[^/]+/[^/]+/resolve/([^/]+)/", file.url or "")
            if dataset and not re.fullmatch(r"[0-9a-f]{40}", dataset.group(1)):
                raise ValueError(
                    f"the dataset's revision is {dataset.group(1)!r}, which moves; pin a commit, 40 digits"
                )
        return value

    @field_validator("files")
    @classmethod
    def _roles_are_known(cls, value: tuple[CardFile, ...]) -> tuple[CardFile, ...]:
        roles = [file.role for file in value]
        if "all" not in roles or set(roles) - {"all", "index"}:
            raise ValueError(f"the roles are {', '.join(roles)}; text has role 'all', the index of a dump 'index'")
        return value

    @property
    def texts(self) -> tuple[CardFile, ...]:
        """The files that are read, in order: all but the index of a multistream dump."""
        return tuple(file for file in self.files if file.role == "all")


class TaskCard(Card):
    """Labelled text."""

    card: Literal["task"]
    script: str
    kind: TaskKind = "classification"
    layout: Layout
    carving: Carving = Carving()
    prompts: tuple[Prompt, ...] = ()

    @model_validator(mode="after")
    def _prompts_fit(self) -> "TaskCard":
        for prompt in self.prompts:
            check_language(prompt.language)
        if found := prompt_faults(self.prompts, self.layout.names):
            raise ValueError(f"prompts: {'; '.join(found)}")
        return self

    @model_validator(mode="after")
    def _layout_fits_the_kind(self) -> "TaskCard":
        if fault := layout_fault(self.kind, self.layout):
            raise ValueError(fault)
        return self


def layout_fault(kind: TaskKind, layout: Layout) -> str | None:
    """Why a layout cannot be of a task of this kind, in one line, or None."""
    said = next((name for name in ("label_separator", "label_columns") if getattr(layout, name)), None)
    if kind == "classification" and said:
        return f'layout.{said} is for several labels a text; set kind = "multi-label", or leave it out'
    if kind == "multi-label" and not said and layout.format not in ("jsonl", "parquet"):
        return (
            f'kind is "multi-label" and {layout.format} holds no lists; set layout.label_separator (labels in one '
            "field) or layout.label_columns (a column of 0 and 1 for each label)"
        )
    return None


class TreebankCard(Card):
    """Text whose sentences and words were told by people: a treebank of Universal Dependencies, in CoNLL-U."""

    card: Literal["treebank"]
    script: str
    """ISO 15924."""

    @field_validator("files")
    @classmethod
    def _has_three_splits(cls, value: tuple[CardFile, ...]) -> tuple[CardFile, ...]:
        roles = [file.role for file in value]
        if sorted(roles) != ["dev", "test", "train"]:
            raise ValueError(f"the roles are {', '.join(roles)}; a treebank has one file each of train, dev and test")
        return value


class TokenizerCard(Card):
    """A published tokenizer, from its files."""

    card: Literal["tokenizer"]
    kind: Literal["gpt2"]
    language: str = "mul"


class LanguageCard(Spec):
    """A language: codes, names, script and direction; inline templates of its Wikipedia."""

    card: Literal["language"]
    iso: str
    wiki: str
    name: str
    endonym: str = "unknown"
    script: str = "unknown"
    direction: Literal["ltr", "rtl", "unknown"] = "unknown"
    templates: TemplateTable = TemplateTable()

    @field_validator("iso")
    @classmethod
    def _language_is_known(cls, value: str) -> str:
        check_language(value)
        return value


AnyCard = TypeVar("AnyCard", CorpusCard, TaskCard, TreebankCard, TokenizerCard, LanguageCard)


def check_language(code: str) -> None:
    """Raises ValueError, in words a user can act on, where `code` is not an ISO 639-3 code."""
    import pycountry

    if len(code) == 3 and pycountry.languages.get(alpha_3=code):
        return
    meant = pycountry.languages.get(alpha_2=code) if len(code) == 2 else None
    if meant is None:
        try:
            meant = pycountry.languages.lookup(code)
        except LookupError:
            meant = None
    hint = f"did you mean {meant.alpha_3!r} ({meant.name})?" if meant else "for Vietnamese it is 'vie'"
    raise ValueError(f"{code!r} is not an ISO 639-3 language code; {hint}")


def library_folders(kind: Literal["recipes", "corpora"]) -> list[Path]:
    """Where recipes or cards are looked for.

    Below the working directory, then inside the installed package, then (for an editable install) beside it.
    """
    places = [Path.cwd() / kind, _PACKAGE / kind, _PACKAGE.parent / kind]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def names_of(kind: Literal["recipes", "corpora"]) -> dict[str, Path]:
    """Every name of a recipe or card that can be found, with its file; the first place wins."""
    found: dict[str, Path] = {}
    for folder in library_folders(kind):
        for path in sorted(folder.rglob("*.toml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def find_file(kind: Literal["recipes", "corpora"], name: str) -> Path:
    """The TOML file of a recipe or card given by path or by name. Raises RecipeError with the nearest names."""
    direct = Path(name)
    if direct.suffix == ".toml" and direct.is_file():
        return direct
    found = names_of(kind)
    wanted = name.removeprefix(f"{kind}/").removesuffix(".toml")
    if wanted in found:
        return found[wanted]
    near = difflib.get_close_matches(wanted, found, n=1, cutoff=0.5)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"`lowres ls {'recipes' if kind == 'recipes' else 'cards'}` lists them"
    )
    what = "recipe" if kind == "recipes" else "card"
    raise RecipeError(f"{name}: no such {what}; {hint}")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dict. Raises RecipeError with file and line on bad TOML or bad UTF-8."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error


def read_card(name: str, kind: type[AnyCard]) -> tuple[AnyCard, Path]:
    """The card called `name` and its file. Raises RecipeError with all its faults."""
    path = find_file("corpora", name)
    content = read_toml(path)
    wanted = get_args(kind.model_fields["card"].annotation)[0]
    if content.get("card") != wanted:
        raise RecipeError(
            f"{path}: card is {content.get('card')!r}; a {wanted} card is needed here (card = {wanted!r})"
        )
    return validated(kind, content, str(path)), path


def read_data_card(name: str) -> tuple[Card, Path]:
    """A card with files, of whichever kind, and its own file. Raises RecipeError with all its faults."""
    path = find_file("corpora", name)
    kinds: dict[Any, type[Any]] = {
        "corpus": CorpusCard,
        "task": TaskCard,
        "treebank": TreebankCard,
        "tokenizer": TokenizerCard,
    }
    said = read_toml(path).get("card")
    if said not in kinds:
        raise RecipeError(f"{path}: card is {said!r}; one that has files is needed here: {', '.join(kinds)}")
    return read_card(str(path), kinds[said])


def card_of_language(iso: str) -> LanguageCard | None:
    """The first `language.toml` by name that is of this language, or None. Raises RecipeError with all its faults."""
    for name, path in sorted(names_of("corpora").items()):
        if path.name == "language.toml" and read_toml(path).get("iso") == iso:
            return read_card(name, LanguageCard)[0]
    return None


def unpinned(card: Card, path: Path) -> list[str]:
    """A line for every file of a card whose sha256 is not known yet."""
    return [
        f"{path}: files.{place}.sha256 is not known, only the source's sha1; `lowres fetch {card.name} --write` "
        "downloads the file, checks it and fills it in"
        for place, file in enumerate(card.files)
        if file.sha256 is None
    ]


def fill_in(path: Path, checksums: list[str]) -> None:
    """Writes the sha256 of each file into a card, in the card's order; all else stays as it stands."""
    import tomlkit

    content = tomlkit.parse(path.read_text(encoding="utf-8"))
    for file, sha256 in zip(content["files"], checksums, strict=True):  # type: ignore[arg-type]
        file["sha256"] = sha256
    write_card(path, tomlkit.dumps(content))


def write_card(path: Path, text: str) -> None:
    """Writes a card, whole or not at all."""
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: it may not be written ({error.strerror})") from error
