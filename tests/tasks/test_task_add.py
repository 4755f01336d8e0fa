import json
import tomllib

import pytest

from lowres.artifacts import Run, Task
from lowres.cards import TaskCard, read_card
from lowres.errors import DataError
from lowres.tasks.add import add_task
from lowres.tasks.spec import SourceFile, TaskSpec
from lowres.tasks.stages import read_task

ROWS = "".join(f'"Hàng ""số {k}"",\ngiao nhanh",{"tốt" if k % 3 else "xấu"},khách {k // 2}\n' for k in range(90))


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data" / "Đánh giá.csv"
    path.parent.mkdir()
    path.write_text("TEXT,LABEL,user\n" + ROWS, encoding="utf-8")
    return path


def test_the_card_is_found_by_name_and_reads_to_the_reported_counts(reviews, tmp_path):
    added = add_task(reviews, text="TEXT", label="LABEL", group="user", language="vie", name="vi/reviews")
    card, path = read_card("vi/reviews", TaskCard)
    assert (card.language, card.script, card.layout.group) == ("vie", "Latn", "user")
    file = card.files[0]
    assert (path.parent / str(file.path)).resolve() == reviews and file.bytes == reviews.stat().st_size
    out = tmp_path / "task"
    out.mkdir()
    run = Run(out=out, work=out, seed=0, files={file.sha256: reviews})
    source = SourceFile(role=file.role, sha256=file.sha256)
    spec = TaskSpec(name=card.name, language="vie", files=(source,), layout=card.layout, carving=card.carving)
    read_task({}, spec, run)
    assert run.facts["counts"] == added.counts and added.groups == 45
    assert sum(sum(counts.values()) for counts in added.counts.values()) == len(Task(out).documents) == 90
    assert "\n" in Task(out).documents[0].text


def test_the_report_shows_balance_splits_and_duplicates(reviews):
    reviews.write_text("TEXT,LABEL\n" + "".join(f"câu {k % 40},{k % 2}\n" for k in range(80)), encoding="utf-8")
    shown = add_task(reviews, text="TEXT", label="LABEL", language="vie").described()
    assert "corpora/vi/nh_gi.toml" in shown and "tasks = ['vi/nh_gi']" in shown
    assert "dev and test carved" in shown and "50.0%" in shown
    assert "40 repeats within a split; 0 test in train" in shown


def test_adding_again_is_the_same_and_another_file_of_that_name_is_refused(reviews):
    first = add_task(reviews, text="TEXT", label="LABEL", language="vie", name="a")
    assert add_task(reviews, text="TEXT", label="LABEL", language="vie", name="a") == first
    with pytest.raises(DataError, match="corpora/a.toml: another card stands there"):
        add_task(reviews, text="TEXT", label="LABEL", group="user", language="vie", name="a")


@pytest.mark.parametrize("suffix", ["jsonl", "tsv"])
def test_other_formats_are_told_by_the_suffix(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"a.{suffix}"
    items = [{"t": f"текст {k}", "l": "xy"[k % 2]} for k in range(40)]
    if suffix == "jsonl":
        path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-16")
    else:
        path.write_text("t\tl\n" + "".join(f"{i['t']}\t{i['l']}\n" for i in items), encoding="utf-16")
    added = add_task(path, text="t", label="l", language="ukr", encoding="utf-16")
    card = tomllib.loads(added.card.read_text(encoding="utf-8"))
    assert card["layout"] == {"format": suffix, "text": "t", "label": "l", "encoding": "utf-16"}
    assert card["script"] == "Cyrl" and card["name"] == "uk/a"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "vi"}, "did you mean 'vie'"),
        ({"language": "xqz"}, "not an ISO 639-3 language code"),
        ({"text": "text"}, "did you mean 'TEXT'"),
        ({"label": "user"}, "is empty after carving"),
        ({"encoding": "ascii"}, "byte .* is not ascii"),
        ({"name": "../x"}, "--name ../x: it names a file"),
        ({"quoting": "none"}, 'set quoting = "minimal"'),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(reviews, options, message):
    with pytest.raises(DataError, match=message):
        add_task(reviews, **{"text": "TEXT", "label": "LABEL", "language": "vie", **options})
    assert [path.name for path in reviews.parent.parent.iterdir()] == ["data"]


def test_a_file_that_is_not_there_or_of_no_known_format_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        add_task(tmp_path / "a.csv", text="t", label="l", language="vie")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="suffix does not tell the format"):
        add_task(tmp_path / "a.txt", text="t", label="l", language="vie")
