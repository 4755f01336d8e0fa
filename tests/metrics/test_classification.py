import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowres.artifacts import Run
from lowres.errors import DataError
from lowres.metrics.classification import classification_scores, macro_f1
from lowres.metrics.spec import ScoreSpec
from lowres.metrics.stages import score_predictions

# gold 0 0 0 1 1 2, predicted 0 0 1 1 0 0: F1 is 4/7, 1/2, 0
GOLD = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.4, 0.3, 0.3]], np.float32
)


def test_scores_are_those_worked_out_by_hand():
    scores = classification_scores(GOLD, PROBABILITIES)
    assert scores.values["macro_f1"] == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)
    assert scores.values["accuracy"] == pytest.approx(3 / 6)
    assert scores.values["weighted_f1"] == pytest.approx((3 * 4 / 7 + 2 / 2 + 0) / 6)
    assert scores.values["log_loss"] == pytest.approx(-np.log([0.8, 0.6, 0.2, 0.8, 0.4, 0.3]).mean(), rel=1e-6)
    # Gorodkin 2004 on the confusion [[2,1,0],[1,1,0],[1,0,0]]: (3*6 - (4*3 + 2*2 + 0*1)) / sqrt((36-20)(36-14))
    assert scores.values["mcc"] == pytest.approx((18 - 16) / np.sqrt(16 * 22))
    assert scores.per_class_f1 == pytest.approx([4 / 7, 1 / 2, 0])
    assert scores.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]


def test_macro_f1_counts_labels_that_never_occur():
    assert macro_f1(np.array([0, 1]), np.array([0, 1]), 3) == pytest.approx(2 / 3)


def test_a_certain_error_costs_a_finite_log_loss():
    scores = classification_scores(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]], np.float32))
    assert 7 < scores.values["log_loss"] < 9


def predictions(folder, labels, splits):
    folder.mkdir()
    names = ["a", "b", "c"]
    table = {
        "id": [str(k) for k in range(len(labels))],
        "split": splits,
        "label": labels,
        "predicted": [names[k] for k in PROBABILITIES.argmax(1)],
        "probabilities": pa.array(list(PROBABILITIES), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    (folder / "labels.json").write_text(json.dumps(names))
    return folder


def test_the_stage_scores_each_split_on_its_own(tmp_path):
    folder = predictions(tmp_path / "p", ["a", "a", "a", "b", "b", "c"], ["dev", "dev", "test", "test", "test", "test"])
    run = Run(out=tmp_path, work=tmp_path, seed=0)
    score_predictions({"predictions": folder}, ScoreSpec(), run)
    assert run.facts["dev"]["accuracy"] == 1 and run.facts["test"]["accuracy"] == 1 / 4
    assert run.facts["labels"] == ["a", "b", "c"]
    assert run.facts["confusion"]["test"] == [[0, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert run.facts["per_class_f1"]["dev"] == {"a": 1, "b": 0, "c": 0}
    assert json.loads((tmp_path / "scores.json").read_text()) == run.facts


def test_a_split_without_items_has_no_scores(tmp_path):
    folder = predictions(tmp_path / "p", ["a", "a", "a", "b", "b", "c"], ["test"] * 6)
    run = Run(out=tmp_path, work=tmp_path, seed=0)
    score_predictions({"predictions": folder}, ScoreSpec(), run)
    assert run.facts["dev"] == {} and set(run.facts["test"]) >= {"macro_f1", "accuracy", "mcc"}


@pytest.mark.parametrize(
    ("label", "said"),
    [(None, "test: an item has no label"), ("d", "test: label 'd' is not among the classifier's a, b, c")],
)
def test_an_item_without_a_known_label_is_refused(tmp_path, label, said):
    folder = predictions(tmp_path / "p", ["a", "a", "a", "b", "b", label], ["test"] * 6)
    with pytest.raises(DataError, match=said):
        score_predictions({"predictions": folder}, ScoreSpec(), Run(out=tmp_path, work=tmp_path, seed=0))
