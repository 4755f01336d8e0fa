import bz2
import gzip
import json
import lzma
import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import pytest
import zstandard

from lowres.corpus.documents import document_id, read_jsonl
from lowres.corpus.dump import Dump, Page, read_head
from lowres.corpus.source import Source, Truncated
from lowres.errors import DataError

MINI = Path(__file__).parents[2] / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2"

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="vi">
  <siteinfo><sitename>Wikipedia</sitename><namespaces>
    <namespace key="0" case="first-letter" />
    <namespace key="6" case="first-letter">Tập tin</namespace>
    <namespace key="14" case="first-letter">Thể loại</namespace>
  </namespaces></siteinfo>
"""


def page(number: int, title: str, text: str, ns: int = 0, redirect: str = "") -> str:
    return (
        f"<page><title>{title}</title><ns>{ns}</ns><id>{number}</id>{redirect}"
        f"<revision><id>{number + 900}</id><contributor><username>A</username><id>7</id></contributor>"
        f'<comment>sửa</comment><text bytes="{len(text)}" xml:space="preserve">{text}</text></revision></page>\n'
    )


TWO_PAGES = HEAD + page(3, "A &amp; B", "x &lt;b&gt; &amp;nbsp;") + page(4, "C", "", 14) + "</mediawiki>"


def pages_of(path: Path) -> list[Page]:
    with Source(path) as source:
        return list(Dump(source))


def written(tmp_path: Path, data: bytes, name: str = "dump") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "compress",
    [
        bytes,
        bz2.compress,
        gzip.compress,
        lzma.compress,
        lambda data: b"".join(map(bz2.compress, (data[:700], data[700:]))),
        zstandard.compress,
        lambda data: b"P*M\x18\x02\0\0\0ab" + b"".join(map(zstandard.compress, (data[:700], data[700:]))),
    ],
    ids=["plain", "bz2", "gz", "xz", "multistream", "zst", "zst frames"],
)
def test_pages_are_read_whatever_the_compression(tmp_path, compress):
    path = written(tmp_path, compress(TWO_PAGES.encode()))
    assert pages_of(path) == [Page(3, 0, "A & B", None, "x <b> &nbsp;"), Page(4, 14, "C", None, "")]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("compress", [bytes, zstandard.compress])
def test_utf_16_is_read_with_or_without_its_mark(tmp_path, codec, compress):
    text = '<?xml version="1.0" encoding="UTF-16"?>\n' + TWO_PAGES.replace("x &lt;", "ệ𝄞 &lt;")
    found = pages_of(written(tmp_path, compress(text.encode(codec))))
    assert found == [Page(3, 0, "A & B", None, "ệ𝄞 <b> &nbsp;"), Page(4, 14, "C", None, "")]
    with pytest.raises(DataError, match="begins as UTF-16"):
        pages_of(written(tmp_path, compress(text.encode(codec)[:-1])))


def test_another_encoding_is_read_as_declared(tmp_path):
    text = f'<?xml version="1.0" encoding="ISO-8859-1"?>{HEAD}{page(1, "é", "ü")}</mediawiki>'
    path = written(tmp_path, text.encode("latin-1", "replace"))
    assert pages_of(path) == [Page(1, 0, "é", None, "ü")]
    assert read_head(path).encoding == "ISO-8859-1"


def test_a_bomb_of_zeros_is_read_in_bounded_memory(tmp_path):
    bomb = written(tmp_path, zstandard.compress((HEAD + "<page><title>").encode() + bytes([32]) * (1 << 26), 19))
    assert bomb.stat().st_size < 20_000
    tracemalloc.start()
    with pytest.raises(DataError, match="truncated"):
        pages_of(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


def test_namespaces_and_redirects(tmp_path):
    text = HEAD + page(1, "Hanoi", "#đổi [[Hà Nội]]", redirect='<redirect title="Hà Nội" />') + "</mediawiki>"
    with Source(written(tmp_path, text.encode())) as source:
        dump = Dump(source)
        (only,) = dump
    assert only.redirect == "Hà Nội"
    assert dump.namespaces.names[6] == "Tập tin"
    assert {"tập tin", "thể loại", "file", "category", "hình"} <= dump.namespaces.unseen


def test_a_page_with_several_revisions_is_its_last_one(tmp_path):
    old, new = page(1, "A", "cũ"), page(1, "A", "mới")
    body = old.replace("</page>\n", "") + new[new.index("<revision>") :]
    assert [found.text for found in pages_of(written(tmp_path, (HEAD + body + "</mediawiki>").encode()))] == ["mới"]


def test_the_mini_dump_is_read_whole():
    found = pages_of(MINI)
    assert len(found) >= 58
    assert {0, 10} <= {one.ns for one in found}
    assert any(one.redirect for one in found)


@pytest.mark.parametrize("version", ["0.8", "0.9", "0.10", "0.11"])
def test_schemas_that_are_read(tmp_path, version):
    path = written(tmp_path, TWO_PAGES.replace('version="0.11"', f'version="{version}"').encode())
    assert len(pages_of(path)) == 2


BOMB = '<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + TWO_PAGES.replace(
    "x &lt;", "&b;"
)

EXTERNAL = '<!DOCTYPE m [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + TWO_PAGES.replace("x &lt;", "&a;")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (TWO_PAGES.replace('version="0.11"', 'version="0.3"').encode(), "schema 0.3"),
        (BOMB.encode(), "document type"),
        (TWO_PAGES[:-30].encode(), "truncated"),
        (TWO_PAGES.replace("</title>", "</tilte>", 1).encode(), "malformed XML at line 7"),
        (b"<html><body>Not found</body></html>", "root element is <html>"),
        (b"PK\x03\x04 a zip file", "not begin with '<'"),
        (b"", "empty"),
        (bz2.compress(TWO_PAGES.encode())[:-40], "truncated"),
        (gzip.compress(TWO_PAGES.encode())[:-40], "truncated"),
        (lzma.compress(TWO_PAGES.encode())[:-40], "truncated"),
        (zstandard.compress(TWO_PAGES.encode())[:-40], "truncated"),
        (zstandard.compress(TWO_PAGES.encode()) + b"junk" * 9, "damaged"),
        (bz2.compress(TWO_PAGES.encode()) + b"junk", "no stream"),
        ((HEAD + "<!--" + "a" * (1 << 24)).encode(), "a tag is longer"),
        (bz2.compress(TWO_PAGES.encode())[:60] + b"\0" * 200, "damaged"),
        (TWO_PAGES.replace("<ns>0</ns>", "").encode(), "no <ns>"),
        (TWO_PAGES.replace("<id>3</id>", "<id>three</id>").encode(), "'three', not a number"),
        (TWO_PAGES.replace("<id>3</id>", f"<id>{2**64}</id>").encode(), "more than 64 bits hold"),
        (EXTERNAL.encode(), "document type"),
        (TWO_PAGES.replace("</title>", "&lol;</title>", 1).encode(), "malformed XML at line 7 (undefined entity)"),
        ((HEAD + "<a>" * 50).encode(), "nest deeper"),
    ],
)
def test_what_is_no_whole_dump_is_refused_in_one_line(tmp_path, data, said):
    path = written(tmp_path, data)
    with pytest.raises(DataError) as fault:
        pages_of(path)
    assert said in str(fault.value)
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)


def test_json_lines(tmp_path):
    lines = [{"title": "A", "text": "một", "url": "u"}, {"title": "B", "text": "hai"}, {"text": "\ud800 ba"}]
    data = "\n".join([json.dumps(line) for line in lines[:2]] + ["", json.dumps(lines[2])])
    with Source(written(tmp_path, lzma.compress(data.encode()))) as source:
        found = list(read_jsonl(source.lines(), source.path, "text", "title"))
    assert [(one.title, one.text, one.ns, one.redirect) for one in found] == [
        ("A", "một", 0, None),
        ("B", "hai", 0, None),
        ("", "? ba", 0, None),
    ]
    assert found[0].id == document_id("A", "một") != document_id("Am", "ột")
    assert all(0 <= one.id < 2**63 for one in found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "a"', "line 2 is not JSON"),
        ("[1]", "line 2 holds a list"),
        ('{"body": "a"}', "has no field 'text' (it has: body)"),
        ('{"text": 3}', "must be strings"),
        ("[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, said):
    path = written(tmp_path, ('{"text": "tốt"}\n' + line).encode())
    with Source(path) as source, pytest.raises(DataError) as fault:
        list(read_jsonl(source.lines(), source.path, "text", "title"))
    assert said in str(fault.value)


def test_memory_does_not_grow_with_the_file(tmp_path):
    body = "".join(page(n, f"T{n}", "chữ " * 2500) for n in range(200))
    dump = written(tmp_path, gzip.compress((HEAD + body * 8 + "</mediawiki>").encode(), 1))
    lines = json.dumps({"title": "T", "text": "chữ " * 2500}) + "\n"
    jsonl = written(tmp_path, gzip.compress((lines * 1600).encode(), 1), "lines")
    tracemalloc.start()
    with Source(dump) as source:
        assert sum(1 for _ in Dump(source)) == 1600
    with Source(jsonl) as source:
        assert sum(1 for _ in read_jsonl(source.lines(), source.path, "text", "title")) == 1600
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("change", ["none", "flip", "cut", "zeros", "garbage", "one byte"])
def test_bz2_is_read_as_the_standard_library_reads_it(tmp_path, streams, change):
    """Bytes before a fault, and the kind of the fault, where rapidgzip and the standard library differ."""
    words = "".join(f"từ {k * k} " for k in range(300_000)).encode()
    third = len(words) // 3
    parts = [words] if streams == 1 else [words[:third], words[third : 2 * third], words[2 * third :]]
    data = bytearray(b"".join(map(bz2.compress, parts)))
    if change == "flip":
        data[len(data) * 3 // 4] ^= 4
    data = {"cut": data[:-2000], "zeros": data + bytes(100), "garbage": data + b"BZh9x", "one byte": data + b"x"}.get(
        change, data
    )
    path = tmp_path / "words.bz2"
    path.write_bytes(data)
    found = bytearray()
    wanted = {"flip": DataError, "cut": Truncated, "garbage": DataError, "one byte": DataError}.get(change)
    with Source(path) as source, pytest.raises(wanted) if wanted else nullcontext():
        for chunk in source.chunks():
            found += chunk
    if wanted is None:
        assert found == words
    else:
        assert change == "flip" or (words.startswith(found) and len(found) > 1 << 21)
