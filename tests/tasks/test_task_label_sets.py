"""Sets of labels: how files give them, how splits and subsets share them out."""

import hashlib
import json
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lowres.artifacts import Document, Node, Run, Task
from lowres.cards import Carving, Layout, TaskCard, TaskKind, read_card
from lowres.cli import write
from lowres.errors import DataError
from lowres.labels import labelling, spelled_set
from lowres.tasks.add import add_task
from lowres.tasks.read import RawFile, Row, read_rows
from lowres.tasks.spec import READ_TASK, SourceFile, SubsetSpec, TaskSpec
from lowres.tasks.splits import with_splits
from lowres.tasks.stages import draw_subset, read_task
from lowres.tasks.stratify import Unit, iterative_stratification
from lowres.tasks.subsets import draw, label_counts

NAMES = labelling("multi-label").names
WANTED = ['["a","b"]', "[]", '["b"]', None]


def read(tmp_path, name, data, layout, kind="multi-label"):
    path = tmp_path / name
    if isinstance(data, pa.Table):
        pq.write_table(data, path)
    else:
        path.write_text(data, encoding="utf-8")
    return [row.label for row in read_rows([RawFile("train", path, name)], layout, kind)]


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_one_field_with_a_separator(tmp_path):
    layout = Layout(format="csv", label_separator="|")
    assert read(tmp_path, "a", "text,label\nx,b | a|b\ny,\nz,|b\n", layout) == WANTED[:3]
    jsonl = "".join(json.dumps({"text": "x", "label": label}) + "\n" for label in ("a|b", "", "b", None))
    assert read(tmp_path, "b", jsonl, Layout(format="jsonl", label_separator="|")) == WANTED


def test_lists(tmp_path):
    lists = [["b", "a"], [], ["b"], None]
    jsonl = "".join(json.dumps({"text": "x", "label": label}) + "\n" for label in lists)
    assert read(tmp_path, "a", jsonl, Layout(format="jsonl")) == WANTED
    table = pa.table({"text": ["x"] * 4, "label": lists})
    assert read(tmp_path, "b", table, Layout(format="parquet")) == WANTED
    numbers = pa.table({"text": ["x"], "label": [[1, 0]]})
    names = {"0": "a", "1": "b"}
    assert read(tmp_path, "c", numbers, Layout(format="parquet", names=names)) == WANTED[:1]


def test_a_column_for_each_label(tmp_path):
    layout = {"label_columns": ("b", "a")}
    assert read(tmp_path, "a", "text,a,b\nx,1,1\ny,0,0\nz,0,1\nw,,\n", Layout(format="csv", **layout)) == WANTED
    table = pa.table({"text": ["x"] * 4, "a": [True, False, False, None], "b": [1.0, 0.0, 1.0, None]})
    assert read(tmp_path, "b", table, Layout(format="parquet", **layout)) == WANTED
    merged = Layout(format="csv", names={"a": "x", "b": "x"}, **layout)
    assert read(tmp_path, "c", "text,a,b\nx,1,1\n", merged) == ['["x"]']


@pytest.mark.parametrize(
    ("layout", "data", "said"),
    [
        ({"format": "jsonl"}, '{"text": "x", "label": "a;b"}', "holds 'a;b', which is no list; set layout.label_separ"),
        ({"format": "jsonl"}, '{"text": "x", "label": ["a", ""]}', "a list with a blank label"),
        ({"format": "jsonl", "label_separator": ";"}, '{"text": "x", "label": ["a"]}', "leave out layout.label_sep"),
        (
            {"format": "csv", "label_columns": ("a",)},
            "text,a\nx,2\n",
            "column 'a' holds '2'; it must hold 0 or 1",
        ),
        ({"format": "csv", "label_columns": ("a", "b")}, "text,a,b\nx,1,\n", "'b' holds nothing"),
        ({"format": "csv", "label_columns": ("a", "c")}, "text,a,b\nx,1,1\n", "no column 'c'"),
        ({"format": "csv", "label_separator": ";", "names": {"a": "x"}}, "text,label\nx,a;b\n", "has label 'b', which"),
    ],
)
def test_what_is_not_as_the_layout_says_is_refused_in_one_line(tmp_path, layout, data, said):
    with pytest.raises(DataError, match=said) as caught:
        read(tmp_path, "a.txt", data, Layout(**layout))
    assert str(caught.value).startswith("a.txt: ") and "\n" not in str(caught.value)


def test_a_list_is_no_label_of_a_task_of_one_label(tmp_path):
    with pytest.raises(DataError, match='a list; several labels a text are kind = "multi-label"'):
        read(tmp_path, "a", '{"text": "x", "label": ["a"]}', Layout(format="jsonl"), "classification")


@pytest.mark.parametrize(
    ("kind", "layout", "said"),
    [
        ("classification", {"format": "csv", "label_separator": ";"}, 'set kind = "multi-label"'),
        ("classification", {"format": "csv", "label_columns": ["a"]}, "layout.label_columns is for several labels"),
        ("multi-label", {"format": "csv"}, "csv holds no lists; set layout.label_separator"),
        ("multi-label", {"format": "csv", "label_separator": ";", "label_columns": ["a"]}, "are both set"),
        ("multi-label", {"format": "lines", "label_columns": ["a"]}, "are of tables"),
        ("multi-label", {"format": "csv", "label_columns": ["a", "a"]}, "names a column twice"),
    ],
)
def test_a_card_whose_layout_does_not_fit_its_kind_is_refused(kind, layout, said):
    card = {"card": "task", "name": "x", "language": "vie", "script": "Latn", "licence": "none", "statement": "x" * 20}
    file = {"role": "all", "sha256": "0" * 64, "bytes": 1, "path": "x"}
    with pytest.raises(ValidationError, match=said):
        TaskCard.model_validate({**card, "kind": kind, "layout": layout, "files": [file]})


def test_the_new_keys_leave_the_ids_of_older_tasks_alone():
    """The very id that this request had before there were several kinds."""
    layout = Layout(format="csv", names={"0": "x"})
    assert layout.hashed().keys() == {"format", "text", "label", "group", "id", "encoding", "quoting", "names"}
    spec = TaskSpec(name="t", language="vie", files=(SourceFile(role="all", sha256="0" * 64),), layout=layout)
    assert Node(READ_TASK, spec).id == "48bdb31c9849403daf398296831857822e94c15b4662c76ab63a104270d17c32"


# --- splits and subsets ----------------------------------------------------------------------------------------------

SETS = st.lists(st.sets(st.sampled_from("abcde"), max_size=4), min_size=60, max_size=160)


def documents_of(sets):
    return [Document(f"d{k}", "train", spelled_set(names), "x") for k, names in enumerate(sets)]


def rows_of(sets, groups=None):
    return [Row(f"r{k}", "all", f"t{k}", spelled_set(n), groups[k] if groups else None) for k, n in enumerate(sets)]


@settings(max_examples=25, deadline=None)
@given(SETS, st.integers(2, 4))
def test_every_label_is_shared_out_to_within_its_rarer_companions(sets, parts):
    """A label is off by one and by what its texts owed to rarer labels; the rarest one is off by less than one."""
    units = [Unit.of([sorted(names)]) for names in sets]
    chosen = iterative_stratification(units, [1 / parts] * parts)
    counts = {label: sum(label in names for names in sets) for label in set().union(*sets)}
    off = {
        label: max(
            abs(sum(label in names and part == k for names, part in zip(sets, chosen, strict=True)) - n / parts)
            for k in range(parts)
        )
        for label, n in counts.items()
    }
    if counts:
        assert off[min(counts, key=lambda label: (counts[label], label))] < 1
        assert max(off.values()) <= len(counts) + 1
    sizes = np.bincount(chosen, minlength=parts)
    if min(map(len, sets)) == 0 and sum(not names for names in sets) > 5 * parts:
        assert np.ptp(sizes) <= 1


def test_the_paper_in_small():
    """The rarest label first, to the part that wants it most; ties to the part that wants most texts; none at last."""
    units = [Unit({"a": 1, "b": 1}), Unit({"a": 1}), Unit({"b": 1}), Unit({"b": 1}), Unit({"b": 1}), Unit({}), Unit({})]
    assert iterative_stratification(units, (0.5, 0.5)) == [0, 1, 1, 0, 1, 0, 0]
    held = [Unit({"a": 1, "b": 1}, part=1), *units[1:]]
    assert iterative_stratification(held, (0.5, 0.5))[:2] == [1, 0]


@settings(max_examples=15, deadline=None)
@given(SETS, st.integers(0, 2), st.data())
def test_subsets_of_sets_nest_and_hold_every_label_early(sets, subset, data):
    documents = documents_of(sets)
    sizes = sorted(data.draw(st.lists(st.integers(5, len(documents)), min_size=2, max_size=4)))
    draws = [draw(data.draw(st.permutations(documents)), n, subset, "train", "multi-label") for n in sizes]
    for smaller, larger in zip(draws, draws[1:], strict=False):
        assert larger[: len(smaller)] == smaller
    assert [len({d.id for d in found}) for found in draws] == sizes
    assert label_counts(draws[0], "multi-label").keys() == set().union(*sets)


def test_subsets_are_nearer_to_the_shares_than_chance():
    rng = np.random.default_rng(0)
    members = rng.random((1200, 10)) < np.minimum(0.3, 0.6 / np.arange(1, 11))
    documents = documents_of([{f"l{k}" for k in np.flatnonzero(row)} for row in members])
    order = [int(d.id[1:]) for d in draw(documents, 1200, 0, "train", "multi-label")]
    quotas = np.arange(1, 1201)[:, None] * members.mean(axis=0)
    off, chance = (np.abs(members[k].cumsum(axis=0) - quotas)[100:] for k in (order, rng.permutation(1200)))
    assert off.mean() < 1 and off.max() < 5 < chance.max()


def test_carving_shares_out_sets_keeps_groups_and_leaves_every_label_in_train():
    rng = np.random.default_rng(1)
    shares = {"a": 0.5, "b": 0.3, "c": 0.2, "d": 0.1, "e": 0.02}
    sets = [{label for label, p in shares.items() if rng.random() < p} for _ in range(400)]
    done = with_splits(rows_of(sets, [str(k // 2) for k in range(400)]), Carving(), "t", "multi-label")
    groups = {}
    counts = {split: dict.fromkeys("abcde", 0) for split in ("train", "dev", "test")}
    for row in done.rows:
        groups.setdefault(row.group, set()).add(row.split)
        for name in NAMES(row.label):
            counts[row.split][name] += 1
    assert all(len(found) == 1 for found in groups.values())
    for name in "abcde":
        total = sum(counts[split][name] for split in counts)
        assert counts["train"][name] > 0
        assert abs(counts["test"][name] - 0.2 * total) <= 3 and abs(counts["dev"][name] - 0.1 * total) <= 3
    back = with_splits(rows_of(sets, [str(k // 2) for k in range(400)])[::-1], Carving(), "t", "multi-label")
    assert {row.id: row.split for row in back.rows} == {row.id: row.split for row in done.rows}


def test_a_label_that_train_lacks_is_refused():
    sets = {"train": ["a", "ab"], "dev": ["", "a"], "test": ["az"]}
    rows = [Row(f"{way}-{names}", way, way + names, spelled_set(names), None) for way in sets for names in sets[way]]
    with pytest.raises(DataError, match="test has label\\(s\\) 'z', which train lacks"):
        with_splits(rows, Carving(), "t", "multi-label")


def test_a_file_is_added_read_and_drawn_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"câu {k},{k % 2},{int(k % 3 == 0)}\n" for k in range(90))
    path = tmp_path / "feelings.csv"
    path.write_text("text,vui,buồn\n" + rows, encoding="utf-8")
    options = {"text": "text", "language": "vie", "name": "vi/f", "kind": "multi-label"}
    with pytest.raises(DataError, match="name the labels' column"):
        add_task(path, **options)
    with pytest.raises(DataError, match="csv holds no lists"):
        add_task(path, label="vui", **options)
    added = add_task(path, label_columns=["vui", "buồn"], **options)
    assert "30 texts have none" in added.described() and "0.83 labels a text" in added.described()
    card, _ = read_card("vi/f", TaskCard)
    assert card.kind == "multi-label" and card.layout.label_columns == ("vui", "buồn")
    out, sub = tmp_path / "task", tmp_path / "subset"
    out.mkdir(), sub.mkdir()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    files = (SourceFile(role="all", sha256=sha256),)
    spec = TaskSpec(name="f", kind=card.kind, language="vie", files=files, layout=card.layout)
    run = Run(out=out, work=out, seed=0, files={sha256: path})
    read_task({}, spec, run)
    assert Task(out).kind == "multi-label" and Task(out).labels == ("buồn", "vui")
    assert run.facts["counts"] == added.counts and run.facts["documents"] == added.documents
    drawing = Run(out=sub, work=sub, seed=0)
    draw_subset({"task": out}, SubsetSpec(train_size=20), drawing)
    counts = drawing.facts["counts"]["train"]
    assert abs(counts["vui"] - 10) <= 2 and abs(counts["buồn"] - 20 / 3) <= 2 and drawing.facts["labels_used"] == 20


def test_the_command_offers_every_kind():
    """It spells them out again, for the sake of a fast `lowres --help`."""
    assert get_args(write._Kind) == get_args(TaskKind)
