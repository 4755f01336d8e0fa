import numpy as np

from lowres.corpus.dump import Page
from lowres.corpus.filters import (
    Disambiguation,
    Funnel,
    ShingleCounts,
    auto_min_bytes,
    table_bits,
    templates_of,
    title_suffix,
    told_by,
)
from lowres.corpus.namespaces import Namespaces
from lowres.text.shingles import places


def counted(counts: ShingleCounts, text: str) -> np.ndarray:
    (found,) = places([text], 20)
    counts.add(found)
    return found


LTG = Namespaces({0: "", 8: "MediaWiki", 10: "Taiss"})


def test_the_funnel_keeps_three_examples_and_names_the_largest():
    funnel = Funnel()
    for page_id in (5, 4, 3, 2):
        funnel.leave_out("stub", page_id)
    funnel.leave_out("empty", 1)
    rows = {row["reason"]: row for row in funnel.rows()}
    assert rows["stub"] == {"reason": "stub", "pages": 4, "example_ids": [5, 4, 3]}
    assert rows["redirect"]["pages"] == 0
    assert funnel.largest() == ("stub", 4)


def test_disambiguation_templates_are_known_by_language_and_by_title():
    vietnamese = Disambiguation("vie")
    vietnamese.add(templates_of("{{Trang định hướng}}\n* [[A]]"))
    vietnamese.add(templates_of("{{trang_định hướng|x}}"))
    vietnamese.add(templates_of("{{disambig}}"))
    vietnamese.add(templates_of("Một bài về {{lang|fr|x}} [[trang định hướng]]"))
    vietnamese.add(templates_of("{{trang định hướng}}" + "chữ " * 10_000))
    assert vietnamese.found() == [True, True, True, False, False]
    assert vietnamese.titled(title_suffix("Huế (định hướng)"))
    assert not vietnamese.titled(title_suffix("Huế (thành phố)"))
    other = Disambiguation("ltg")
    other.add(templates_of("{{Trang định hướng}}"))
    assert other.found() == [False]


def test_the_dump_tells_its_own_disambiguation_templates():
    found = Disambiguation("xxx")
    for wikitext in ("{{Nuzeimeibys lopa}}", "{{Škir}}", "{{Cyts}}", "{{Saroksts}}"):
        found.add(templates_of(wikitext))
    found.learn(told_by(Page(10, 10, "Taiss:Nuzeimeibys lopa", None, "[[x]]{{#ifeq:a|b|__DISAMBIG__}}"), LTG))
    found.learn(told_by(Page(11, 10, "Taiss:Škir", "Taiss:Nuzeimeibys lopa", "#REDIRECT"), LTG))
    found.learn(told_by(Page(12, 8, "MediaWiki:Disambiguationspage", None, "* [[Taiss:Saroksts]]\n* [[Cyts]]"), LTG))
    assert found.found() == [True, True, False, True]


def test_shingles_common_to_four_pages_make_a_stub():
    counts = ShingleCounts(20)
    pages = [f"Xã {name} là một xã thuộc huyện Bình Lục, có diện tích {n} km² và {n * 7} người." for n, name in
             enumerate(("An", "Bình", "Cát", "Đông"), 3)]  # fmt: skip
    article = "Sông chảy qua nhiều tỉnh, mang phù sa bồi đắp cho đồng bằng rộng lớn ở hạ lưu."
    three = [counted(counts, text) for text in pages[:3]]
    assert counts.share(three[0]) == 0.0
    places = [counted(counts, text) for text in (pages[3], article, "ba từ thôi")]
    assert counts.share(places[0]) > 0.5
    assert counts.share(three[0]) > 0.5
    assert counts.share(places[1]) == 0.0
    assert counts.share(places[2]) == 0.0


def test_a_page_counts_its_repeated_shingle_once():
    counts = ShingleCounts(20)
    places = counted(counts, "một hai ba bốn năm " * 9)
    assert counts.share(places) == 0.0
    assert len(places) == 5


def test_auto_min_bytes_is_the_tenth_percentile_between_bounds():
    assert auto_min_bytes(range(1, 2001)) == 201
    assert auto_min_bytes([5] * 100) == 100
    assert auto_min_bytes([9000] * 10) == 500
    assert auto_min_bytes([]) == 100


def test_the_table_grows_with_the_source_up_to_256_mib():
    assert [table_bits(size) for size in (0, 10**6, 10**8, 10**11)] == [20, 21, 28, 28]
