"""The settings of a task, its subsets and its audit, and their stages."""

from typing import Literal

from pydantic import Field

from lowres.artifacts import Node, Spec, Stage
from lowres.cards import Carving as Carving
from lowres.cards import Layout as Layout
from lowres.cards import TaskKind
from lowres.text.normalise import Normalisation


class SourceFile(Spec):
    """One raw file of a task. role: "train", "dev", "test", "all" (to be carved) or, for parallel line files, with the
    part after a colon: "train:text", "train:label".
    """

    role: str
    sha256: str


class TaskSpec(Spec):
    """What `read_task` reads."""

    name: str
    kind: TaskKind = "classification"
    language: str
    files: tuple[SourceFile, ...]
    layout: Layout
    carving: Carving = Carving()
    normalisation: Normalisation = Normalisation()
    max_chars: int = Field(default=4000, gt=0)
    """Texts are cut to so many characters after normalisation; the share of bytes cut is in the manifest."""

    def raw_files(self) -> tuple[str, ...]:
        """The labelled files."""
        return tuple(file.sha256 for file in self.files)


class SubsetSpec(Spec):
    """One draw of labelled documents."""

    train_size: int | Literal["full"]
    """Labels drawn from train."""
    subset: int = Field(default=0, ge=0)
    """Which draw; draws of one number nest: 100 lies within 1000."""
    dev: Literal["matched", "all"] = "matched"
    """"matched": at most as many dev labels as train labels."""


class AuditSpec(Spec):
    """Leaks between a task's held-out texts and what models learn from."""

    ngram: int = Field(default=13, ge=3)
    """Words a run needs to count as the same passage."""


READ_TASK = Stage("read_task", 1, "data", "lowres.tasks.stages:read_task", TaskSpec)
DRAW_SUBSET = Stage("draw_subset", 1, "data", "lowres.tasks.stages:draw_subset", SubsetSpec)
AUDIT_LEAKS = Stage("audit_leaks", 1, "data", "lowres.tasks.stages:audit_leaks", AuditSpec)


def subset_node(task: Node, train_size: int | Literal["full"], subset: int, dev: Literal["matched", "all"]) -> Node:
    """The request for one draw."""
    return Node(DRAW_SUBSET, SubsetSpec(train_size=train_size, subset=subset, dev=dev), {"task": task})
