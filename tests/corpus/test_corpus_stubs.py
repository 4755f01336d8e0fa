from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.corpus import stubs
from lowres.corpus.stubs import CompiledCounts, ShingleCounts, shingle_counts, table_bits
from lowres.text.shingles import places

Table = Callable[[int], ShingleCounts | CompiledCounts]


@pytest.fixture(scope="module")
def compiled(built_kernels):
    """The compiled kernels, built where an installation has not done so."""
    stubs.kernels.cache_clear()
    assert isinstance(shingle_counts(4), CompiledCounts)


@pytest.fixture(params=["numpy", "compiled"])
def table(request) -> Table:
    if request.param == "numpy":
        return ShingleCounts
    request.getfixturevalue("compiled")
    return shingle_counts


def hashed(*texts: str) -> tuple[np.ndarray, np.ndarray]:
    """The 5-grams of texts, end to end, and how many each has."""
    each = places(texts, 20)
    return np.concatenate(each), np.array(list(map(len, each)))


def test_shingles_common_to_four_pages_make_a_stub(table):
    counts = table(20)
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


def test_counters_hold_however_many_pages_are_counted_at_once(table):
    counts = table(20)
    every, lengths = hashed(*["một hai ba bốn năm"] * 3000, "sáu bảy tám chín mười")
    counts.add(every, lengths)
    counts.add(every, lengths)
    assert counts.common(every, lengths).tolist() == [1] * 3000 + [0]
    assert counts.common(every[:0], lengths[:0]).tolist() == []


def test_a_page_counts_its_repeated_shingle_once(table):
    counts = table(20)
    repeated = hashed("một hai ba bốn năm " * 9)
    counts.add(*repeated)
    assert counts.common(*repeated).tolist() == [0]
    assert repeated[1].tolist() == [5]


@given(st.lists(st.sets(st.integers(0, 40), max_size=30), max_size=12), st.integers(1, 6))
def test_compiled_and_numpy_count_the_same(compiled, pages, blocks):
    tables = ShingleCounts(6), shingle_counts(6)
    assert isinstance(tables[1], CompiledCounts)
    every = [(np.array(sorted(page), dtype=np.uint32)) for page in pages]
    given_blocks = [every[at::blocks] for at in range(blocks)]
    joined = [np.concatenate([*block, np.zeros(0, dtype=np.uint32)]) for block in given_blocks]
    lengths = [np.array([len(page) for page in block], dtype=np.int64) for block in given_blocks]
    for each in tables:
        for block in zip(joined, lengths, strict=True):
            each.add(*block)
    for block in zip(joined, lengths, strict=True):
        one, other = (each.common(*block).tolist() for each in tables)
        assert one == other


def test_places_beyond_the_table_touch_no_memory(table):
    counts = table(4)
    with pytest.raises(IndexError):
        counts.add(np.array([3, 16], dtype=np.uint32), np.array([2]))
    with pytest.raises(IndexError):
        counts.common(np.array([3, 16], dtype=np.uint32), np.array([2]))


def test_the_table_grows_with_the_source_up_to_256_mib():
    assert [table_bits(size) for size in (0, 10**6, 10**8, 10**11)] == [20, 21, 28, 28]
