"""Scores of sets of labels: worked out by hand; intervals and differences agree with them; temperatures."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowres.artifacts import Run
from lowres.errors import DataError
from lowres.labels import THRESHOLD, labelling, spelled_set
from lowres.metrics.label_sets import label_set_scores
from lowres.metrics.paired import difference, interval
from lowres.metrics.spec import ScoreSpec
from lowres.metrics.stages import score_predictions
from lowres.training.calibration import fit_temperature, tempered

SETS = labelling("multi-label")
GOLD = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
PROBABILITIES = np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.1], [0.3, 0.2, 0.1], [0.1, 0.8, 0.3]], np.float32)


def test_every_score_is_the_one_worked_out_by_hand():
    scores = label_set_scores(GOLD, PROBABILITIES)  # predicted: a; a; nothing; b
    values = scores.values
    assert values["macro_f1"] == pytest.approx((1 + 0 + 0) / 3)
    assert values["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert values["samples_f1"] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert values["jaccard"] == pytest.approx((1 + 1 / 2 + 1 + 0) / 4)
    assert values["subset_accuracy"] == pytest.approx(2 / 4)
    assert values["hamming_loss"] == pytest.approx(2 / 12)
    right = np.where(GOLD == 1, PROBABILITIES, 1 - PROBABILITIES)
    assert values["log_loss"] == pytest.approx(-np.log(right).mean(), rel=1e-5)
    assert scores.per_class_f1.tolist() == [1, 0, 0]
    assert scores.confusion.tolist() == [[[2, 0], [0, 2]], [[2, 1], [1, 0]], [[4, 0], [0, 0]]]


def test_one_half_is_predicted_and_no_set_is_filled_by_the_most_probable_label():
    assert THRESHOLD == 0.5
    decided = SETS.decided(np.array([[0.5, 0.49999], [0.4, 0.3]]))
    assert SETS.spelled(decided, ("a", "b")) == ['["a"]', "[]"]


def test_means_of_intervals_are_the_scores_and_pairs_are_compared():
    rng = np.random.default_rng(0)
    gold = (rng.random((120, 4)) < 0.3).astype(int)
    runs = [[np.where(rng.random(gold.shape) < share, 1 - gold, gold) for _ in range(2)] for share in (0.1, 0.1)]
    worse = [[np.where(rng.random(gold.shape) < 0.3, 1 - gold, gold) for _ in range(2)] for _ in range(2)]
    for metric in ("macro_f1", "micro_f1", "subset_accuracy"):
        wanted = np.mean([label_set_scores(gold, one.astype(np.float32)).values[metric] for row in runs for one in row])
        found = interval(np.array(runs), gold, 4, metric=metric)
        assert found.mean == pytest.approx(wanted) and found.low < found.mean < found.high
        assert difference(np.array(runs), np.array(worse), gold, 4, metric=metric).verdict == "better"
    with pytest.raises(ValueError, match="predictions of shape"):
        interval(np.array(runs), gold, 3)


def test_one_label_a_text_scores_alike_as_indices_and_as_sets():
    rng = np.random.default_rng(0)
    gold, runs = rng.integers(3, size=60), rng.integers(3, size=(2, 2, 60))
    for metric, other in (("macro_f1", "macro_f1"), ("accuracy", "subset_accuracy")):
        one = interval(runs, gold, 3, metric=metric)
        assert interval(np.eye(3, dtype=int)[runs], np.eye(3, dtype=int)[gold], 3, metric=other) == one


@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_the_temperature_that_was_put_in_is_found_and_no_decision_moves(temperature):
    rng = np.random.default_rng(0)
    true = rng.beta(0.7, 1.3, (2000, 3))
    gold = (rng.random(true.shape) < true).astype(int)
    stated = tempered(true, 1 / temperature, SETS)
    found = fit_temperature(stated, gold, SETS)
    assert found == pytest.approx(temperature, rel=0.08)
    after = tempered(stated, found, SETS)
    assert (SETS.decided(after) == SETS.decided(stated)).all()
    assert label_set_scores(gold, after).values["ece"] < 0.02


def test_the_stage_reads_the_kind_and_refuses_a_stranger(tmp_path):
    gold = [*(spelled_set(np.array(list("abc"))[row == 1].tolist()) for row in GOLD)]
    table = {"id": list("0123"), "split": ["test"] * 4, "label": gold, "predicted": gold}
    column = pa.array(list(PROBABILITIES), pa.list_(pa.float32()))
    pq.write_table(pa.table({**table, "probabilities": column}), tmp_path / "predictions.parquet")
    (tmp_path / "kind.json").write_text(json.dumps("multi-label"))
    (tmp_path / "labels.json").write_text(json.dumps(list("abc")))
    run = Run(out=tmp_path, work=tmp_path, seed=0)
    score_predictions({"predictions": tmp_path}, ScoreSpec(), run)
    assert run.facts["test"] == label_set_scores(GOLD, PROBABILITIES).values and run.facts["dev"] == {}
    assert run.facts["per_class_f1"]["test"] == {"a": 1, "b": 0, "c": 0}
    (tmp_path / "labels.json").write_text(json.dumps(["a", "c", "d"]))
    with pytest.raises(DataError, match="test: label 'b' is not among the classifier's a, c, d"):
        score_predictions({"predictions": tmp_path}, ScoreSpec(), run)
