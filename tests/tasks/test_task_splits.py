from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowres.cards import Carving
from lowres.errors import DataError
from lowres.tasks.read import Row
from lowres.tasks.splits import text_key, with_splits


def rows_of(labels, split="all", groups=None, texts=None):
    return [
        Row(f"{split}-{k:06d}", split, texts[k] if texts else f"text {split} {k}", label, groups[k] if groups else None)
        for k, label in enumerate(labels)
    ]


def by_split(splitted):
    counts = {split: Counter() for split in ("train", "dev", "test")}
    for row in splitted.rows:
        counts[row.split][row.label] += 1
    return counts


@settings(max_examples=60)
@given(st.lists(st.integers(5, 60), min_size=2, max_size=5))
def test_carving_is_stratified_to_the_nearest_item(sizes):
    labels = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
    done = with_splits(rows_of(labels), Carving(dev=0.1, test=0.2), "t")
    assert done.carved == ("test", "dev")
    counts = by_split(done)
    for k, size in enumerate(sizes):
        assert counts["test"][str(k)] == max(1, round(0.2 * size))
        assert counts["dev"][str(k)] == max(1, round(0.1 * size))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=60, max_size=120))
def test_groups_stay_whole_and_train_keeps_every_label(pairs):
    labels, groups = zip(*pairs, strict=True)
    try:
        done = with_splits(rows_of(labels, groups=[str(g) for g in groups]), Carving(), "t")
    except DataError as error:
        assert "is empty after carving" in str(error) or "label(s)" in str(error)
        return
    splits = {}
    for row in done.rows:
        splits.setdefault(row.group, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {row.label for row in done.rows if row.split == "train"} == set(labels)


def test_grouped_carving_comes_near_its_shares():
    labels = [str(k % 2) for k in range(600)]
    done = with_splits(rows_of(labels, groups=[str(k // 6) for k in range(600)]), Carving(), "t")
    sizes = {split: sum(counts.values()) for split, counts in by_split(done).items()}
    assert abs(sizes["test"] - 120) <= 6 and abs(sizes["dev"] - 60) <= 6


def test_equal_texts_are_not_parted_by_carving():
    texts = [f"Câu  số {k // 2}" if k % 2 else f"câu số {k // 2} " for k in range(200)]
    done = with_splits(rows_of(["x", "x", "y", "y"] * 50, texts=texts), Carving(), "t")
    splits = {}
    for row in done.rows:
        splits.setdefault(text_key(row.text), set()).add(row.split)
    assert len(splits) == 100 and all(len(found) == 1 for found in splits.values())


def test_carving_depends_on_ids_and_not_on_their_order():
    rows = rows_of(["x", "y"] * 40)
    there = {row.id: row.split for row in with_splits(rows, Carving(), "t").rows}
    back = {row.id: row.split for row in with_splits(rows[::-1], Carving(), "t").rows}
    assert there == back


def test_only_what_is_missing_is_carved():
    done = with_splits([*rows_of(["x", "y"] * 40, "train"), *rows_of(["x", "y"], "test")], Carving(), "t")
    assert done.carved == ("dev",)
    assert {split: sum(counts.values()) for split, counts in by_split(done).items()} == {
        "train": 72,
        "dev": 8,
        "test": 2,
    }


def test_unlabelled_rows_stay_in_train():
    done = with_splits(rows_of(["x", "y", None, None] * 20), Carving(), "t")
    assert {row.split for row in done.rows if row.label is None} == {"train"}


@pytest.mark.parametrize(
    ("train", "dev", "test", "message"),
    [
        ("xy", "x", "xz", "t: test has label\\(s\\) 'z', which train lacks"),
        ("xy", "xz", "x", "t: dev has label\\(s\\) 'z', which train lacks"),
        ("xx", "x", "x", "train has 1 label"),
        ("xy", "x", ["x", None], "1 test items have no label \\(first: test-000001\\)"),
    ],
)
def test_splits_that_cannot_be_used_are_refused_in_one_line(train, dev, test, message):
    rows = [*rows_of(train, "train"), *rows_of(dev, "dev"), *rows_of(test, "test")]
    with pytest.raises(DataError, match=message) as caught:
        with_splits(rows, Carving(), "t")
    assert "\n" not in str(caught.value)


def test_too_few_rows_to_carve_is_an_error():
    with pytest.raises(DataError, match="test is empty after carving|dev is empty after carving"):
        with_splits(rows_of("xyxy"), Carving(), "t")
