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


def hashed(*texts: str) -> tuple[np.ndarray, np.ndarray]:
    """The 5-grams of texts, end to end, and how many each has."""
    each = places(texts, 20)
    return np.concatenate(each), np.array(list(map(len, each)))


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


def test_shingles_common_to_four_pages_make_a_stub():
    counts = ShingleCounts(20)
    pages = [f"Xã {name} là một xã thuộc huyện Bình Lục, có diện tích {n} km² và {n * 7} người." for n, name in
             enumerate(("An", "Bình", "Cát", "Đông"), 3)]  # fmt: skip
    article = "Sông chảy qua nhiều tỉnh, mang phù sa bồi đắp cho đồng bằng rộng lớn ở hạ lưu."
    counts.add(*hashed(*pages[:3]))
    assert counts.common(*hashed(pages[0])).tolist() == [0]
    others = hashed(pages[3], article, "ba từ thôi")
    counts.add(*others)
    assert 2 * counts.common(*hashed(pages[0]))[0] > hashed(pages[0])[1][0]
    common = counts.common(*others)
    assert 2 * common[0] > others[1][0]
    assert common[1:].tolist() == [0, 0]


def test_counters_hold_however_many_pages_are_counted_at_once():
    counts = ShingleCounts(20)
    every, lengths = hashed(*["một hai ba bốn năm"] * 3000, "sáu bảy tám chín mười")
    counts.add(every, lengths)
    counts.add(every, lengths)
    assert counts.common(every, lengths).tolist() == [1] * 3000 + [0]
    assert counts.common(every[:0], lengths[:0]).tolist() == []


def test_a_page_counts_its_repeated_shingle_once():
    counts = ShingleCounts(20)
    repeated = hashed("một hai ba bốn năm " * 9)
    counts.add(*repeated)
    assert counts.common(*repeated).tolist() == [0]
    assert repeated[1].tolist() == [5]


def test_auto_min_bytes_is_the_tenth_percentile_between_bounds():
    assert auto_min_bytes(range(1, 2001)) == 201
    assert auto_min_bytes([5] * 100) == 100
    assert auto_min_bytes([9000] * 10) == 500
    assert auto_min_bytes([]) == 100


def test_the_table_grows_with_the_source_up_to_256_mib():
    assert [table_bits(size) for size in (0, 10**6, 10**8, 10**11)] == [20, 21, 28, 28]
