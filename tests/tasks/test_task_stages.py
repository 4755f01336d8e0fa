import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowres.artifacts import Run, Subset, Task
from lowres.errors import DataError, Stopped
from lowres.fingerprint import file_sha256
from lowres.tasks.spec import AuditSpec, Layout, SourceFile, SubsetSpec, TaskSpec
from lowres.tasks.stages import audit_leaks, draw_subset, read_task
from lowres.text.normalise import Normalisation

TOPICS = ("bếp núc", "bóng đá", "sông hồ")


def lines(split, n):
    items = [{"text": f"{TOPICS[k % 3]} câu {split} {k}", "label": TOPICS[k % 3]} for k in range(n)]
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def run_in(folder, **options):
    folder.mkdir(parents=True)
    return Run(out=folder, work=folder, seed=0, **options)


def read(folder, contents, **options):
    """(run, spec) after `read_task` on JSON lines by role."""
    paths = {}
    for role, content in contents.items():
        path = folder / f"{role}.jsonl"
        path.write_text(content, encoding="utf-8")
        paths[role] = path
    shas = {role: file_sha256(path) for role, path in paths.items()}
    files = tuple(SourceFile(role=role, sha256=sha) for role, sha in shas.items())
    spec = TaskSpec(name="vi/t", language="vie", files=files, layout=Layout(format="jsonl"), **options)
    run = run_in(folder / "task", files={shas[role]: path for role, path in paths.items()})
    read_task({}, spec, run)
    return run, spec


@pytest.fixture
def task(tmp_path):
    return read(tmp_path, {"train": lines("train", 90), "dev": lines("dev", 30), "test": lines("test", 30)})[0].out


def test_a_task_artifact_says_what_it_is(tmp_path):
    run, spec = read(tmp_path, {"all": lines("all", 90)}, max_chars=9, normalisation=Normalisation(lowercase=True))
    task = Task(run.out)
    assert task.labels == tuple(sorted(TOPICS))
    assert all(len(document.text) <= 9 for document in task.documents)
    facts = json.loads((run.out / "task.json").read_text(encoding="utf-8"))
    assert facts == {
        "name": "vi/t",
        "kind": "classification",
        "language": "vie",
        "labels": sorted(TOPICS),
        "max_chars": 9,
        "normalisation": Normalisation(lowercase=True).model_dump(),
    }
    assert run.facts["carved"] == ["test", "dev"]
    assert {split: sum(counts.values()) for split, counts in run.facts["counts"].items()} == {
        "train": 63,
        "dev": 9,
        "test": 18,
    }


def test_texts_are_normalised_then_cut_and_the_cut_is_counted(tmp_path):
    train = '{"text": "  Ti\u0065\u0302\u0301ng   Việt ", "label": "a"}\n{"text": "", "label": "b"}\n'
    held = '{"text": "abcd", "label": "a"}\n'
    run, _ = read(tmp_path, {"train": train, "dev": held, "test": held}, max_chars=6)
    assert [document.text for document in Task(run.out).documents] == ["Tiếng ", "", "abcd", "abcd"]
    whole, kept = len("Tiếng Việt".encode()) + 8, len("Tiếng ".encode()) + 8
    assert run.facts["share_of_bytes_cut"] == pytest.approx(1 - kept / whole)
    assert (run.facts["texts_cut"], run.facts["bytes"]) == (1, kept)
    assert run.facts["empty_texts"] == {"train": 1, "dev": 0, "test": 0}
    assert run.facts["duplicates_between"] == {"test_in_train": 0, "dev_in_train": 0, "test_in_dev": 1}


def test_reading_twice_gives_the_same_bytes(tmp_path):
    contents = {"train": lines("train", 60), "test": lines("test", 9)}
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (read(folder, contents)[0].out for folder in folders)
    for name in ("documents.parquet", "task.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def draw(task, folder, **spec):
    run = run_in(folder)
    draw_subset({"task": task}, SubsetSpec(**spec), run)
    return run


def test_a_subset_is_drawn_in_order_and_sizes_nest(task, tmp_path):
    runs = {size: draw(task, tmp_path / str(size), train_size=size) for size in (5, 40, "full")}
    ids = {size: Subset(run.out).ids("train") for size, run in runs.items()}
    assert ids[40][:5] == ids[5] and ids["full"][:40] == ids[40] and len(ids["full"]) == 90
    assert runs[40].facts["labels_used"] == 40 and runs[40].facts["dev_used"] == 30
    assert sorted(runs[40].facts["counts"]["train"].values()) == [13, 13, 14]
    documents = Subset(runs[5].out).documents(Task(task), "train")
    assert all(document.split == "train" for document in documents)


def test_dev_labels_are_matched_to_the_train_size_or_all(task, tmp_path):
    matched = draw(task, tmp_path / "m", train_size=6, dev="matched")
    assert matched.facts["dev_used"] == 6 and matched.facts["counts"]["dev"] == dict.fromkeys(sorted(TOPICS), 2)
    assert set(Subset(matched.out).ids("dev")) <= {document.id for document in Task(task).split("dev")}
    assert draw(task, tmp_path / "a", train_size=6, dev="all").facts["dev_used"] == 30


def test_a_size_over_the_data_is_refused_in_one_line(task, tmp_path):
    with pytest.raises(
        DataError, match="vi/t: train_size 91 is over its 90 labelled train texts; ask for 90"
    ) as caught:
        draw(task, tmp_path / "x", train_size=91)
    assert "\n" not in str(caught.value)


def test_leaks_are_counted_and_all_named(tmp_path):
    test = lines("test", 27) + lines("train", 3)
    task = read(tmp_path, {"train": lines("train", 90), "dev": lines("dev", 30), "test": test})[0].out
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    texts = ["Mở bài. Bóng đá câu dev 4!", "không có gì ở đây"]
    sizes = [len(text.encode()) for text in texts]
    pq.write_table(pa.table({"text": texts, "bytes": sizes}), corpus / "train.parquet")
    seen = []
    run = run_in(tmp_path / "audit", on_progress=lambda done, total, unit, note: seen.append((done, total, unit)))
    audit_leaks({"task": task, "corpus": corpus}, AuditSpec(ngram=5), run)
    twins = {"count": 3, "of": 30, "examples": ["test-000027", "test-000028", "test-000029"]}
    assert run.facts["test_in_train"] == twins
    assert run.facts["dev_in_corpus"] == {"count": 1, "of": 30, "examples": ["dev-000004"]}
    assert run.facts["test_in_corpus"]["count"] == 0
    leaks = json.loads((run.out / "leaks.json").read_text(encoding="utf-8"))
    assert leaks["test_in_train"] == twins["examples"] and leaks["train_in_corpus"] == []
    assert seen[-1] == (sum(sizes), sum(sizes), "bytes")


def test_without_a_corpus_only_splits_are_compared(task, tmp_path):
    run = run_in(tmp_path / "audit")
    audit_leaks({"task": task}, AuditSpec(), run)
    assert set(run.facts) == {"test_in_train", "dev_in_train", "test_in_dev", "ngram"}


def test_reading_can_be_stopped(tmp_path):
    path = tmp_path / "all.jsonl"
    path.write_text(lines("all", 60), encoding="utf-8")
    sha = file_sha256(path)
    spec = TaskSpec(
        name="t", language="vie", files=(SourceFile(role="all", sha256=sha),), layout=Layout(format="jsonl")
    )
    with pytest.raises(Stopped):
        read_task({}, spec, run_in(tmp_path / "x", files={sha: path}, stop_requested=lambda: True))
