from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowres.artifacts import Document
from lowres.errors import DataError
from lowres.tasks.subsets import class_order, draw, label_counts

COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=7)


def documents_of(counts):
    return [Document(f"{k}-{n}", "train", str(k), f"t{k}{n}") for k, count in enumerate(counts) for n in range(count)]


@settings(max_examples=150)
@given(COUNTS)
def test_at_every_size_each_class_is_there_and_within_one_of_its_quota(counts):
    total, classes = sum(counts), len(counts)
    drawn = [0] * classes
    for n, k in enumerate(class_order(counts, total), 1):
        drawn[k] += 1
        quotas = [Fraction(n * count, total) for count in counts]
        if n >= classes:
            assert min(drawn) >= 1
        early = sum(max(Fraction(0), 1 - quota) for quota in quotas)
        for have, quota in zip(drawn, quotas, strict=True):
            assert have < quota + 1
            # what the rarest were given early, the others go without; once every quota is 1, nothing
            assert have > quota - 1 - early
    assert drawn == counts


@settings(max_examples=80)
@given(COUNTS, st.integers(0, 3), st.data())
def test_subsets_of_one_number_nest_whatever_the_order_of_the_documents(counts, subset, data):
    documents = documents_of(counts)
    sizes = sorted(data.draw(st.lists(st.integers(1, len(documents)), min_size=2, max_size=4)))
    draws = [draw(data.draw(st.permutations(documents)), size, subset, "train") for size in sizes]
    for smaller, larger in zip(draws, draws[1:], strict=False):
        assert larger[: len(smaller)] == smaller
    assert all(len(set(d.id for d in found)) == size for found, size in zip(draws, sizes, strict=True))


def test_draws_of_other_numbers_and_splits_are_others():
    documents = documents_of([200, 200])
    first, second, dev = draw(documents, 50, 0, "train"), draw(documents, 50, 1, "train"), draw(documents, 50, 0, "dev")
    assert len({d.id for d in first} & {d.id for d in second}) < 25
    assert len({d.id for d in first} & {d.id for d in dev}) < 25


def test_the_order_is_fixed_for_good():
    """Stored ids of published comparisons: a change here is a change of every subset."""
    assert [d.id for d in draw(documents_of([6, 3, 1]), 6, 0, "train")] == ["0-3", "1-1", "2-0", "0-4", "0-0", "0-1"]


def test_every_document_has_the_same_chance():
    documents = documents_of([20, 10])
    hits = Counter(d.id for subset in range(600) for d in draw(documents, 6, subset, "train"))
    # 600 draws of 4 in 20 and 2 in 10: 120 each, standard deviation 9.8
    assert len(hits) == 30 and 75 < min(hits.values()) and max(hits.values()) < 165


def test_documents_without_a_label_are_not_drawn_and_more_than_there_are_is_an_error():
    documents = [*documents_of([3, 2]), Document("u", "train", None, "t")]
    assert label_counts(draw(documents, 5, 0, "train")) == {"0": 3, "1": 2}
    with pytest.raises(DataError, match="6 labels are asked for, 5 are there"):
        draw(documents, 6, 0, "train")
