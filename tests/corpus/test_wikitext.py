import re
import time
from collections import Counter
from pathlib import Path

import mwparserfromhell
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowres.corpus.dump import Dump
from lowres.corpus.namespaces import Namespaces
from lowres.corpus.source import Source
from lowres.corpus.templates import TEMPLATES
from lowres.corpus.wikitext import clean, decode_entities, plain_blocks

MINI = Path(__file__).parents[2] / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2"
VI = Namespaces({0: "", 6: "Tập tin", 14: "Thể loại"})


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Hà Nội''' là ''thủ đô''.", "Hà Nội là thủ đô."),
        ("l''''eau'' d'or", "l'eau d'or"),
        ("[[Huế]], [[Sông Hương|dòng sông]], [[Huế#Lịch sử]], [[#Lịch sử]]", "Huế, dòng sông, Huế, Lịch sử"),
        ("a [[:Thể loại:X|nhóm]] b [[:en:Foo]] c [[:Thể loại:Y]]", "a nhóm b Foo c"),
        ("[[wikt:chữ|chữ]] và [[s:Truyện Kiều]]", "chữ và Truyện Kiều"),
        ("[http://a.vn nhãn] và [https://b.vn] và [//c.vn '''d'''] [mailto:x@y.z thư]", "nhãn và  và d thư"),
        ("xem https://a.vn/b?c=d. Hết", "xem . Hết"),
        ("tỉ lệ 1://2", "tỉ lệ 1://2"),
        ("một [1] hai [[ba]]", "một [1] hai ba"),
        ("a<ref>x [[y]] {{z}}</ref>, b<ref name=q />. <ref name='r'>\n\nđoạn</ref>c", "a, b. c"),
        ("một {{fact}}, hai", "một, hai"),
        ("a<!-- b\n\nc -->d", "ad"),
        ("một\n<!-- chú thích -->\nhai", "một\nhai"),
        ("H<sub>2</sub>O, m<sup>2</sup>, <b>đậm</b><br/>dòng", "H2O, m2, đậm\ndòng"),
        ("dài <math>x</math>, con <gallery>a.jpg</gallery>.", "dài, con."),
        ("a <math>{{x}}^2</math> b <nowiki>[[c]] {{d}}</nowiki> e", "a  b [[c]] {{d}} e"),
        ("a &amp;lt; b &lt;c&gt; d&nbsp;e &#233; &#xE9; &không; AT&T", "a &lt; b <c> d\xa0e é é &không; AT&T"),
        ("== Mục ==\nchữ\n=== Con ===\n* một\n** hai\n# ba\n: bốn\n; năm", "Mục\nchữ\nCon\nmột\nhai\nba\nbốn\nnăm"),
        ("chữ\n== Xem thêm ==\n== Tham khảo ==\n{{reflist}}", "chữ"),
        ("== A ==\n=== B ===\nchữ", "A\nB\nchữ"),
        ("chữ\n----\nsau __NOTOC__ nữa", "chữ\nsau  nữa"),
        ("{| class=x\n! a\n|-\n| b || {{c}}\n{|\n| lồng\n|}\n|}\nsau", "sau"),
        ("<table><tr><td>a</td></tr></table>sau", "sau"),
        ("<gallery>\nTập tin:a.jpg|b\n</gallery>sau", "sau"),
        ("[[Tập tin:a.jpg|thumb|chú [[thích]] [http://x y]]]sau", "sau"),
        ("[[Hình:a.jpg|nhỏ|b]][[File:c.png]][[Gì:d.svg|e]]sau", "sau"),
        ("sau [[Thể loại:Huế]] [[Category:Hue|x]] [[en:Hue]] [[zh-min-nan:Hue|Hue]]", "sau"),
        ("Tên ({{lang-en|}}; ) và ( ) nghĩa", "Tên  và  nghĩa"),
        ("", ""),
    ],
)
def test_markup(wikitext, text):
    assert clean(wikitext, VI) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("{{lang|fr|bonjour}}", "bonjour"),
        ("{{Lang-fr|bonjour}}", "bonjour"),
        ("{{convert|5|km|mi}}", "5 km"),
        ("{{cvt|3|x|4|m2}}", "3 × 4 m²"),
        ("{{convert|{{formatnum:1234}}|sqmi}}", "1234 sq mi"),
        ("{{nowrap|a [[b|c]] {{small|''d''}}}}", "a c d"),
        ("{{nowrap|1=x = y}}", "x = y"),
        ("{{frac|3|1|2}}", "3 1/2"),
        ("{{val|5.3|u=km}}", "5.3 km"),
        ("{{nihongo|Tokyo|東京|Tōkyō}}", "Tokyo (東京, Tōkyō)"),
        ("{{zh|s=汉字|t=漢字|p=hànzì}}", "漢字"),
        ("a{{ndash}}b", "a–b"),
        ("{{PAGENAME}}", "Huế"),
        ("a {{lang|fr|{{unknown|x}}y}} b", "a y b"),
        ("{{Hộp thông tin\n| tên = {{lang|fr|x}}\n\n| b = [[c]]\n}}sau", "sau"),
        ("{{chú thích web|url=http://x|title=y}}", ""),
        ("{{{1|mặc định}}} sau", "sau"),
    ],
)
def test_inline_templates_keep_their_text_and_others_go(wikitext, text):
    assert clean(wikitext, VI, title="Huế") == text


def test_a_caller_adds_its_own_templates():
    templates = {**TEMPLATES, "tên riêng": lambda arguments: f"<{arguments.get(1)}>"}
    assert clean("{{Tên_riêng|A}}", VI, templates=templates) == "<A>"


@pytest.mark.parametrize(
    "opening",
    ["{{Hộp|a=b", "[[Tập tin:a.jpg|thumb|b", "[[c|d", "<ref>e", "<!-- f", "{| g\n| h", "<gallery>i", "[http://j k"],
)
def test_what_is_never_closed_ends_with_its_paragraph(opening):
    text = clean(f"trước\n{opening}\n\nsau [[Huế|đó]] {{{{x}}}}", VI)
    assert text.splitlines()[0] == "trước"
    assert text.splitlines()[-1] == "sau đó"
    assert "|" not in text and "[" not in text and "{" not in text


def test_an_unclosed_reference_ends_where_the_next_begins():
    assert clean("a <ref>b\n\nc <ref>d</ref> e", VI) == "a \nc  e".replace(" \n", "\n")


MARKS = (
    "{{ }} {{{ }}} [[ ]] [ ] {| |} | = == ''  ''' <ref> </ref> <ref/> <!-- --> <math> </math> <nowiki> </nowiki> <br> "
    "[http://a : * # chữ [[Tập [[Thể &amp; ( ) {{nowrap| {{lang|fr| [[a|b]] {{c}} [[de: __ : / <table> </table>"
).split() + ["\n", "\n\n", " ", "\n{|", "\n|}", "\n==", "\n*"]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(MARKS), max_size=25).map("".join))
def test_the_paragraph_after_any_broken_markup_is_kept(broken):
    text = clean(f"{broken}\n\nĐoạn cuối.\n\n[[Thể loại:RÒ]] [[de:RÒ]]", VI)
    assert "Đoạn cuối." in text.splitlines()
    assert "RÒ" not in text


HOSTILE = [
    "[http://a ",
    "{{",
    "[[",
    "<ref>",
    "<!-- ",
    "{|",
    "\n{|",
    "''",
    "[[a|",
    "{{nowrap|",
    "<math>",
    "<ref name=a ",
    "(  ",
] + [" \n", "[[a {{b}} ", "&", "__A", "{{{", "]]", "<a ", "http://", "== a ==\n", "=", "(\n[[File:a|", "{{lang|fr|[[a|"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_page_takes_linear_time(piece):
    page = piece * (200_000 // len(piece))
    begun = time.process_time()
    clean(page, VI)
    clean(page + "}}]]" * 20_000, VI)
    assert time.process_time() - begun < 2.0  # 0.1 s where measured; quadratic scanners take 5 to 20 s


def test_plain_blocks_strip_heading_marks():
    assert plain_blocks("Mở.\n\n\n== Xem thêm ==\nMột\n\n== Tham khảo ==") == "Mở.\nXem thêm\nMột"


def test_entities_are_decoded_once():
    assert decode_entities("&amp;amp; &eacute; &#x110000; &copy &nosuch;") == "&amp; é \ufffd &copy &nosuch;"


def four_grams(text: str) -> Counter:
    words = re.findall(r"\w+", text)
    return Counter(zip(*(words[start:] for start in range(4)), strict=False))


def test_against_mwparserfromhell_on_the_mini_dump():
    with Source(MINI) as source:
        dump = Dump(source)
        articles = [page for page in dump if page.ns == 0 and page.redirect is None]
    kept = wanted = 0
    for page in articles:
        ours = clean(page.text, dump.namespaces, page.title)
        assert not re.search(
            r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|''|==|https?:|Thể loại:|Tập tin:|</?ref|<!--|&nbsp;", ours
        ), page.title
        assert not re.search(r"^[|*#:;]", ours, re.M), page.title
        # The oracle keeps the cells of tables, the captions of files and the names of categories: they go first.
        tree = mwparserfromhell.parse(page.text)
        for tag in tree.filter_tags(matches=lambda node: node.tag == "table"):
            tree.remove(tag)
        for link in tree.filter_wikilinks(matches=lambda node: ":" in str(node.title)):
            tree.remove(link)
        oracle = four_grams(tree.strip_code())
        kept += sum((oracle & four_grams(ours)).values())
        wanted += sum(oracle.values())
    assert len(articles) >= 40
    assert kept / wanted > 0.95
