"""What `corpus show` and `corpus diff` print: lines for people, and objects for JSON."""

import unicodedata
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.cells import cell_len, set_cell_size

from lowres.artifacts import CORPUS_SPLITS
from lowres.corpus.compare import Difference, Group, Sample
from lowres.corpus.find import FoundCorpus, raw_files

_SAMPLE_LINES = 3
_DIFF_LINES = 40


def shown_json(found: FoundCorpus, samples: list[Sample]) -> dict[str, Any]:
    """A corpus as one JSON object."""
    manifest, card = found.manifest, found.card
    about = {"card": card.name, "date": card.date, "licence": card.licence, "statement": card.statement} if card else {}
    return {
        "corpus": found.name,
        "folder": str(found.corpus.path),
        **manifest.model_dump(mode="json", include={"id", "version", "lowres", "created", "spec", "cost"}),
        "source": {"sha256": raw_files(manifest), **about},
        **manifest.facts,
        "samples": [asdict(sample) for sample in samples],
    }


def shown(found: FoundCorpus, samples: list[Sample], width: int) -> Iterator[str]:
    """A corpus in lines. width: of the terminal, in cells."""
    manifest, card = found.manifest, found.card
    facts, cost = manifest.facts, manifest.cost
    yield f"corpus:   {found.name} ({manifest.spec['language']}), {manifest.id[:12]}, {found.corpus.path}"
    yield (
        f"source:   {card.name} of {card.date}, {card.licence}"
        if card
        else "source:   no card says where it comes from"
    )
    yield from (f"          sha256 {sha256}" for sha256 in raw_files(manifest))
    yield (
        f"built:    {manifest.created} by lowres {manifest.lowres}, build_corpus {manifest.version}; "
        f"{cost.wall_s:,.1f} s, {cost.cpu_s:,.1f} s of processor, at most {cost.peak_bytes / 2**20:,.0f} MiB"
    )
    yield ""
    yield f"{'split':16} {'documents':>12} {'bytes':>16}"
    for split in CORPUS_SPLITS:
        yield f"{split:16} {facts['documents'][split]:12,} {facts['bytes'][split]:16,}"
    yield f"{'all':16} {sum(facts['documents'].values()):12,} {sum(facts['bytes'].values()):16,}"
    yield ""
    yield f"{'left out':16} {'pages':>12}   examples, of {facts['source_pages']:,} pages"
    for row in facts["funnel"]:
        if row["pages"]:
            yield f"{row['reason']:16} {row['pages']:12,}   {', '.join(map(str, row['example_ids']))}"
    for sample in samples:
        yield ""
        yield fitted(f"[{sample.split} {sample.id}, {sample.bytes:,} bytes] {sample.title}", width)
        lines = [line for line in sample.text.split("\n") if line.strip()]
        yield from (fitted(f"  {line}", width) for line in lines[:_SAMPLE_LINES])


def different_json(a: FoundCorpus, b: FoundCorpus, found: Difference) -> dict[str, Any]:
    """A comparison as one JSON object."""
    ids = {name: {"corpus": one.name, "id": one.manifest.id} for name, one in (("a", a), ("b", b))}
    return {**ids, **asdict(found)}


def different(a: FoundCorpus, b: FoundCorpus, found: Difference, width: int) -> Iterator[str]:
    """A comparison in lines. width: of the terminal, in cells."""
    for letter, one in (("A", a), ("B", b)):
        yield f"{letter}: {one.name}, {one.manifest.id[:12]}, {one.corpus.path}"
    yield f"documents are told by their {'id' if found.by == 'id' else 'title and text: one of the two has no ids'}"
    yield f"{'equal':24} {found.equal:12,}"
    yield from _group("only in A", found.only_a, width)
    yield from _group("only in B", found.only_b, width)
    yield from _group("other text", found.changed, width, f" in A, {found.changed_bytes_b:,} in B")
    yield from _group("other title", found.retitled, width)
    for name, group in found.moved.items():
        yield from _group(f"moved {name}", group, width)
    tables = {"documents": found.documents, "bytes": found.bytes, "left out": found.funnel, "settings": found.settings}
    for title, rows in tables.items():
        if rows:
            yield ""
            yield f"{title:24} {'A':>16} {'B':>16}"
        for name, pair in rows.items():
            left, right = map(_value, pair)
            yield f"{name:24} {left:>16} {right:>16}"
    for text in found.rewritten:
        yield ""
        yield fitted(f"[{text.id}] {text.title}", width)
        yield from (f"  {plain(line)}" for line in text.diff[:_DIFF_LINES])
        if len(text.diff) > _DIFF_LINES:
            yield f"  ... and {len(text.diff) - _DIFF_LINES:,} more lines (--json has them all)"


def _group(title: str, group: Group, width: int, more: str = "") -> Iterator[str]:
    if group.documents:
        yield f"{title:24} {group.documents:12,} documents, {group.bytes:,} bytes{more}"
        yield from (fitted(f"    [{one.id}] {one.title}", width) for one in group.samples)


def _value(value: Any) -> str:
    """A number, a setting, or the beginning of a checksum."""
    if type(value) is int:
        return f"{value:,}"
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)


def plain(text: str) -> str:
    """`text` without control characters, which could steer the terminal."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)


def fitted(text: str, width: int) -> str:
    """One line cut to `width` cells, of which a wide character takes two."""
    line = plain(text[: 2 * width + 2])
    return line if cell_len(line) <= width else set_cell_size(line, width - 1).rstrip() + "…"
