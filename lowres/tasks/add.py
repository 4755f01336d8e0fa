"""A user's own labelled file as a task: a card that points to it by path and checksum, and a look at what is in it."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from lowres.artifacts import TASK_SPLITS, Document
from lowres.cards import Carving, Layout, TaskCard, TaskKind, check_language, layout_fault
from lowres.errors import DataError
from lowres.fingerprint import file_sha256
from lowres.tasks.audit import duplicates_between, duplicates_within
from lowres.tasks.read import RawFile, read_rows
from lowres.tasks.splits import with_splits
from lowres.tasks.subsets import label_counts, without_labels

Format = Literal["csv", "tsv", "jsonl", "parquet"]
_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_PACKED = (".gz", ".xz", ".bz2")
_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$")
_SCRIPTS = {
    "LATIN": "Latn",
    "CYRILLIC": "Cyrl",
    "GREEK": "Grek",
    "ARABIC": "Arab",
    "HEBREW": "Hebr",
    "DEVANAGARI": "Deva",
    "BENGALI": "Beng",
    "GURMUKHI": "Guru",
    "GUJARATI": "Gujr",
    "ORIYA": "Orya",
    "TAMIL": "Taml",
    "TELUGU": "Telu",
    "KANNADA": "Knda",
    "MALAYALAM": "Mlym",
    "SINHALA": "Sinh",
    "THAI": "Thai",
    "LAO": "Laoo",
    "KHMER": "Khmr",
    "MYANMAR": "Mymr",
    "TIBETAN": "Tibt",
    "ETHIOPIC": "Ethi",
    "GEORGIAN": "Geor",
    "ARMENIAN": "Armn",
    "HANGUL": "Hang",
    "CJK": "Hani",
    "HIRAGANA": "Jpan",
    "KATAKANA": "Jpan",
    "TIFINAGH": "Tfng",
    "NKO": "Nkoo",
}
_STATEMENT = """\
Added from {file} with `lowres task add`. Who wrote the texts, where, in which variety of the language,
and who gave the labels is not known yet: say it here, with the limits you know of.
"""


@dataclass(frozen=True)
class AddedTask:
    """What `add_task` made and found.

    counts: split -> label -> documents. documents: split -> labelled documents; without_labels: split -> those of them
    with an empty set of labels. carved: the splits that were made by hash. unlabelled, empty: rows without a
    label (they stay in train) and without text. groups: distinct groups, None without a group column.
    duplicates_within: split -> texts that stood before in it; duplicates_between: test_in_train, dev_in_train,
    test_in_dev -> texts.
    """

    name: str
    card: Path
    kind: TaskKind
    counts: dict[str, dict[str, int]]
    documents: dict[str, int]
    without_labels: dict[str, int]
    carved: tuple[str, ...]
    unlabelled: int
    empty: int
    groups: int | None
    duplicates_within: dict[str, int]
    duplicates_between: dict[str, int]

    def described(self) -> str:
        """What the command prints: a few lines."""
        labels = sorted({label for counts in self.counts.values() for label in counts})
        width = max(len("label"), *map(len, labels))
        lines = [f"wrote {self.card}: use it with tasks = [{self.name!r}]", ""]
        lines.append(f"{'label':{width}} {''.join(f'{split:>8}' for split in TASK_SPLITS)}   share of train")
        whole = self.documents["train"]
        for label in labels:
            row = "".join(f"{self.counts[split].get(label, 0):>8}" for split in TASK_SPLITS)
            lines.append(f"{label:{width}} {row}   {self.counts['train'].get(label, 0) / whole:.1%}")
        lines.append("")
        if self.kind == "multi-label":
            mean = sum(sum(counts.values()) for counts in self.counts.values()) / sum(self.documents.values())
            lines.append(f"{mean:.2f} labels a text; {sum(self.without_labels.values())} texts have none")
        if self.carved:
            groups = "" if self.groups is None else f", {self.groups} groups kept whole"
            lines.append(f"{' and '.join(reversed(self.carved))} carved from the file by hash{groups}")
        within, between = sum(self.duplicates_within.values()), self.duplicates_between
        shared = ", ".join(f"{n} {pair.replace('_', ' ')}" for pair, n in between.items())
        lines.append(f"equal texts: {within} repeats within a split; {shared}")
        if self.unlabelled or self.empty:
            lines.append(f"{self.unlabelled} rows without a label stay in train as text; {self.empty} texts are empty")
        return "\n".join(lines)


def add_task(
    file: Path,
    *,
    text: str,
    language: str,
    label: str | None = None,
    kind: TaskKind = "classification",
    label_separator: str | None = None,
    label_columns: Sequence[str] = (),
    group: str | None = None,
    name: str | None = None,
    out_dir: Path = Path("corpora"),
    encoding: str | None = None,
    quoting: Literal["minimal", "none"] | None = None,
) -> AddedTask:
    """Reads a labelled file and writes its task card, `out_dir/NAME.toml`; the file itself stays where it is.

    kind "multi-label": a text has several labels or none, in the field `label` with label_separator between them, in a
    list there (JSON lines, Parquet), or in label_columns of 0 and 1, where there is no field `label`.
    name: by default the language's folder and the file's name, `vi/reviews`. The format is told by the file's suffix.
    encoding None is UTF-8, quoting None is "minimal". Raises DataError, with nothing written, where the file is not
    what it is said to be, the language is unknown, or a card of that name says something else.
    """
    path, format = Path(file), _format(Path(file))
    _check_language(path, language)
    name = _name(path, name, language)
    content = {
        "format": format,
        "text": text,
        "group": group,
        "encoding": encoding or "utf-8",
        "quoting": quoting or "minimal",
        "label_separator": label_separator,
        "label_columns": tuple(label_columns),
    }
    layout = _layout(path, content if label is None else content | {"label": label}, kind)
    rows = with_splits(read_rows([RawFile("all", path, str(path))], layout, kind), Carving(), str(path), kind)
    documents = [Document(row.id, row.split, row.label, row.text, row.group) for row in rows.rows]
    card_path = out_dir / f"{name}.toml"
    about = {"name": name, "kind": kind, "language": language, "script": _script(row.text for row in rows.rows)}
    _write(card_path, _card(path, card_path, about, layout))
    by_split = {split: [document for document in documents if document.split == split] for split in TASK_SPLITS}
    return AddedTask(
        name=name,
        card=card_path,
        kind=kind,
        counts={split: label_counts(there, kind) for split, there in by_split.items()},
        documents={split: sum(d.label is not None for d in there) for split, there in by_split.items()},
        without_labels={split: without_labels(there, kind) for split, there in by_split.items()},
        carved=rows.carved,
        unlabelled=sum(document.label is None for document in documents),
        empty=sum(not document.text.strip() for document in documents),
        groups=None if group is None else len({document.group for document in documents} - {None}),
        duplicates_within=duplicates_within(documents),
        duplicates_between={pair: len(ids) for pair, ids in duplicates_between(documents).items()},
    )


def _layout(path: Path, content: dict[str, Any], kind: TaskKind) -> Layout:
    """Raises DataError where the options do not go together."""
    if ("label" in content) == bool(content["label_columns"]):
        raise DataError(f"{path}: name the labels' column (--label), or one column for each label (--label-column)")
    try:
        layout = Layout.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    if fault := layout_fault(kind, layout):
        raise DataError(f"{path}: {fault}")
    return layout


def _format(path: Path) -> Format:
    if not path.is_file():
        raise DataError(f"{path}: no such file; name the labelled file")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _PACKED]
    if not suffixes or suffixes[-1] not in _FORMATS:
        raise DataError(f"{path}: the suffix does not tell the format; it is one of {', '.join(_FORMATS)}")
    return _FORMATS[suffixes[-1]]


def _check_language(path: Path, language: str) -> None:
    try:
        check_language(language)
    except ValueError as error:
        raise DataError(f"{path}: --language: {error}") from error


def _name(path: Path, name: str | None, language: str) -> str:
    import pycountry

    if name is None:
        known = pycountry.languages.get(alpha_3=language)
        stem = re.sub(r"[^a-z0-9._-]+", "_", path.name.split(".")[0].lower()).strip("._-") or "task"
        return f"{getattr(known, 'alpha_2', language)}/{stem}"
    if not _NAME.match(name):
        raise DataError(f"--name {name}: it names a file; use small letters, digits, '.', '_', '-' and '/'")
    return name


def _script(texts: Iterable[str]) -> str:
    """ISO 15924 code of the script that most letters belong to, "unknown" where it is not in the list."""
    letters = Counter(char for text in texts for char in text if char.isalpha())
    scripts: Counter[str] = Counter()
    for char, count in letters.items():
        scripts[unicodedata.name(char, "UNKNOWN").split()[0].split("-")[0]] += count
    return _SCRIPTS.get(scripts.most_common(1)[0][0], "unknown") if scripts else "unknown"


def _card(path: Path, card_path: Path, about: dict[str, str], layout: Layout) -> str:
    """The card's TOML, checked to be a card. about: name, kind, language and script."""
    import tomli_w

    here = Path.cwd().resolve()
    inside = path.resolve().is_relative_to(here) and card_path.resolve().is_relative_to(here)
    shown = os.path.relpath(path.resolve(), card_path.resolve().parent) if inside else str(path.resolve())
    card = TaskCard.model_validate(
        {
            "card": "task",
            **about,
            "licence": "unknown",
            "statement": _STATEMENT.format(file=path.name),
            "layout": layout.model_dump(exclude_defaults=True),
            "carving": Carving(),
            "files": [
                {
                    "role": "all",
                    "sha256": file_sha256(path),
                    "bytes": path.stat().st_size,
                    "path": Path(shown).as_posix(),
                }
            ],
        }
    )
    content = card.model_dump(mode="json", exclude_none=True)
    content["layout"] = layout.model_dump(mode="json", exclude_defaults=True)
    order = ("card", "name", "kind", "language", "script", "licence", "statement", "layout", "carving", "files")
    return tomli_w.dumps({key: content[key] for key in order}, multiline_strings=True)


def _write(card_path: Path, card: str) -> None:
    """Writes the card whole. Raises DataError where another one stands there."""
    if card_path.exists() and card_path.read_text(encoding="utf-8") != card:
        raise DataError(f"{card_path}: another card stands there; remove it, or give this task a --name of its own")
    card_path.parent.mkdir(parents=True, exist_ok=True)
    partial = card_path.with_suffix(".partial")
    partial.write_text(card, encoding="utf-8")
    partial.replace(card_path)
