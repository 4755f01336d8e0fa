#!/usr/bin/env python3
"""Build the embedded Vietnamese mini corpus from its readable sources.

Reads what lies in ``source/`` beside this file and writes

* ``viwiki-mini-pages-articles.xml.bz2``: a MediaWiki export (schema 0.11) in the shape of a Wikimedia dump, from
  ``articles/*.wiki``, ``pages/*.wiki`` and the stubs that ``stubs.tsv`` makes from ``stubs/*.wiki``;
* ``{topics,opinions}/{train,dev,test}.tsv``: the labelled texts of ``topics.tsv`` and ``opinions.tsv``, with header
  ``id``, ``label``, ``text``;
* the size table between the two markers of ``README.md``.

Standard library only, and the same bytes on every run: page and revision ids come from the source headers and the
timestamps are computed from the ids. Text that is not in Unicode normal form C is refused.

Usage: ``python build.py`` to write, ``python build.py --check`` to fail (exit 1) when a built file is out of date.
"""

from __future__ import annotations

import argparse
import bz2
import hashlib
import re
import sys
import unicodedata
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape, quoteattr

HERE = Path(__file__).resolve().parent
DUMP = "viwiki-mini-pages-articles.xml.bz2"
SETS = {"topics": ("thể thao", "khoa học", "ẩm thực", "pháp luật"), "opinions": ("tích cực", "tiêu cực")}
SPLIT_SIZES = {  # per label
    "topics": {"train": 100, "dev": 26, "test": 40},
    "opinions": {"train": 132, "dev": 33, "test": 55},
}
SCHEMA = "http://www.mediawiki.org/xml/export-0.11/"
FIRST_EDIT = datetime(2024, 1, 1, 7, 0, 0, tzinfo=UTC)
FORMATS = {"wikitext": "text/x-wiki", "Scribunto": "text/plain"}
NAMESPACES = {
    -2: "Phương tiện", -1: "Đặc biệt", 0: "", 1: "Thảo luận", 2: "Thành viên", 3: "Thảo luận Thành viên",
    4: "Wikipedia", 5: "Thảo luận Wikipedia", 6: "Tập tin", 7: "Thảo luận Tập tin", 8: "MediaWiki",
    9: "Thảo luận MediaWiki", 10: "Bản mẫu", 11: "Thảo luận Bản mẫu", 12: "Trợ giúp", 13: "Thảo luận Trợ giúp",
    14: "Thể loại", 15: "Thảo luận Thể loại", 828: "Mô đun", 829: "Thảo luận Mô đun",
}  # fmt: skip


def read_nfc(path: Path) -> str:
    """The text of a source file; refused unless it is UTF-8 in normal form C."""
    text = path.read_bytes().decode("utf-8")
    if not unicodedata.is_normalized("NFC", text):
        raise SystemExit(f"{path}: not in Unicode normal form C")
    return text


def read_page(path: Path) -> dict[str, str]:
    """One source file: ``key: value`` lines, a line ``---``, then the wikitext."""
    head, mark, body = read_nfc(path).partition("\n---\n")
    if not mark:
        raise SystemExit(f"{path}: no line '---' after the header")
    page = {"ns": "0", "model": "wikitext", "user": "Người soạn lowres", "comment": "Soạn bài"}
    page.update(line.split(": ", 1) for line in head.splitlines())
    return page | {"text": body.strip("\n"), "name": path.name}


def made_stubs(path: Path) -> list[dict[str, str]]:
    """The stubs: a row of ``stubs.tsv`` fills the ``$name`` places of its template with its columns."""
    header, *rows = [line.split("\t") for line in read_nfc(path).splitlines()]
    pages = []
    for row in rows:
        values = dict(zip(header, row, strict=True))
        page = read_page(path.parent / "stubs" / f"{values['template']}.wiki")
        pages.append(page | {key: values[key] for key in ("id", "title")})
        pages[-1]["text"] = Template(page["text"]).substitute(values)
    return pages


def base36_sha1(data: bytes) -> str:
    """The SHA-1 as MediaWiki writes it: base 36, padded to 31 digits."""
    number, digits = int(hashlib.sha1(data).hexdigest(), 16), ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits.rjust(31, "0")


def page_xml(page: dict[str, str]) -> str:
    """The ``<page>`` element of one page with its single revision."""
    number, data = int(page["id"]), page["text"].encode("utf-8")
    stamp = FIRST_EDIT + timedelta(days=number, minutes=37 * number % 600, seconds=11 * number % 60)
    revision, sha1 = 71_000_000 + 1013 * number, base36_sha1(data)
    redirect = f"\n    <redirect title={quoteattr(page['redirect'])} />" if "redirect" in page else ""
    return f"""  <page>
    <title>{escape(page["title"])}</title>
    <ns>{page["ns"]}</ns>
    <id>{number}</id>{redirect}
    <revision>
      <id>{revision}</id>
      <timestamp>{stamp:%Y-%m-%dT%H:%M:%SZ}</timestamp>
      <contributor>
        <username>{escape(page["user"])}</username>
        <id>{7 if page["user"].startswith("Bot") else 5}</id>
      </contributor>
      <comment>{escape(page["comment"])}</comment>
      <origin>{revision}</origin>
      <model>{page["model"]}</model>
      <format>{FORMATS[page["model"]]}</format>
      <text bytes="{len(data)}" sha1="{sha1}" xml:space="preserve">{escape(page["text"], {'"': "&quot;"})}</text>
      <sha1>{sha1}</sha1>
    </revision>
  </page>
"""


def dump_xml(pages: list[dict[str, str]]) -> str:
    """The whole export."""
    spaces = "".join(
        f'      <namespace key="{key}" case="first-letter"' + (f">{name}</namespace>\n" if name else " />\n")
        for key, name in NAMESPACES.items()
    )
    return f"""<mediawiki xmlns="{SCHEMA}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="{SCHEMA} http://www.mediawiki.org/xml/export-0.11.xsd" version="0.11" xml:lang="vi">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>viwiki</dbname>
    <base>https://vi.wikipedia.org/wiki/Trang_Ch%C3%ADnh</base>
    <generator>lowres mini corpus (not a Wikimedia dump)</generator>
    <case>first-letter</case>
    <namespaces>
{spaces}    </namespaces>
  </siteinfo>
{"".join(map(page_xml, pages))}</mediawiki>
"""


def split_files(name: str) -> dict[str, str]:
    """The three split files of a set, after a check of the counts, the ids and the texts."""
    path, labels, sizes = HERE / f"source/{name}.tsv", SETS[name], SPLIT_SIZES[name]
    header, *rows = [line.split("\t") for line in read_nfc(path).splitlines()]
    if header != ["id", "split", "label", "text"] or any(len(row) != 4 for row in rows):
        raise SystemExit(f"{path}: expected four tab-separated columns id, split, label, text")
    counts = Counter((row[1], row[2]) for row in rows)
    if counts != {(split, label): size for split, size in sizes.items() for label in labels}:
        raise SystemExit(f"{path}: wrong counts per split and label: {dict(counts)}")
    if len({row[0] for row in rows}) < len(rows) or len({row[3] for row in rows}) < len(rows):
        raise SystemExit(f"{path}: an id or a text occurs twice")
    return {
        f"{name}/{split}.tsv": "id\tlabel\ttext\n"
        + "".join(f"{row[0]}\t{row[2]}\t{row[3]}\n" for row in rows if row[1] == split)
        for split in sizes
    }


def build() -> tuple[dict[str, bytes], list[str]]:
    """All built files by their path here, and the rows of the size table."""
    articles = [read_page(path) for path in sorted((HERE / "source/articles").glob("*.wiki"))]
    others = [read_page(path) for path in sorted((HERE / "source/pages").glob("*.wiki"))]
    stubs = made_stubs(HERE / "source/stubs.tsv")
    pages = sorted(articles + others + stubs, key=lambda page: int(page["id"]))
    for key in ("id", "title"):
        twice = [value for value, count in Counter(page[key] for page in pages).items() if count > 1]
        if twice:
            raise SystemExit(f"{key} used twice: {twice}")
    xml = dump_xml(pages).encode("utf-8")
    files = {DUMP: bz2.compress(xml, 9)}
    for name in SETS:
        files |= {path: text.encode("utf-8") for path, text in split_files(name).items()}
    wikitext = sum(len(page["text"].encode("utf-8")) for page in articles)
    table = ["| What | Count | Bytes | SHA-256 |", "|---|---|---|---|"]
    table.append(f"| articles (wikitext) | {len(articles)} | {wikitext} | |")
    table.append(f"| other pages | {len(others)} | {sum(len(page['text'].encode()) for page in others)} | |")
    table.append(f"| stubs | {len(stubs)} | {sum(len(page['text'].encode()) for page in stubs)} | |")
    table.append(f"| export as plain XML | {len(pages)} pages | {len(xml)} | `{hashlib.sha256(xml).hexdigest()}` |")
    for name, data in files.items():
        what = f"{len(data.splitlines()) - 1} texts" if name.endswith(".tsv") else f"{len(pages)} pages"
        table.append(f"| `{name}` | {what} | {len(data)} | `{hashlib.sha256(data).hexdigest()}` |")
    readme = read_nfc(HERE / "README.md")
    block = "<!-- sizes -->\n" + "\n".join(table) + "\n<!-- /sizes -->"
    files["README.md"] = re.sub(r"<!-- sizes -->.*<!-- /sizes -->", lambda _: block, readme, flags=re.S).encode("utf-8")
    return files, table


def main(argv: list[str] | None = None) -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a built file is out of date")
    check = parser.parse_args(argv).check
    files, table = build()
    print("\n".join(table))
    stale = [name for name, data in files.items() if not (HERE / name).is_file() or (HERE / name).read_bytes() != data]
    if check:
        print(*(f"out of date: {name}" for name in stale), sep="\n", file=sys.stderr) if stale else print("up to date")
        return 1 if stale else 0
    for name in stale:
        (HERE / name).parent.mkdir(parents=True, exist_ok=True)
        (HERE / name).write_bytes(files[name])
    print("written:", ", ".join(stale) or "nothing, all up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
