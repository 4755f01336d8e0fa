"""Dumps made for a test: pages of words that compress badly, so that small files have several blocks."""

import bz2
import random
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lowres.corpus.block_file import BlockFile, partitions
from lowres.corpus.extract import Extraction, SourceFile
from lowres.corpus.filters import REASONS
from lowres.text.normalise import Normalisation

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="vi">
  <siteinfo><sitename>Wikipedia</sitename><namespaces>
    <namespace key="0" case="first-letter" />
    <namespace key="6" case="first-letter">Tập tin</namespace>
    <namespace key="10" case="first-letter">Bản mẫu</namespace>
  </namespaces></siteinfo>
"""
TAIL = "</mediawiki>\n"
_SPELLED = str.maketrans("0123456789", "ghijklmnop")


def words(seed: int, count: int) -> str:
    """Words of six letters, unlike those of any other seed."""
    letters = random.Random(seed).randbytes(3 * count).hex().translate(_SPELLED)
    return " ".join(letters[at : at + 6] for at in range(0, len(letters), 6))


def page(number: int, text: str, title: str = "", ns: int = 0) -> str:
    return (
        f"  <page>\n    <title>{title or f'Bài {number}'}</title>\n    <ns>{ns}</ns>\n    <id>{number}</id>\n"
        f"    <revision><id>{number + 900}</id><text>{text}</text></revision>\n  </page>\n"
    )


def pages(count: int, size: int = 1500) -> list[str]:
    """Articles of some 10 kB, a template that marks disambiguation pages in the middle, and pages titled so."""
    made = [page(number, f"'''Bài''' {words(number, size)}") for number in range(1, count + 1)]
    made[count // 2] = page(9001, "__DISAMBIG__", "Bản mẫu:Nhiều nghĩa", ns=10)
    made[1] = page(9002, words(9002, 200), "Trước (nhiều nghĩa)")
    made[-2] = page(9003, words(9003, 200), "Sau (nhiều nghĩa)")
    return made


def multistream(folder: Path, made: Iterable[str], name: str = "dump.xml.bz2") -> Path:
    """A dump in Wikimedia's layout: a stream for the head, one for every five pages, one for the end."""
    made = list(made)
    parts = [HEAD, *("".join(made[at : at + 5]) for at in range(0, len(made), 5)), TAIL]
    path = folder / name
    path.write_bytes(b"".join(bz2.compress(part.encode()) for part in parts))
    return path


def single(folder: Path, made: Iterable[str], name: str = "dump.xml") -> Path:
    path = folder / name
    xml = (HEAD + "".join(made) + TAIL).encode()
    path.write_bytes(bz2.compress(xml) if name.endswith("bz2") else xml)
    return path


def extraction(paths: Path | tuple[Path, ...], folder: Path, form: str = "mediawiki", **options) -> Extraction:
    paths = (paths,) if isinstance(paths, Path) else paths
    settings = {"text_field": "text", "title_field": "title", "normalisation": Normalisation(), "bits": 20}
    return Extraction(
        files=tuple(SourceFile(path=path, size=path.stat().st_size) for path in paths),
        folder=folder / "blocks",
        format=form,
        **{**settings, **options},
    )


class Row(NamedTuple):
    """A page as a block tells of it."""

    id: int
    reason: str
    source_characters: int
    told: tuple
    candidate: tuple


def rows_of(block: BlockFile) -> list[Row]:
    """The pages of a block, with all that its tables say of each."""
    notes = {note.row: (note.told, note.suffix) for note in block.notes()}
    candidates = block.candidates()
    lengths = [block.places(partition)[1] for partition in range(partitions(20))][0]
    told = zip(candidates.tolist(), block.templates(), lengths.tolist(), strict=True)
    of_page = {each[0][0]: (*map(str, each[0][1:]), each[1], each[2]) for each in told}
    return [
        Row(page_id, ("", *REASONS)[reason], size, notes.get(row, ()), of_page.get(row, ()))
        for row, (reason, page_id, size) in enumerate(block.pages().tolist())
    ]


def content(blocks: Iterable[BlockFile]) -> tuple[list[Row], bytes, list[int]]:
    """All that blocks hold, end to end."""
    blocks = list(blocks)
    rows = [row for block in blocks for row in rows_of(block)]
    return (
        rows,
        b"".join(block.texts() for block in blocks),
        [n for block in blocks for n in block.places(0)[0].tolist()],
    )
