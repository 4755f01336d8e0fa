import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fabricated_run import FAILED, ITEMS, LABELS, SKILL, TASK, UNTRIED, fabricate, write_cell

from lowres.errors import DataError
from lowres.report.results import load_results


def test_the_plan_gives_the_order_and_names_what_is_missing(run_folder: Path) -> None:
    results = load_results(run_folder)
    assert results.name == "vi-compare"
    assert results.methods == tuple(SKILL)
    assert results.train_sizes(TASK) == (100, 1000, "full")
    places = [(p.method, p.train_size, p.subset, p.seed) for p, _ in results.unfinished]
    assert places == [FAILED, UNTRIED]
    assert [cell.status if cell else None for _, cell in results.unfinished] == ["nan", None]


def test_the_frame_has_a_row_a_planned_cell(run_folder: Path) -> None:
    frame = load_results(run_folder).frame()
    assert len(frame) == 5 * (3 * 2 + 3 * 2 + 1 * 2)
    assert dict(frame["status"].value_counts()) == {"ok": 68, "nan": 1, "missing": 1}
    missing = frame[frame["status"] == "missing"].iloc[0]
    assert (missing["method"], missing["train_size"], missing["subset"], missing["seed"]) == UNTRIED[:1] + (
        "1000",
        2,
        1,
    )
    assert np.isnan(missing["test_macro_f1"])
    assert json.loads(frame.set_index("method").loc["multifit", "settings"].iloc[0])["init"] == "pretrain"
    assert frame["peak_bytes"].dtype == "Int64"


def test_the_latest_attempt_counts(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", methods=("tfidf",))
    planned = load_results(folder).plan.cells[0]
    for attempt in (2, 10):
        write_cell(folder, planned, "oom", attempt=attempt)
    results = load_results(folder)
    assert results.by_cell[planned.cell].attempt == 10
    assert results.by_cell[planned.cell].status == "oom"


def test_cells_outside_the_plan_are_left_out(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", methods=("tfidf", "majority"))
    plan = json.loads((folder / "plan.json").read_text())
    plan["cells"] = [cell for cell in plan["cells"] if cell["method"] == "tfidf"]
    (folder / "plan.json").write_text(json.dumps(plan))
    results = load_results(folder)
    assert results.left_out == 14
    assert {cell.method for cell in results.cells} == {"tfidf"}


def test_without_a_plan_what_any_method_was_tried_at_is_expected(tmp_path: Path) -> None:
    results = load_results(fabricate(tmp_path / "run", plan=False))
    assert len(results.plan.cells) == 70
    assert sorted((p.method, p.train_size, p.subset, p.seed) for p, _ in results.unfinished) == [FAILED, UNTRIED]
    assert {model.method for model in results.language_models} == {"multifit", "multifit-random", "gptj-scratch"}


def test_predictions_are_those_of_the_test_split(run_folder: Path) -> None:
    results = load_results(run_folder)
    read = results.predictions(results.cells[0])
    assert read.ids.shape == read.gold.shape == read.predicted.shape == (ITEMS,)
    assert set(read.gold) == set(LABELS)
    assert set(read.predicted) == {LABELS[0]}  # the majority method stands first


def test_predictions_that_were_not_copied_are_named(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", methods=("tfidf",))
    results = load_results(folder)
    shutil.rmtree(folder / "predictions" / results.cells[0].artifacts["predictions"])
    with pytest.raises(DataError, match=r"predictions of a cell \(tfidf, vi/sentiment, 100\) are not there; copy"):
        results.predictions(results.cells[0])


def test_a_language_model_of_other_settings_is_left_out(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run")
    path = folder / "models" / "multifit.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "id": "of-another-recipe"}))
    results = load_results(folder)
    assert [model.method for model in results.language_models] == ["multifit-random", "gptj-scratch"]
    assert results.language_model("multifit") is None


def test_a_folder_that_is_no_run_and_a_damaged_record_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no plan\.json there"):
        load_results(tmp_path)
    folder = fabricate(tmp_path / "run", methods=("tfidf",))
    (folder / "machine.json").write_text('{"command": 1')
    with pytest.raises(DataError, match=r"machine\.json: not a MachineRecord: Invalid JSON"):
        load_results(folder)
