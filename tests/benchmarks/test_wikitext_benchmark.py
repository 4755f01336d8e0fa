import bz2
import math
import re
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DUMP = """<mediawiki version="0.11" xml:lang="vi"><siteinfo/>
  <page>
    <title>Huế</title>
    <ns>0</ns>
    <id>3</id>
    <revision>
      <id>30</id>
      <text xml:space="preserve">dài {{convert|5|km}} &lt;b&gt;, {{lang|fr|la &quot;mer&quot;}}</text>
    </revision>
  </page>
  <page>
    <title>Thành Huế</title>
    <ns>0</ns>
    <id>4</id>
    <redirect title="Huế" />
    <revision><id>40</id><text>#đổi [[Huế]]</text></revision>
  </page>
  <page>
    <title>Thảo luận:Huế</title>
    <ns>1</ns>
    <id>5</id>
    <revision><id>50</id><text>chữ</text></revision>
  </page>
</mediawiki>
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def dump(tmp_path):
    from wikitext_dumps import Pages

    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(DUMP.encode()))
    return Pages(path)


def test_left_over_counts_marks_per_thousand_characters():
    from wikitext_quality import left_over

    found = left_over({"1": "a|b''c" + "x" * 494, "2": "|" + "<ref>" + "y" * 494})
    assert found["|"] == 2.0
    assert (found["''"], found["<ref"], found["{{"], found["</"]) == (1.0, 1.0, 0.0, 0.0)
    assert set(left_over({}).values()) == {0.0}


def test_a_bar_that_the_page_shows_as_text_is_no_markup():
    from wikitext_quality import bars_of_markup, bars_of_text

    page = "जय हे || a [[b|c]] {{d|e}} <ref>f|g</ref>\n{|\n| h || i\n|}\n| j\n{{k|l"
    assert bars_of_text(page) == 3  # the danda, and what is never closed
    assert bars_of_markup({"1": "जय हे ||" + "x" * 992, "2": "b|c" + "x" * 997}, {"1": 2, "2": 0}) == 0.5


def test_ngrams_leave_punctuation_out_and_keep_words_of_devanagari_whole():
    from wikitext_quality import ngrams

    assert ngrams("Một, hai (ba) bốn; năm.") == {("Một", "hai", "ba", "bốn"), ("hai", "ba", "bốn", "năm")}
    assert ngrams("मराठी हिंदी नदी आहे") == {("मराठी", "हिंदी", "नदी", "आहे")}
    assert ngrams("ba chữ thôi") == set()


def test_recall_asks_for_what_enough_others_keep_of_the_same_page():
    from wikitext_quality import Reference, recalls

    outputs = {
        "ours": {"1": "a b c d", "2": ""},
        "x": {"1": "a b c d e", "2": "q r s t"},
        "y": {"1": "a b c d e", "2": "q r s t"},
        "z": {"1": "a b c d", "2": "q r s t", "3": "only z has this"},
    }
    lists = {"1": {("b", "c", "d", "e")}}
    references = {"three": Reference(3, 3), "lists": Reference(3, 2), "two": Reference(2, 2), "more": Reference(9, 9)}
    found = recalls(outputs, references, lists)
    third = pytest.approx(1 / 3)
    assert {name: found["ours"][name] for name in ("three", "lists", "two")} == {
        "three": (0.5, 2),
        "lists": (third, 3),
        "two": (third, 3),
    }
    assert found["z"]["three"] == (1.0, 1)
    assert math.isnan(found["z"]["more"][0])


def test_list_items_outside_tables_templates_and_references():
    from wikitext_quality import list_ngrams

    page = "một hai ba bốn\n* a [[x y|b]] ''c'' d<ref>e f g h</ref>\n## r s t u"
    page += "\n{{hộp|\n* i k l m\n}}\n{|\n|\n* n o p q\n|}"
    assert list_ngrams(page) == {("a", "b", "c", "d"), ("r", "s", "t", "u")}


@pytest.mark.parametrize(
    ("wikitext", "texts"),
    [
        ("x {{lang|fr|bonjour}} y {{convert|5|km}}", [("lang", "bonjour"), ("convert", "5")]),
        ("{{nowrap|a [[b|c]] {{small|d}}}}", [("nowrap", "a [[b|c]] {{small|d}}")]),
        ("{{nowrap|1=a=b}} {{Lang-fr|1=c}}", [("nowrap", "a=b"), ("lang", "c")]),
        ("{{lang-en|}} {{lang|fr}} {{chú thích|x}}", []),
        ("[[Huế|{{nowrap|a b}}]] [[Tập tin:x.jpg|{{nowrap|c}}]]", [("nowrap", "a b")]),
        ("{{Hộp|tên={{lang|fr|a}}|}}\n{|\n| {{nowrap|b}}\n|}\n{{nowrap|c}}", [("nowrap", "c")]),
        ("a<ref>{{lang|fr|b}}</ref><ref name=x/> <!-- {{nowrap|c}} --> {{cvt|3|m}}", [("convert", "3")]),
        ("{{bỏ mở\n\n{{nowrap|a}}", []),
    ],
)
def test_inline_templates_stand_in_running_text(wikitext, texts):
    from wikitext_quality import inline_templates

    assert [(each.kind, wikitext[each.start : each.stop]) for each in inline_templates(wikitext)] == texts


def test_planted_words_tell_what_is_kept():
    from wikitext_quality import kept_share, plant

    text, words = plant("dài {{convert|5|km}}, {{lang|fr|mer}}", 7)
    number, word = words
    assert text == f"dài {{{{convert|{number}|km}}}}, {{{{lang|fr|{word}}}}}"
    assert list(words.values()) == ["convert", "lang"]
    grouped = f"dài {int(number):,} km"
    assert kept_share({"1": grouped}, {"1": words}) == {"convert": (1, 1), "lang": (0, 1), "all": (1, 2)}
    assert kept_share({"1": word}, {"2": words})["all"] == (0, 2)
    assert not set(words) & set(plant("{{convert|5|km}} {{nowrap|a}}", 9)[1])


def test_articles_are_namespace_0_without_redirects(dump, tmp_path):
    from wikitext_dumps import write_articles, write_planted

    write_articles(dump, tmp_path / "articles.xml")
    assert re.findall("<title>(.*)</title>", (tmp_path / "articles.xml").read_text()) == ["Huế"]
    planted = write_planted(dump, tmp_path / "planted.xml")
    (number, word), text = planted["3"], (tmp_path / "planted.xml").read_text()
    assert f"dài {{{{convert|{number}|km}}}} &lt;b&gt;, {{{{lang|fr|{word}}}}}</text>" in text


def test_a_repeated_dump_has_new_ids_and_the_size_it_says(dump, tmp_path):
    from wikitext_dumps import write_repeated

    from lowres.corpus.dump import Dump
    from lowres.corpus.source import Source, stream_starts

    out = tmp_path / "repeated.xml.bz2"
    size = write_repeated(dump, len(DUMP) + 100, out)
    assert size == len(bz2.decompress(out.read_bytes())) >= len(DUMP) + 100
    with Source(out) as source:
        pages = list(Dump(source))
    assert [page.id for page in pages] == [3, 4, 5, 9, 10, 11]
    assert len({page.text for page in pages}) == 3
    assert list(stream_starts(out, 1))


def test_measure_tells_a_childs_memory_apart():
    from wikitext_process import measure

    child = "import time; held = bytearray(64 << 20); time.sleep(0.5)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    sample = measure([sys.executable, "-c", code], 1, lambda line: "parent" if "subprocess" in line else "child")
    assert sample.peaks["child"] > 67 > sample.peaks["parent"]
    assert 0.5 < sample.wall_s and 0 < sample.cpu_s < sample.wall_s + 1
    with pytest.raises(SystemExit, match="exit code 3"):
        measure([sys.executable, "-c", "raise SystemExit(3)"], 1)
