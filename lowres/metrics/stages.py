"""The scoring stage."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lowres.artifacts import Predictions, Run, write_json
from lowres.errors import DataError
from lowres.metrics.classification import classification_scores, label_indices
from lowres.metrics.spec import ScoreSpec


def score_predictions(inputs: Mapping[str, Path], spec: ScoreSpec, run: Run) -> None:
    """Scores `inputs["predictions"]`: `scores.json`, and the same as notes.

    Notes: dev and test (name -> value; empty where a split has no item), labels, per_class_f1 (split -> label -> F1)
    and confusion (split -> rows of counts, gold in rows). Raises DataError on an item without a label.
    """
    predictions = Predictions(inputs["predictions"])
    labels = predictions.labels
    table = predictions.table().to_pydict()
    splits = np.asarray(table["split"], dtype=object)
    facts: dict[str, dict] = {"dev": {}, "test": {}, "per_class_f1": {}, "confusion": {}}
    for split in ("dev", "test"):
        rows = np.flatnonzero(splits == split)
        if not len(rows):
            continue
        names = [table["label"][k] for k in rows]
        if unknown := sorted({str(name) for name in names if name not in labels}):
            raise DataError(f"{split}: label {unknown[0]!r} is not among the classifier's {', '.join(labels)}")
        probabilities = np.asarray([table["probabilities"][k] for k in rows], dtype=np.float32)
        scores = classification_scores(label_indices(names, labels), probabilities)
        facts[split] = scores.values
        facts["per_class_f1"][split] = dict(zip(labels, scores.per_class_f1.tolist(), strict=True))
        facts["confusion"][split] = scores.confusion.tolist()
    write_json(run.out / "scores.json", {**facts, "labels": list(labels)})
    run.note(**facts, labels=list(labels))
