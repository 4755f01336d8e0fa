"""The scoring stage."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lowres.artifacts import Predictions, Run, write_json
from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.labels import labelling
from lowres.metrics.classification import Scores, classification_scores
from lowres.metrics.label_sets import label_set_scores
from lowres.metrics.spec import ScoreSpec

_SCORES: dict[TaskKind, Callable[[np.ndarray, np.ndarray], Scores]] = {
    "classification": classification_scores,
    "multi-label": label_set_scores,
}


def score_predictions(inputs: Mapping[str, Path], spec: ScoreSpec, run: Run) -> None:
    """Scores `inputs["predictions"]`: `scores.json`, and the same as notes.

    Notes: dev and test (name -> value; empty where a split has no item), labels, per_class_f1 (split -> label -> F1)
    and confusion (split -> rows of counts, gold in rows; of sets of labels, such rows for each label). Raises DataError
    on an item without a label.
    """
    predictions = Predictions(inputs["predictions"])
    kind = labelling(predictions.kind)
    labels = predictions.labels
    table = predictions.table().to_pydict()
    splits = np.asarray(table["split"], dtype=object)
    facts: dict[str, dict] = {"dev": {}, "test": {}, "per_class_f1": {}, "confusion": {}}
    for split in ("dev", "test"):
        rows = np.flatnonzero(splits == split)
        if not len(rows):
            continue
        if None in (names := [table["label"][k] for k in rows]):
            raise DataError(f"{split}: an item has no label; leave it out of the split")
        try:
            gold = kind.targets(names, labels)
        except KeyError as unknown:
            raise DataError(f"{split}: label {unknown} is not among the classifier's {', '.join(labels)}") from None
        probabilities = np.asarray([table["probabilities"][k] for k in rows], dtype=np.float32)
        scores = _SCORES[predictions.kind](gold, probabilities)
        facts[split] = scores.values
        facts["per_class_f1"][split] = dict(zip(labels, scores.per_class_f1.tolist(), strict=True))
        facts["confusion"][split] = scores.confusion.tolist()
    write_json(run.out / "scores.json", {**facts, "labels": list(labels)})
    run.note(**facts, labels=list(labels))
