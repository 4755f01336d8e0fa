"""Stages, the nodes of a plan, what a stage is given, and a typed view of each kind of artifact.

A stage is a plain function `stage(inputs, spec, run) -> None` that reads artifacts and writes one into `run.out`.
A node is one request for a stage's output; its id is a hash of the stage, its version, the spec and the ids of its
inputs, so it names the request before anything is computed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from lowres.cards import TaskKind
from lowres.devices import Devices
from lowres.errors import DataError, Stopped
from lowres.fingerprint import Spec as Spec
from lowres.fingerprint import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Stage:
    """What a stage is called, which worker runs it and where its function is.

    name: `verb_noun`, with `family.` before it in a family's room. worker: "data" or the name of a family.
    target: "module:function". version: raised by whoever changes what the stage computes.
    """

    name: str
    version: int
    worker: str
    target: str
    spec: type[Spec]


@dataclass(frozen=True, eq=False)
class Node:
    """A request for one artifact: a stage, its spec and the nodes it reads, by role."""

    stage: Stage
    spec: Spec
    inputs: Mapping[str, "Node"] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """64 hexadecimal digits; equal for equal requests."""
        inputs = {role: node.id for role, node in self.inputs.items()}
        return fingerprint([self.stage.name, self.stage.version, self.spec.hashed(), inputs])


@dataclass
class Run:
    """All that the outside offers a stage.

    out: the directory being built. work: a durable scratch folder of this node, kept across kills, removed once the
    artifact stands. seed: derived from the node. threads: for OpenMP, BLAS and XLA. device: "cpu", "cuda" or "tpu".
    devices: how a training on several is spread. files: raw files by sha256, already checked by the driver.
    """

    out: Path
    work: Path
    seed: int
    threads: int = 1
    device: str = "cpu"
    devices: Devices = Devices()
    files: Mapping[str, Path] = field(default_factory=dict)
    on_progress: Callable[[float, float, str, str], None] = lambda done, total, unit, note: None
    stop_requested: Callable[[], bool] = lambda: False
    facts: dict[str, Any] = field(default_factory=dict)

    def progress(self, done: float, total: float, unit: str = "", note: str = "") -> None:
        """Says how far the stage is: `done` of `total` `unit`s (total 0: unknown), and a short note such as a loss.

        Cheap enough for every step. Raises Stopped when the user asked to stop: call it where the work so far is saved.
        """
        self.on_progress(done, total, unit, note)
        self.check_stop()

    def check_stop(self) -> None:
        """Raises Stopped when the user asked to stop."""
        if self.stop_requested():
            raise Stopped("stopped; run the same command again to go on")

    def note(self, **facts: Any) -> None:
        """Adds JSON values to the `facts` of the artifact's manifest: counts, scores, sizes."""
        self.facts.update(facts)

    def file(self, sha256: str) -> Path:
        """The raw file with this checksum."""
        if sha256 not in self.files:
            raise DataError(f"no file with sha256 {sha256} was handed to this stage")
        return self.files[sha256]


class Cost(BaseModel):
    """What an artifact cost to build. Seconds add up over interrupted attempts."""

    model_config = ConfigDict(frozen=True)

    wall_s: float = 0.0
    cpu_s: float = 0.0
    accelerator_s: float = 0.0
    peak_bytes: int = 0
    bytes_seen: int = 0
    tokens_seen: int = 0

    @property
    def seconds(self) -> float:
        """Of the accelerator where one was used, else of processor cores, to which no other work adds."""
        return self.accelerator_s or self.cpu_s or self.wall_s


class Manifest(BaseModel):
    """`manifest.json`: what an artifact is, how it came to be, and what it cost."""

    model_config = ConfigDict(frozen=True)

    id: str
    stage: str
    version: int
    spec: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, str]
    facts: dict[str, Any]
    cost: Cost
    threads: int = 1
    device: str = "cpu"
    lowres: str
    created: str

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest in an artifact's folder."""
        try:
            return cls.model_validate_json((folder / "manifest.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{folder}: no manifest.json there; it is not a lowres artifact") from error


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented UTF-8 JSON."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


# --- typed views -----------------------------------------------------------------------------------------------------

CORPUS_SPLITS = ("train", "valid", "test")
TASK_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Corpus:
    """Documents of one language: `{train,valid,test}.parquet`, each with id, title, text, bytes, split."""

    path: Path

    def table(self, split: str) -> "pa.Table":
        """One split: id int64, title string, text string (NFC), bytes int64 (of the UTF-8 text), split string."""
        import pyarrow.parquet as pq

        return pq.read_table(self.path / f"{split}.parquet")

    def texts(self, split: str) -> Iterator[str]:
        """The texts of one split, in order of id, without holding them all."""
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(self.path / f"{split}.parquet").iter_batches(1024, columns=["text"]):
            yield from batch.column(0).to_pylist()


@dataclass(frozen=True)
class PackedTokens:
    """Token ids of a corpus in one stream a split: `{split}.npy`, and `{split}.offsets.npy` (documents + 1, int64).

    Every document is preceded by the tokenizer's beginning-of-document id.
    """

    path: Path

    def tokens(self, split: str) -> Any:
        """(tokens,) uint16 or uint32, memory-mapped."""
        import numpy as np

        return np.load(self.path / f"{split}.npy", mmap_mode="r")


@dataclass(frozen=True)
class Document:
    """A text of a task; label is None where the file gave none, group is None where there are no groups.

    label: as lowres.labels spells it.
    """

    id: str
    split: str
    label: str | None
    text: str
    group: str | None = None


@dataclass(frozen=True)
class Task:
    """A labelled set, normalised and cut to `max_chars`, equal for every method: `documents.parquet`, `task.json`.

    documents.parquet: id, split (train, dev, test), label, text, group. task.json: name, kind, language, labels
    (sorted: the order of every probability vector), max_chars, normalisation.
    """

    path: Path

    @cached_property
    def documents(self) -> tuple[Document, ...]:
        """All documents in the file's order."""
        import pyarrow.parquet as pq

        rows = pq.read_table(self.path / "documents.parquet").to_pylist()
        return tuple(Document(**row) for row in rows)

    def split(self, split: str) -> tuple[Document, ...]:
        """The documents of one split."""
        return tuple(document for document in self.documents if document.split == split)

    @property
    def labels(self) -> tuple[str, ...]:
        """The label strings, sorted."""
        return tuple(read_json(self.path / "task.json")["labels"])

    @property
    def kind(self) -> TaskKind:
        """One label a text, or a set of them."""
        return read_json(self.path / "task.json")["kind"]


@dataclass(frozen=True)
class Subset:
    """Which labelled documents a cell may use: `subset.parquet` with id and split (train, dev)."""

    path: Path

    def ids(self, split: str) -> tuple[str, ...]:
        """Document ids of "train" or "dev", in the order they were drawn."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.path / "subset.parquet").to_pylist()
        return tuple(row["id"] for row in table if row["split"] == split)

    def documents(self, task: Task, split: str) -> tuple[Document, ...]:
        """The documents of "train" or "dev" themselves."""
        by_id = {document.id: document for document in task.documents}
        return tuple(by_id[i] for i in self.ids(split))


@dataclass(frozen=True)
class Predictions:
    """`predictions.parquet`: id, split (dev, test), label, predicted, probabilities (list<float32>, labels' order).

    label and predicted: as lowres.labels spells them.
    """

    path: Path

    def table(self) -> "pa.Table":
        """All rows; the labels' order stands in `labels.json`."""
        import pyarrow.parquet as pq

        return pq.read_table(self.path / "predictions.parquet")

    @property
    def labels(self) -> tuple[str, ...]:
        """The order of the probabilities."""
        return tuple(read_json(self.path / "labels.json"))

    @property
    def kind(self) -> TaskKind:
        """Of the task. Predictions made before there were several kinds say none."""
        path = self.path / "kind.json"
        return read_json(path) if path.is_file() else "classification"
