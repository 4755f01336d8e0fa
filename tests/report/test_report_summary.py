import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fabricated_run import LABELS, TASK, fabricate
from sklearn.metrics import accuracy_score, f1_score

from lowres.errors import DataError
from lowres.report.results import load_results
from lowres.report.summary import Summary, pretraining_pairs, summarise
from lowres.report.tables import difference_table


def test_a_mean_is_that_of_the_cells(summary: Summary) -> None:
    cells = [c for c in summary.results.cells if (c.method, c.train_size) == ("tfidf", 100)]
    read = [summary.results.predictions(cell) for cell in cells]
    f1 = [f1_score(one.gold, one.predicted, average="macro", labels=LABELS) for one in read]
    accuracy = [accuracy_score(one.gold, one.predicted) for one in read]
    found = summary.score(TASK, 100, "tfidf")
    assert (found.ok, found.planned, found.labels_used) == (6, 6, 100)
    assert found.mean is not None
    assert found.mean.mean == pytest.approx(sum(f1) / 6)
    assert found.mean.low < found.mean.mean < found.mean.high
    other = summary.score(TASK, 100, "tfidf", "accuracy").mean
    assert other is not None and other.mean == pytest.approx(sum(accuracy) / 6)


def test_a_method_with_missing_cells_has_no_mean_and_no_comparison_there(summary: Summary) -> None:
    found = summary.score(TASK, 1000, "gptj-scratch")
    assert (found.ok, found.planned, found.mean) == (4, 6, None)
    there = [c for c in summary.comparisons if c.train_size == 1000]
    assert there and not any("gptj-scratch" in (c.method, c.other) for c in there)
    assert any("gptj-scratch" in (c.method, c.other) for c in summary.comparisons if c.train_size == 100)


def test_comparisons_are_paired_differences(summary: Summary) -> None:
    found = {(c.kind, c.train_size, c.method, c.other): c for c in summary.comparisons}
    gain = found["pretraining", 100, "multifit", "multifit-random"]
    one, other = (summary.score(TASK, 100, method).mean for method in ("multifit", "multifit-random"))
    assert one is not None and other is not None
    assert gain.estimate.mean == pytest.approx(one.mean - other.mean)
    assert gain.estimate.high - gain.estimate.low < (one.high - one.low) + (other.high - other.low)
    assert gain.estimate.verdict == "better"
    assert found["baseline", 100, "multifit-random", "tfidf"].estimate.verdict == "worse"
    assert ("baseline", 100, "majority", "tfidf") not in found
    assert gain.p_holm >= gain.estimate.p_value


def test_the_leader_is_compared_with_the_best_of_another_family(summary: Summary) -> None:
    pair = summary.of_kind("family", TASK)[0]
    assert (pair.train_size, pair.method, pair.other) == (100, "multifit", "tfidf")


def test_a_random_partner_shares_most_settings(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run")
    assert pretraining_pairs(load_results(folder)) == (("multifit", "multifit-random", ()),)
    plan = json.loads((folder / "plan.json").read_text())
    plan["methods"]["multifit-random"]["lm"]["epochs"] = 1
    (folder / "plan.json").write_text(json.dumps(plan))
    assert pretraining_pairs(load_results(folder)) == (("multifit", "multifit-random", ("lm.epochs",)),)


def test_different_test_items_are_an_error(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", methods=("tfidf", "majority"))
    results = load_results(folder)
    cell = next(cell for cell in results.cells if cell.method == "majority")
    path = folder / "predictions" / cell.artifacts["predictions"] / "predictions.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(DataError, match="tested on different items"):
        summarise(results)


def test_the_same_folder_gives_the_same_numbers(run_folder: Path, summary: Summary) -> None:
    again = summarise(load_results(run_folder))
    assert (again.scores, again.comparisons) == (summary.scores, summary.comparisons)


def test_a_pair_stands_once_in_the_table_whichever_method_comes_first(summary: Summary) -> None:
    baseline = summary.of_kind("baseline", TASK)[0]
    mirrored = replace(baseline, kind="family", method=baseline.other, other=baseline.method)
    again = replace(summary, comparisons=(*summary.comparisons, mirrored))
    assert mirrored.pairing == baseline.pairing
    assert difference_table(again, TASK) == difference_table(summary, TASK)
