"""The stages of segmenters: learn one from a treebank, or take one from a folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from lowres.artifacts import Run
from lowres.errors import DataError
from lowres.fingerprint import file_sha256
from lowres.text.spec import SegmenterFolderSpec, SegmenterSpec
from lowres.text.treebank import read_conllu
from lowres.text.words import Whitespace, score

_SCORED = ("dev", "test")


def train_segmenter(inputs: Mapping[str, Path], spec: SegmenterSpec, run: Run) -> None:
    """A segmenter from the train split of a treebank, chosen by its dev split (lowres.text.segment.train).

    Notes steps, best_step, sentences and tokens by split, and by split sentence_f1, token_f1 and word_f1 of the
    segmenter and, under "whitespace", of white space.
    """
    from lowres.text.segment import train

    hashes = {"train": spec.train_sha256, "dev": spec.dev_sha256, "test": spec.test_sha256}
    paragraphs = {split: read_conllu(run.file(sha256)) for split, sha256 in hashes.items()}
    segmenter = train(paragraphs, spec, spec.language, run)
    segmenter.save(run.out)
    run.note(
        sentences={split: sum(len(p.sentences) for p in found) for split, found in paragraphs.items()},
        tokens={split: sum(len(s) for p in found for s in p.sentences) for split, found in paragraphs.items()},
        bytes_seen=sum(len(paragraph.text.encode("utf-8")) for paragraph in paragraphs["train"]),
        scores={split: score(segmenter, paragraphs[split]).facts() for split in _SCORED},
        whitespace={split: score(Whitespace(), paragraphs[split]).facts() for split in _SCORED},
    )


def read_segmenter(inputs: Mapping[str, Path], spec: SegmenterFolderSpec, run: Run) -> None:
    """The segmenter in a folder, checked. Raises DataError where its files are not those that were asked for."""
    from lowres.text.segment import Segmenter

    for name, sha256 in spec.files.items():
        path = Path(spec.path) / name
        if not path.is_file() or file_sha256(path) != sha256:
            raise DataError(f"{path}: the file changed since the run began; run the command again")
        shutil.copyfile(path, run.out / name)
    Segmenter.load(run.out)
