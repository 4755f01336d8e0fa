"""The stage that gives a language model the vocabulary of another language."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lowres.artifacts import Run
from lowres.errors import DataError
from lowres.families.gptj import vocabulary
from lowres.families.gptj.checkpoints.configuration import read_config
from lowres.families.gptj.checkpoints.names import WHOLE
from lowres.families.gptj.checkpoints.safetensors_files import SafetensorsFiles
from lowres.families.gptj.config import shapes
from lowres.families.gptj.huggingface import write_lm
from lowres.families.gptj.settings import VocabularySpec
from lowres.fingerprint import file_sha256
from lowres.tokenizers.base import HasSurfaces, Tokenizer, load_tokenizer


def replace_vocabulary(inputs: Mapping[str, Path], spec: VocabularySpec, run: Run) -> None:
    """Writes `lm` with the vocabulary of `tokenizer` in place of its own; the other tensors pass through one by one.

    Notes: copied, mixed and filled, the ids whose rows are an old one, several, or none.
    """
    old, new = (_with_surfaces(load_tokenizer(path)) for path in (inputs["lm"] / "tokenizer", inputs["tokenizer"]))
    config = read_config(inputs["lm"])
    for path, sha in zip(spec.paths, spec.files, strict=True):
        if not Path(path).is_file() or file_sha256(Path(path)) != sha:
            raise DataError(f"{path}: missing or changed since the run was planned; run the command again")
    rows = _mixed(spec, new, old)
    mix = vocabulary.Mix.of(
        rows, new.vocab_size, old, config.vocab_size, None if spec.how == "copy-mean" else spec.seed
    )
    tensors = SafetensorsFiles(inputs["lm"], tuple(sorted(path.name for path in inputs["lm"].glob("*.safetensors"))))
    changed = replace(config, vocab_size=mix.size)

    def read(name: str) -> np.ndarray[Any, Any]:
        tensor = tensors.tensor(name)
        if name == WHOLE["head_bias"]:
            return mix.bias(tensor)
        salts = {WHOLE["wte"]: 0, WHOLE["head"]: 1}
        return mix.rows(tensor, salts[name]) if name in salts else tensor

    write_lm(run.out, read, changed, new)
    copied = sum(len(own) == 1 for own in rows.values())
    run.note(
        architecture=changed.describe(),
        parameters=sum(math.prod(shape) for shape in shapes(changed).values()),
        origin=f"pretrained weights, vocabulary by {spec.how}",
        vocab_size=changed.vocab_size,
        copied=copied,
        mixed=len(rows) - copied,
        filled=new.vocab_size - len(rows),
    )


def _mixed(spec: VocabularySpec, new: HasSurfaces, old: HasSurfaces) -> vocabulary.Rows:
    """What of which old rows each new one is."""
    paths = [Path(path) for path in spec.paths]
    if spec.how == "copy-mean":
        return vocabulary.copy_mean(new, old)
    if spec.how == "focus":
        return vocabulary.focus(vocabulary.overlap(new, old), vocabulary.piece_vectors(paths[0], new))
    if spec.how == "wechsel":
        rows = vocabulary.wechsel(vocabulary.word_vectors(paths[1], new), vocabulary.word_vectors(paths[0], old))
        return rows | {new.bos_id: {old.bos_id: 1.0}}
    return {}


def _with_surfaces(tokenizer: Tokenizer) -> HasSurfaces:
    if not isinstance(tokenizer, HasSurfaces):
        kind = type(tokenizer).__name__
        raise DataError(f"a {kind} does not say what its pieces stand for; vocabulary takes SentencePiece and GPT-2's")
    return tokenizer
