"""The settings of segmenters, which tell sentences and words, and their stages."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lowres.artifacts import Node, Spec, Stage
from lowres.cards import TreebankCard
from lowres.errors import RecipeError
from lowres.fingerprint import file_sha256

SEGMENTER_FILES = ("segmenter.json", "segmenter.safetensors")
"""The files of a segmenter's folder."""


class SegmenterSettings(Spec):
    """How a segmenter is trained: stanza's tokenizer, a two-storey bidirectional LSTM over characters."""

    steps: int = Field(default=1000, ge=1)
    """Batches, at most."""
    eval_steps: int = Field(default=100, ge=1)
    """The dev split is segmented every so many steps; the best of these models is the one that is kept."""
    patience_steps: int = Field(default=500, ge=1)
    """Training ends where the dev split was no better for so many steps."""
    batch_size: int = Field(default=32, ge=1)
    """Windows of text, each of three mean sentences."""
    lr: float = Field(default=2e-3, gt=0)
    """Adam's rate."""
    emb_dim: int = Field(default=32, ge=1)
    hidden_dim: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.33, ge=0, lt=1)
    unit_dropout: float = Field(default=0.33, ge=0, lt=1)
    """Characters of the training text that are hidden."""
    dictionary: bool = True
    """Show the network where words of the training split begin and end: those that hold a space in Vietnamese."""
    seed: int = 0


class SegmenterSpec(SegmenterSettings):
    """What `train_segmenter` learns from: the three files of a treebank, by checksum."""

    language: str
    """ISO 639-3."""
    train_sha256: str
    dev_sha256: str
    test_sha256: str

    def raw_files(self) -> tuple[str, ...]:
        """The treebank."""
        return self.train_sha256, self.dev_sha256, self.test_sha256


class SegmenterFolderSpec(Spec):
    """A segmenter that exists: the files of its folder by checksum. `path` says where and is not hashed."""

    path: str
    files: dict[str, str]

    def hashed(self) -> dict[str, Any]:
        """The checksums name the model, not the place."""
        return {"files": dict(sorted(self.files.items()))}


# a worker of their own: they import torch, and corpora are built without it
TRAIN_SEGMENTER = Stage("train_segmenter", 1, "segment", "lowres.text.stages:train_segmenter", SegmenterSpec)
READ_SEGMENTER = Stage("read_segmenter", 1, "segment", "lowres.text.stages:read_segmenter", SegmenterFolderSpec)


def trained_segmenter(card: TreebankCard, settings: SegmenterSettings | None = None) -> Node:
    """The request for a segmenter that learns from a treebank."""
    files = {f"{file.role}_sha256": file.pinned for file in card.files}
    given = (settings or SegmenterSettings()).model_dump()
    return Node(TRAIN_SEGMENTER, SegmenterSpec.model_validate({**given, **files, "language": card.language}))


def segmenter_at(folder: Path) -> Node:
    """The request for the segmenter in a folder. Raises RecipeError where there is none."""
    for name in SEGMENTER_FILES:
        if not (folder / name).is_file():
            raise RecipeError(f"{folder / name}: no such file; a segmenter is a treebank card's name, or its folder")
    files = {name: file_sha256(folder / name) for name in SEGMENTER_FILES}
    return Node(READ_SEGMENTER, SegmenterFolderSpec(path=str(folder), files=files))


Segmentation = Literal["stanza", "whitespace"]
