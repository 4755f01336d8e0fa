import numpy as np

from lowres.corpus.dump import Page
from lowres.corpus.filters import (
    Disambiguation,
    Funnel,
    auto_min_bytes,
    templates_of,
    title_suffix,
    told_by,
)
from lowres.corpus.namespaces import Namespaces

LTG = Namespaces({0: "", 8: "MediaWiki", 10: "Taiss"})


def test_the_funnel_keeps_three_examples_and_names_the_largest():
    funnel = Funnel()
    funnel.leave_out("stub", [5])
    funnel.leave_out("stub", np.array([4, 3, 2]))
    funnel.leave_out("empty", np.array([1]))
    rows = {row["reason"]: row for row in funnel.rows()}
    assert rows["stub"] == {"reason": "stub", "pages": 4, "example_ids": [5, 4, 3]}
    assert rows["redirect"]["pages"] == 0
    assert funnel.largest() == ("stub", 4)


def marked(found: Disambiguation, *wikitexts: str) -> list[bool]:
    return [not found.names().isdisjoint(templates_of(wikitext)) for wikitext in wikitexts]


def test_disambiguation_templates_are_known_by_language_and_by_title():
    vietnamese = Disambiguation("vie")
    assert marked(
        vietnamese,
        "{{Trang định hướng}}\n* [[A]]",
        "{{trang_định hướng|x}}",
        "{{disambig}}",
        "Một bài về {{lang|fr|x}} [[trang định hướng]]",
        "{{trang định hướng}}" + "chữ " * 10_000,
    ) == [True, True, True, False, False]
    assert vietnamese.titled(title_suffix("Huế (định hướng)"))
    assert not vietnamese.titled(title_suffix("Huế (thành phố)"))
    assert marked(Disambiguation("ltg"), "{{Trang định hướng}}") == [False]


def test_the_dump_tells_its_own_disambiguation_templates():
    found = Disambiguation("xxx")
    found.learn(told_by(Page(10, 10, "Taiss:Nuzeimeibys lopa", None, "[[x]]{{#ifeq:a|b|__DISAMBIG__}}"), LTG))
    found.learn(told_by(Page(11, 10, "Taiss:Škir", "Taiss:Nuzeimeibys lopa", "#REDIRECT"), LTG))
    found.learn(told_by(Page(12, 8, "MediaWiki:Disambiguationspage", None, "* [[Taiss:Saroksts]]\n* [[Cyts]]"), LTG))
    told = marked(found, "{{Nuzeimeibys lopa}}", "{{Škir}}", "{{Cyts}}", "{{Saroksts}}")
    assert told == [True, True, False, True]


def test_auto_min_bytes_is_the_tenth_percentile_between_bounds():
    assert auto_min_bytes(range(1, 2001)) == 201
    assert auto_min_bytes([5] * 100) == 100
    assert auto_min_bytes([9000] * 10) == 500
    assert auto_min_bytes([]) == 100
