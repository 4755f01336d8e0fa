"""Pages found by search are those that expat finds, and what search does not know goes to expat."""

import bz2
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.corpus.dump import Export, Page
from lowres.corpus.pages import PageReader
from lowres.errors import DataError

MINI = Path(__file__).parents[2] / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2"
PATH = Path("dump.xml")
PAGE = """  <page>
    <title>Hà Nội</title>
    <ns>0</ns>
    <id>12</id>
    <redirect title="H&#039;Mông &amp; A" />
    <restrictions>edit=sysop</restrictions>
    <revision>
      <id>7</id>
      <parentid>6</parentid>
      <timestamp>2013-03-14T06:44:35Z</timestamp>
      <contributor>
        <username>Ai</username>
        <id>9</id>
      </contributor>
      <minor />
      <comment>sửa &lt;b&gt;</comment>
      <origin>7</origin>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="40" sha1="1nr8" xml:space="preserve">'''Hà Nội''' &lt;ref n=&quot;a&quot; /&gt; &amp;nbsp; &amp;lt;
\tlà > thủ đô</text>
      <sha1>1nr8</sha1>
    </revision>
  </page>
"""


def by(reader: Export | PageReader, data: bytes, step: int) -> list[Page] | str:
    """The pages, or what is wrong, but for where in the file."""
    pages = []
    try:
        for start in range(0, len(data), step):
            pages += reader.feed(data[start : start + step])
        if isinstance(reader, PageReader):
            pages += reader.end_block()
        reader.close()
    except DataError as fault:
        return f"{type(fault).__name__} {re.sub(r'XML (at line|behind page|in the first page).*', 'XML', str(fault))}"
    return pages


def both(data: bytes, step: int = 1 << 20) -> tuple[list[Page] | str, bool]:
    """What expat and the reader find, which is the same; and whether the reader asked expat for a page."""
    reader = PageReader(PATH, "utf-8")
    asked = []
    by_expat = reader._by_expat
    reader._by_expat = lambda: asked.append(reader._left.strip()) or by_expat()  # type: ignore[method-assign]
    found = by(reader, data, step)
    assert found == by(Export(PATH, "utf-8"), data, step)
    return found, any(left not in (b"", b"</mediawiki>") for left in asked)


@pytest.mark.parametrize("step", [1, 100, 1000, 1 << 20])
def test_a_page_as_mediawiki_lays_it_out_is_found_by_search(step):
    found, asked = both((PAGE + PAGE + "</mediawiki>").encode(), step)
    text = "'''Hà Nội''' <ref n=\"a\" /> &nbsp; &lt;\n\tlà > thủ đô"
    assert found == [Page(12, 0, "Hà Nội", "H'Mông & A", text)] * 2
    assert not asked


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('<text bytes="40" sha1="1nr8" xml:space="preserve">', '<text xml:space="preserve">'),
        ("<contributor>\n        <username>Ai</username>\n        <id>9</id>", "<contributor>\n<ip>1.2.3.4</ip>"),
        ("<comment>sửa &lt;b&gt;</comment>", '<comment deleted="deleted" />'),
        ("      <minor />\n", ""),
        ("      <sha1>1nr8</sha1>", "      <sha1 />"),
        ("<ns>0</ns>", "<ns>-1</ns>"),
        ("Hà Nội", "\U0001f600"),
    ],
)
def test_other_layouts_of_mediawiki_are_found_by_search(old, new):
    assert old in PAGE
    found, asked = both((PAGE.replace(old, new) + PAGE + "</mediawiki>").encode())
    assert len(found) == 2
    assert not asked


@pytest.mark.parametrize(
    ("old", "new", "pages"),
    [
        ("thủ", "<!-- thủ -->", 2),
        ("thủ", "<![CDATA[a < b]]>", 2),
        ("thủ", "&#7911;", 2),
        ("thủ", "&apos;", 2),
        ("thủ", "a\r\nb", 2),
        ("</page>", "</page >", 2),
        ("</text>\n", "</text>\n<text>khác</text>\n", 2),
        ("<revision>", "<revision><id>1</id><text>cũ</text></revision>\n<revision>", 2),
        ('title="H', 'title="\nH', 2),
        ("<page>", "chữ <page>", 2),
        ("<id>12</id>", "<id>12 </id>", 2),
        ("thủ", "&lol;", None),
        ("thủ", "a & b", None),
        ("sửa", "&lol;", None),
        ("thủ", "]]>", None),
        ("sửa", "]]>", None),
        ("thủ", "\x01", None),
        ("thủ", "\ufffe", None),
        ("sửa", "\uffff", None),
        ("thủ", "\udc80", None),
        ("<ns>0</ns>", "", None),
        ("<id>12</id>", f"<id>{2**64}</id>", None),
        ("</title>", "</tilte>", None),
        ("</revision>", "", None),
    ],
)
@pytest.mark.parametrize("step", [90, 1 << 20])
def test_what_search_does_not_know_goes_to_expat(old, new, pages, step):
    assert old in PAGE
    found, asked = both((PAGE.replace(old, new) + PAGE + "</mediawiki>").encode("utf-8", "surrogateescape"), step)
    assert asked
    assert isinstance(found, str) if pages is None else len(found) == pages


def test_an_end_without_its_mark_is_truncated():
    for end in ("", PAGE[:-30], "</mediawik"):
        assert both((PAGE + end).encode())[0].startswith("Truncated")


def test_a_page_that_does_not_end_is_not_held(monkeypatch):
    monkeypatch.setattr("lowres.corpus.pages._HELD", 1000)
    reader = PageReader(PATH, "utf-8")
    opened = PAGE[: PAGE.index("</text>")].encode() + b"a" * 5000
    for start in range(0, len(opened), 500):
        assert reader.feed(opened[start : start + 500]) == []
        assert len(reader._left) <= 1000
    assert (reader.open_page, reader.open_id) == (True, 12)
    assert len(reader.feed(PAGE[PAGE.index("</text>") :].encode())) == 1


def test_a_text_over_the_limit_is_not_kept(monkeypatch):
    monkeypatch.setattr("lowres.corpus.pages.MAX_PAGE", 60)
    monkeypatch.setattr("lowres.corpus.dump.MAX_PAGE", 60)
    found, _ = both((PAGE.replace("thủ đô", "a" * 50) + PAGE.replace("thủ", "") + "</mediawiki>").encode())
    assert [each.too_long for each in found] == [True, False]


def test_another_encoding_is_expats():
    data = (PAGE.replace("Hà Nội", "Ö").replace("sửa", "").replace("thủ đô", "")).replace("ô", "").replace("là", "")
    reader = PageReader(PATH, "iso-8859-1")
    assert [each.title for each in reader.feed(data.encode("iso-8859-1"))] == ["Ö"]


@given(st.data())
def test_any_change_to_a_page_gives_what_expat_gives(data):
    pieces = [
        "<",
        ">",
        "&",
        "&lt;",
        "]]>",
        "</text>",
        "</page>",
        "\0",
        "\r",
        "\t",
        "\x85",
        "\uffff",
        "\ufeff",
        "/",
        '"',
        "<a>",
    ]
    whole = PAGE * 2 + "</mediawiki>"
    start = data.draw(st.integers(0, len(whole)))
    stop = min(len(whole), start + data.draw(st.integers(0, 8)))
    put = data.draw(st.sampled_from(pieces) | st.text(max_size=3))
    both((whole[:start] + put + whole[stop:]).encode(), data.draw(st.sampled_from([37, 1 << 20])))


def test_the_small_dump_is_read_by_search_alone():
    data = bz2.decompress(MINI.read_bytes())
    found, asked = both(data[data.index(b"<page>") :], 1 << 18)
    assert len(found) > 100
    assert not asked


def test_a_fault_in_a_block_is_told_by_its_page():
    broken = PAGE.replace("<id>12</id>", "<id>13</id>").replace("</sha1>", "</sha2>")
    with pytest.raises(DataError, match=r"malformed XML in page 'Hà Nội' \(mismatched tag\)"):
        PageReader(PATH, "utf-8").feed((PAGE + broken).encode())
    with pytest.raises(DataError, match="malformed XML behind page 12 "):
        PageReader(PATH, "utf-8").feed((PAGE + broken.replace("</title>", "</tilte>")).encode())
