"""What a trained classifier offers whatever its family, and the one way predictions are written."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lowres.artifacts import Run, Spec, Task, write_json
from lowres.cards import TaskKind
from lowres.errors import NotFinite
from lowres.labels import labelling
from lowres.text.normalise import Normalisation, normalise

PREDICT_BATCH = 512


class TextPolicy(Spec):
    """How a classifier's input was prepared in training: `text_policy.json` in the classifier's folder."""

    normalisation: Normalisation = Normalisation()
    max_chars: int

    @classmethod
    def of_task(cls, task: Task) -> "TextPolicy":
        """The policy a task artifact was read with."""
        import json

        facts = json.loads((task.path / "task.json").read_text(encoding="utf-8"))
        return cls(normalisation=facts["normalisation"], max_chars=facts["max_chars"])

    def apply(self, text: str) -> str:
        """A raw text as the classifier expects it."""
        return normalise(text, self.normalisation)[: self.max_chars]

    def write(self, folder: Path) -> None:
        """Puts the policy beside a classifier."""
        write_json(folder / "text_policy.json", self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: Path) -> "TextPolicy":
        """The policy beside a classifier."""
        return cls.model_validate_json((folder / "text_policy.json").read_text(encoding="utf-8"))


class Classifier(Protocol):
    """A classifier loaded from its folder."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The order of the probabilities."""
        ...

    @property
    def kind(self) -> TaskKind:
        """One label a text, or a set of them."""
        ...

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(len(texts), labels) float32; where a text has one label, rows sum to 1.

        `texts` are prepared already (TextPolicy.apply).
        """
        ...


def write_predictions(load: Callable[[Path], Classifier], classifier: Path, task: Task, run: Run) -> None:
    """Predicts the dev and test texts of `task`: `predictions.parquet`, `labels.json` and `kind.json` in `run.out`.

    Raises NotFinite where a probability is not a number.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    model = load(classifier)
    documents = [*task.split("dev"), *task.split("test")]
    rows = []
    for start in range(0, len(documents), PREDICT_BATCH):
        batch = documents[start : start + PREDICT_BATCH]
        rows.append(model.predict_proba([document.text for document in batch]))
        run.progress(start + len(batch), len(documents), "texts")
    probabilities = np.concatenate(rows).astype(np.float32) if rows else np.zeros((0, len(model.labels)), np.float32)
    if not np.isfinite(probabilities).all():
        raise NotFinite("a predicted probability is not a number; the classifier diverged in training")
    kind = labelling(model.kind)
    table = pa.table(
        {
            "id": [document.id for document in documents],
            "split": [document.split for document in documents],
            "label": [document.label for document in documents],
            "predicted": kind.spelled(kind.decided(probabilities), model.labels) if len(documents) else [],
            "probabilities": pa.array(list(probabilities), pa.list_(pa.float32())),
        }
    )
    pq.write_table(table, run.out / "predictions.parquet")
    write_json(run.out / "labels.json", list(model.labels))
    write_json(run.out / "kind.json", model.kind)
    run.note(texts=len(documents))
