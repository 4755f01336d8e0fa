"""Pages and files made to harm: each ends soon, in little memory, under a name, and the good pages stay."""

import html
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sample_dumps import HEAD, TAIL, multistream, page, pages, single, words

from lowres.artifacts import CORPUS_SPLITS, Corpus, Run
from lowres.corpus.build import build_corpus
from lowres.corpus.namespaces import Namespaces
from lowres.corpus.spec import CorpusSpec
from lowres.corpus.wikitext import clean
from lowres.errors import DataError

PIECES = ["[http://a ", "<!-- ", "<ref>", "{{", "{|", "[[", "''"]
PAIRS = [("{{", "}}"), ("[[", "]]"), ("{|", "|}"), ("<ref>", "</ref>"), ("<!-- ", "-->"), ("''", "''")]
PAIRS += [("{{nowrap|", "}}"), ("[http://a ", "]"), ("<math>", "</math>"), ("<div>", "</div>")]
HOSTILE = [piece * (200_000 // len(piece)) for piece in PIECES]
HOSTILE += [begin * 10_000 + "sâu" + end * 10_000 for begin, end in PAIRS]


def build(folder: Path, source: Path, threads: int = 1, **settings) -> Run:
    out, work = folder / "out", folder / "work"
    out.mkdir(parents=True)
    run = Run(out=out, work=work, seed=0, threads=threads, files={"source": source})
    build_corpus({}, CorpusSpec(source_sha256="source", format="mediawiki", language="vie", **settings), run)
    return run


def texts(run: Run) -> dict[int, str]:
    found = [row for split in CORPUS_SPLITS for row in Corpus(run.out).table(split).to_pylist()]
    return {row["id"]: row["text"] for row in found}


def counted(run: Run) -> dict[str, int]:
    return {row["reason"]: row["pages"] for row in run.facts["funnel"] if row["pages"]}


@pytest.mark.parametrize("threads", [1, 2])
def test_hostile_pages_take_nothing_from_the_good_ones(tmp_path, threads):
    good = [page(n, words(n, 150)) for n in range(1, 31)]
    bad = [page(100 + n, html.escape(text, quote=False)) for n, text in enumerate(HOSTILE)]
    bad += [
        page(200, "a" * 5_000_000),
        page(201, ""),
        page(202, "{{x}}"),
        page(203, words(1, 9), "../../../etc/passwd"),
    ]
    begun = time.process_time()
    run = build(tmp_path / "mixed", single(tmp_path, [*good[:15], *bad, *good[15:]]), threads)
    assert time.process_time() - begun < 10  # 1.5 s where measured
    wanted = texts(build(tmp_path / "good", single(tmp_path, good, "good.xml")))
    found = texts(run)
    assert {number: found[number] for number in wanted} == wanted and len(wanted) == 30
    reasons = counted(run)
    assert reasons["too_long"] == 1 and reasons["empty"] >= 2
    assert len(found) + sum(reasons.values()) == len(good) + len(bad) == run.facts["source_pages"]
    assert {path.name for path in tmp_path.iterdir()} == {"mixed", "good", "dump.xml", "good.xml"}


@pytest.mark.parametrize("mark", ["{{", "[[", "<ref>"])
def test_a_page_of_marks_alone_is_over_the_budget_and_counted(tmp_path, mark):
    made = [page(n, words(n, 150)) for n in range(1, 9)]
    odd = page(77, html.escape(mark * 270_000, quote=False))
    run = build(tmp_path / "a", single(tmp_path, [*made[:4], odd, *made[4:]]))
    assert counted(run) == {"unreadable": 1} and len(texts(run)) == 8


def test_a_page_that_cannot_be_cleaned_is_counted_and_stops_nothing(tmp_path, monkeypatch):
    def faulty(text: str, *others: object) -> str:  # no page is known that the cleaner fails on
        return clean(text, *others) if text != "chữ" else text[3:][0]

    monkeypatch.setattr("lowres.corpus.extract.clean", faulty)
    made = [page(n, words(n, 150)) for n in range(1, 9)]
    run = build(tmp_path / "a", single(tmp_path, [*made[:4], page(77, "chữ"), *made[4:]]))
    (row,) = [row for row in run.facts["funnel"] if row["reason"] == "unreadable"]
    assert row == {"reason": "unreadable", "pages": 1, "example_ids": [77]}
    assert len(texts(run)) == 8


BOMB = "<!DOCTYPE m [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9)
)


@pytest.mark.parametrize(
    ("declared", "text"),
    [(f"{BOMB}]>", "&j;"), ("<!DOCTYPE m [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>", "&a;")],
    ids=["bomb", "external"],
)
def test_declared_entities_are_refused_before_they_grow(tmp_path, declared, text):
    path = tmp_path / "dump.xml"
    path.write_text(f"<?xml version='1.0'?>{declared}{HEAD}{page(1, text)}{TAIL}")
    with pytest.raises(DataError, match=r"dump.xml: it declares a document type; .* so it is refused$"):
        build(tmp_path / "a", path)


@pytest.mark.parametrize("threads", [1, 2])
def test_no_flipped_byte_passes_unseen_and_each_is_one_line(tmp_path, threads):
    whole = multistream(tmp_path, pages(20, 400)).read_bytes()
    wanted = texts(build(tmp_path / "whole", tmp_path / "dump.xml.bz2"))
    path = tmp_path / "flipped.xml.bz2"
    refused = 0
    for number, place in enumerate(range(3, len(whole), len(whole) // (24 // threads))):
        data = bytearray(whole)
        data[place] ^= 0x10
        path.write_bytes(data)
        try:
            found = texts(build(tmp_path / str(number), path, threads))
        except DataError as fault:
            assert str(fault).startswith(str(path)) and "\n" not in str(fault)
            assert not list((tmp_path / str(number) / "work").glob("*"))
            refused += 1
        else:
            assert found == wanted
    assert refused >= 20 // threads


def test_a_cut_dump_is_one_line_or_the_pages_before_the_cut(tmp_path):
    made = [page(n, words(n, 300)) for n in range(1, 101)]
    path = tmp_path / "cut.xml.bz2"
    path.write_bytes(multistream(tmp_path, made).read_bytes()[:-40_000])
    with pytest.raises(DataError, match=r"cut.xml.bz2: the compressed data .* truncated; fetch it again$"):
        build(tmp_path / "a", path)
    run = build(tmp_path / "b", path, allow_truncated=True)
    assert counted(run) == {"truncated": 1}
    assert set(texts(run)) == set(range(1, len(texts(run)) + 1)) and 50 < len(texts(run)) < 100


def test_no_article_is_one_line(tmp_path):
    only = [page(n, words(n, 50), f"Bản mẫu:{n}", ns=10) for n in range(1, 9)]
    with pytest.raises(
        DataError, match="no document is left of 8 pages; the largest filter, 'other_namespace', took 8"
    ):
        build(tmp_path / "a", single(tmp_path, only))


# --- the scanner, by chance -------------------------------------------------------------------------------------------

MARKS = (
    "{{ }} {{{ }}} [[ ]] [ ] {| |} |- | = == ' '' ''' ''''' <ref> </ref> <ref/> <ref <!-- --> <math> </math> <nowiki> "
    "</nowiki> <br> </ > http:// [http://a : * # ; chữ [[Tập [[Thể &amp; &# & ( ) {{nowrap| {{lang|fr| [[a|b]] {{c}} "
    "[[de: __ __TOC__ / <table> </table> <div <gallery> #REDIRECT {{pagename}} {{#if: \0 \ufeff \ud800 \u2028 𝔘 -{ }-"
).split(" ") + ["\n", "\n\n", " ", "\n{|", "\n|}", "\n==", "\n*", "\n "]
VI = Namespaces({0: "", 6: "Tập tin", 10: "Bản mẫu", 14: "Thể loại"})


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(MARKS) | st.text(max_size=5), max_size=40).map("".join))
def test_any_text_is_cleaned_to_little_more_than_itself(text):
    assert len(clean(text, VI, "Tựa")) <= 2 * len(text)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(MARKS), min_size=1, max_size=4).map("".join), st.sampled_from(["", "}}]]|}", "</ref>-->"])
)
@example("{{nowrap|", "}}")
@example("[[a|{{b|", "]]")
def test_any_marks_over_and_over_take_linear_time(marks, after):
    times = 40_000 // len(marks)
    begun = time.process_time()
    assert len(clean(marks * times + after * times, VI, "Tựa")) <= 2 * (len(marks) + len(after)) * times
    assert time.process_time() - begun < 1.5  # 0.05 s where measured; what is quadratic takes over 10 s
