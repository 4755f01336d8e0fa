import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowres.artifacts import CORPUS_SPLITS, Corpus, Cost, Manifest, write_json
from lowres.corpus.compare import Named, difference, samples, unified
from lowres.corpus.tables import SCHEMA
from lowres.errors import DataError

Documents = dict[str, list[tuple[int, str, str]]]
COUNTING_POOL = pa.proxy_memory_pool(pa.default_memory_pool())
"""Of the module: what was read through a pool may be let go of after the test, and a pool that is gone is a crash."""
NONE: Documents = {"train": [], "valid": [], "test": []}


def written(folder: Path, documents: Documents, group: int = 2, form: str = "mediawiki", **settings: Any):
    """A corpus with so many rows a row group, and its manifest."""
    folder.mkdir()
    documents = {**NONE, **documents}
    sizes = {split: [len(text.encode()) for _, _, text in rows] for split, rows in documents.items()}
    for split, rows in documents.items():
        ids, titles, texts = ([row[k] for row in rows] for k in range(3))
        table = pa.table([ids, titles, texts, sizes[split], [split] * len(rows)], schema=SCHEMA)
        pq.write_table(table, folder / f"{split}.parquet", row_group_size=group)
    facts = {
        "documents": {split: len(rows) for split, rows in documents.items()},
        "bytes": {split: sum(each) for split, each in sizes.items()},
        "funnel": settings.pop("funnel", []),
        "source_pages": 9,
    }
    spec = {"source_sha256": "0" * 64, "format": form, "language": "vie", **settings}
    manifest = Manifest(
        id="ab" * 32,
        stage="build_corpus",
        version=2,
        spec=spec,
        inputs={},
        files={},
        facts=facts,
        cost=Cost(),
        lowres="0.1.0",
        created="2026-01-01T00:00:00+00:00",
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Corpus(folder), manifest


A: Documents = {
    "train": [(1, "Một", "a. b."), (2, "Hai", "hai"), (3, "Ba", "ba"), (4, "Bốn", "bốn"), (5, "Năm", "năm")],
    "valid": [(6, "Sáu", "sáu")],
    "test": [(7, "Bảy", "bảy")],
}
B: Documents = {
    "train": [(1, "Một", "a. c."), (3, "Ba mới", "ba"), (4, "Bốn", "bốn"), (7, "Bảy", "bảy"), (9, "Chín", "chín")],
    "valid": [(6, "Sáu", "sáu"), (5, "Năm", "năm năm")],
}


def test_documents_are_told_apart_by_id(tmp_path):
    rows = [{"reason": "stub", "pages": 4, "example_ids": [1]}, {"reason": "empty", "pages": 1, "example_ids": [2]}]
    a = written(tmp_path / "a", A, funnel=rows)
    b = written(tmp_path / "b", B, funnel=[rows[0], {**rows[1], "pages": 2}], filters={"min_bytes": 10})
    found = difference(a, b, 3)
    assert (found.by, found.equal) == ("id", 2)  # 4 and 6
    assert found.only_a.samples == (Named(2, "Hai"),) and found.only_a.bytes == 3
    assert found.only_b.samples == (Named(9, "Chín"),) and found.only_b.bytes == len("chín".encode())
    assert {one.id for one in found.changed.samples} == {1, 5} and found.changed.documents == 2
    assert found.changed.bytes == 5 + len("năm".encode()) and found.changed_bytes_b == 5 + len("năm năm".encode())
    assert found.retitled.samples == (Named(3, "Ba"),)
    assert {name: [one.id for one in group.samples] for name, group in found.moved.items()} == {
        "train -> valid": [5],
        "test -> train": [7],
    }
    assert found.funnel == {"empty": (1, 2)} and found.settings == {"filters.min_bytes": ("auto", 10)}
    assert found.documents == {"valid": (1, 2), "test": (1, 0)}
    assert {text.id: text.diff[3:] for text in found.rewritten}[1] == (" a.", "- b.", "+ c.")


def test_a_corpus_is_equal_to_itself_whatever_its_row_groups(tmp_path):
    a, b = written(tmp_path / "a", A, group=1), written(tmp_path / "b", A, group=100)
    found = difference(a, b, 3)
    nothing = replace(found, equal=0, only_a=found.only_b)
    assert found.equal == 7 and found.only_a.documents == 0
    assert not (nothing.changed.documents or nothing.retitled.documents or nothing.rewritten)
    assert not (found.moved or found.settings or found.funnel or found.documents or found.bytes)


def test_the_two_directions_mirror_each_other(tmp_path):
    a, b = written(tmp_path / "a", A), written(tmp_path / "b", B)
    there, back = difference(a, b, 9), difference(b, a, 9)
    assert (there.only_a, there.only_b, there.equal) == (back.only_b, back.only_a, back.equal)
    assert there.changed.bytes == back.changed_bytes_b
    assert {name.split(" -> ")[0] for name in there.moved} == {name.split(" -> ")[1] for name in back.moved}


def test_documents_without_ids_of_their_source_are_told_by_content(tmp_path):
    renumbered: Documents = {"train": [(n * 1000, title, text) for n, title, text in A["train"][1:]]}
    wiki, lines = written(tmp_path / "a", A), written(tmp_path / "b", renumbered, form="jsonl")
    found = difference(wiki, lines, 9)
    assert (found.by, found.equal, found.only_b.documents) == ("content", 4, 0)
    assert {one.title for one in found.only_a.samples} == {"Một", "Sáu", "Bảy"}
    assert found.settings == {"format": ("mediawiki", "jsonl")}


def test_samples_are_drawn_by_id_and_not_by_the_hash_of_the_splits(tmp_path):
    documents: Documents = {
        split: [(n, f"T{n}", f"văn bản {n}") for n in range(k, 300, 3)] for k, split in enumerate(CORPUS_SPLITS)
    }
    corpus, _ = written(tmp_path / "a", documents, group=7)
    few = samples(corpus, 12)
    assert len({one.id for one in few}) == 12 and {one.split for one in few} == set(CORPUS_SPLITS)
    assert all(one.text == f"văn bản {one.id}" and one.title == f"T{one.id}" for one in few)
    assert samples(corpus, 5) == few[:5]
    one_split = samples(corpus, 400, "valid")
    assert {one.id for one in one_split} == set(range(1, 300, 3))
    assert samples(corpus, 0) == []


def test_memory_holds_a_row_group_and_not_the_corpus(tmp_path):
    rows = [(n, f"T{n}", f"{n} " * 20_000) for n in range(400)]
    a, b = written(tmp_path / "a", {"train": rows}, group=4), written(tmp_path / "b", {"train": rows[1:]}, group=4)
    total = sum(a[1].facts["bytes"].values())
    usual, pool = pa.default_memory_pool(), COUNTING_POOL
    del rows
    pa.set_memory_pool(pool)
    try:
        assert difference(a, b, 2).equal == 399 and len(samples(a[0], 3)) == 3
    finally:
        pa.set_memory_pool(usual)
    assert 0 < pool.max_memory() < total / 5


@pytest.mark.parametrize("harm", ["gone", "cut", "columns"])
def test_a_damaged_table_is_one_line(tmp_path, harm):
    a = written(tmp_path / "a", A)
    path = tmp_path / "a/valid.parquet"
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        pq.write_table(pa.table({"id": [1]}), path)
    with pytest.raises(DataError, match=r"valid.parquet: it cannot be read as a table of a corpus") as said:
        difference(a, a, 1)
    assert "\n" not in str(said.value)


def test_a_diff_shows_the_sentence_that_changed():
    old = "Một câu. Hai câu.\n\nBa câu. Bốn câu. Năm câu."
    assert unified(old, old) == ()
    assert unified(old, old.replace("Bốn", "4"))[3:] == (" Ba câu.", "- Bốn câu.", "+ 4 câu.", "  Năm câu.")


def test_a_comparison_is_json(tmp_path):
    from lowres.cli.corpus_words import different_json
    from lowres.corpus.find import find_corpus

    written(tmp_path / "a", A)
    written(tmp_path / "b", B)
    a, b = (find_corpus(str(tmp_path / name), pytest.fail) for name in "ab")
    value = json.loads(json.dumps(different_json(a, b, difference((a.corpus, a.manifest), (b.corpus, b.manifest), 1))))
    assert value["only_a"]["samples"] == [{"id": 2, "title": "Hai"}] and value["documents"]["test"] == [1, 0]
