"""The stages of the classical baselines: train, predict, and the loader of their classifiers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lowres.artifacts import Document, Run, Subset, Task, write_json
from lowres.errors import DataError
from lowres.families.baselines.models import (
    PUBLISHED_C,
    Linear,
    Majority,
    Prepared,
    fit_majority,
    fit_nb_svm,
    fit_tfidf_lr,
    load_model,
    prepare,
)
from lowres.families.baselines.spec import BaselineSpec
from lowres.families.contract import PredictSpec
from lowres.labels import labelling
from lowres.metrics.bits import text_sizes
from lowres.metrics.classification import macro_f1
from lowres.training.classifier import TextPolicy, write_predictions

GRID = (0.1, 1.0, 10.0, 100.0)
"""Values of C that `C = "dev"` tries."""


def train_classifier(inputs: Mapping[str, Path], spec: BaselineSpec, run: Run) -> None:
    """Trains a baseline on `inputs["subset"]` of `inputs["task"]`; deterministic.

    Writes the model's own files, labels.json and text_policy.json. Notes: parameters, C, trials (C and dev macro-F1,
    where C was chosen), dev_labels_used, tokens_seen (words) and bytes_seen of the training texts.
    """
    task, subset = Task(inputs["task"]), Subset(inputs["subset"])
    train, dev = subset.documents(task, "train"), subset.documents(task, "dev")
    if not train:
        raise DataError("the subset holds no training text; draw at least one")
    model, facts = _choose(spec, train, dev, task, run)
    model.save(run.out)
    write_json(run.out / "labels.json", list(task.labels))
    TextPolicy.of_task(task).write(run.out)
    size, words = text_sizes([document.text for document in train])
    run.note(parameters=model.parameters, bytes_seen=size, tokens_seen=words, **facts)


def predict(inputs: Mapping[str, Path], spec: PredictSpec, run: Run) -> None:
    """Predicts the dev and test texts of `inputs["task"]` with `inputs["classifier"]`."""
    write_predictions(load, inputs["classifier"], Task(inputs["task"]), run)


def load(path: Path) -> Linear | Majority:
    """A trained baseline (a `Classifier`) from its folder."""
    return load_model(path)


def _choose(
    spec: BaselineSpec, train: Sequence[Document], dev: Sequence[Document], task: Task, run: Run
) -> tuple[Linear | Majority, dict[str, object]]:
    """The model and what the manifest says of how it was chosen. Of equal trials the smaller C stands."""
    gold = _gold(train, task)
    if spec.model == "majority":
        return fit_majority(gold, task.labels, task.kind), {}
    prepared = prepare([document.text for document in train], spec.features, binary=spec.model == "nb-svm")
    run.check_stop()
    if spec.C != "dev":
        c = spec.C if spec.C is not None else PUBLISHED_C[spec.model]
        model = _fit(spec, prepared, gold, task, c)
        run.progress(1, 1, "fits")
        return model, {"C": c, "dev_labels_used": 0}
    if not dev:
        raise DataError('C = "dev" needs dev labels and the subset has none; set C, or leave it out')
    best: Linear | None = None
    trials: list[dict[str, float]] = []
    dev_gold, dev_texts = _gold(dev, task), [document.text for document in dev]
    decided = labelling(task.kind).decided
    for done, c in enumerate(GRID, 1):
        model = _fit(spec, prepared, gold, task, c)
        score = macro_f1(dev_gold, decided(model.predict_proba(dev_texts)), len(task.labels))
        if best is None or score > max(trial["macro_f1"] for trial in trials):
            best = model
            chosen = c
        trials.append({"C": c, "macro_f1": score})
        run.progress(done, len(GRID), "fits", f"C {c:g}: dev macro-F1 {score:.3f}")
    assert best is not None
    return best, {"C": chosen, "trials": trials, "dev_labels_used": len(dev)}


def _fit(spec: BaselineSpec, train: Prepared, gold: np.ndarray, task: Task, c: float) -> Linear:
    if spec.model == "tfidf-lr":
        return fit_tfidf_lr(train, gold, task.labels, c, task.kind, spec.balance)
    return fit_nb_svm(train, gold, task.labels, c, spec.beta, task.kind, spec.balance)


def _gold(documents: Sequence[Document], task: Task) -> np.ndarray:
    """The documents' targets."""
    return labelling(task.kind).targets((str(document.label) for document in documents), task.labels)
