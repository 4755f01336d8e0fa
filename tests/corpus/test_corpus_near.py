import hashlib
import io
from functools import cache
from pathlib import Path

import datasketch
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lowres.corpus.near import PERMUTATIONS, Signatures, _joined, bands, near_duplicate_groups
from lowres.text.shingles import of_words

SIGNATURES = Signatures()
DIGITS = str.maketrans("0123456789", "ghijklmnop")


@cache
def word(seed: int) -> str:
    return hashlib.sha256(str(seed).encode()).hexdigest()[:6].translate(DIGITS)


@cache
def text(seed: int, count: int = 120, changed: int = 0) -> str:
    """Words of a seed, the last `changed` of them from another draw."""
    kept = [word(seed * 1000 + place) for place in range(count - changed)]
    return " ".join(kept + [word(-seed * 1000 - place - 1) for place in range(changed)])


def groups(folder: Path, documents: dict[int, str], threshold: float = 0.8) -> dict[int, int]:
    with (folder / "signatures.bin").open("w+b") as scratch:
        found = near_duplicate_groups(map(SIGNATURES, documents.values()), list(documents), threshold, scratch)
    return dict(zip(documents, found.tolist(), strict=True))


def test_a_group_is_named_by_its_smallest_id(tmp_path):
    documents = {
        70: text(1),
        12: text(1, changed=3),
        30: text(2),
        5: text(3),
        41: text(1),
        9: text(4, 4),
        8: text(4, 4),
    }
    assert groups(tmp_path, documents) == {70: 12, 12: 12, 30: 30, 5: 5, 41: 12, 9: 8, 8: 8}


@settings(max_examples=12, deadline=None)
@given(st.permutations(list(range(24))))
def test_the_order_of_documents_plays_no_part(tmp_path_factory, order):
    documents = {page: text(page // 4, changed=2 * (page % 4) * (page // 12)) for page in range(24)}
    folder = tmp_path_factory.mktemp("near")
    expected = groups(folder, documents)
    assert groups(folder, {page: documents[page] for page in order}) == expected
    assert len(set(expected.values())) < 20


def test_equal_texts_are_near_duplicates_at_any_threshold_and_digits_are_masked(tmp_path):
    texts = ["Năm 1271 là một năm.", "Năm 1281 là một năm.", "một", "một", "กขคงจฉช", "กขคงจฉช"]
    found = groups(tmp_path, dict(enumerate(texts)), threshold=1.0)
    assert found == {0: 0, 1: 0, 2: 2, 3: 2, 4: 4, 5: 4}


def test_groups_are_chains_so_no_pair_of_near_duplicates_lies_in_two(tmp_path):
    documents = {page: text(1, 400, changed=18 * page) for page in range(8)}
    found = groups(tmp_path, documents)
    table = np.array([SIGNATURES(one) for one in documents.values()])
    alike = (table[:, None] == table[None]).mean(axis=2) >= 0.8
    assert alike[0, 1] and not alike[0, 7]
    assert all(found[a] == found[b] for a, b in zip(*np.nonzero(alike), strict=True))
    assert set(found.values()) == {0}


def test_signatures_estimate_the_jaccard_similarity():
    errors = []
    for seed in range(60):
        one, other = text(seed, 300), text(seed, 300, changed=seed)
        sets = [set(of_words(each).tolist()) for each in (one, other)]
        true = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        errors.append(float(np.mean(SIGNATURES(one) == SIGNATURES(other))) - true)
    assert abs(np.mean(errors)) < 0.015
    assert np.std(errors) < 0.05


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8, 0.95, 1.0])
def test_bands_find_99_of_100_pairs_at_the_threshold(threshold):
    count, rows = bands(threshold)
    assert count * rows <= PERMUTATIONS
    assert 1 - (1 - threshold**rows) ** count >= 0.99


def test_large_buckets_are_grouped_too(tmp_path):
    documents = {page: text(page % 2, 80, changed=2 * (page % 5 == 0)) for page in range(2400)}
    found = groups(tmp_path, documents)
    assert set(found.values()) == {0, 1}
    assert all(name == page % 2 for page, name in found.items())


def test_no_document_and_one_document_are_groups(tmp_path):
    assert groups(tmp_path, {}) == {}
    assert groups(tmp_path, {7: "một"}) == {7: 7}
    assert near_duplicate_groups([], [], 0.8, io.BytesIO()).tolist() == []


def test_permutations_are_those_of_datasketch():
    shingles = np.random.default_rng(0).integers(0, 2**64, 300, dtype=np.uint64)
    factors, terms = datasketch.MinHash(num_perm=128, seed=1, scheme="affine32").permutations
    permuted = (shingles >> np.uint64(32)).astype(np.uint32)[:, None] * factors + terms
    assert np.array_equal(Signatures().of_shingles(shingles), permuted.min(axis=0))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40), st.permutations(range(30)))
def test_groups_are_joined_as_scipy_joins_them(links, labels):
    labels = np.array(labels) % 25
    ends = labels[np.array(links, dtype=int).reshape(-1, 2)]
    graph = coo_array((np.ones(len(links)), (ends[:, 0], ends[:, 1])), shape=(30, 30))
    wanted = connected_components(graph, directed=False)[1][labels]
    joined = _joined(labels, links)
    assert np.array_equal(joined[:, None] == joined, wanted[:, None] == wanted)
