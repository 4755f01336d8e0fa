"""The stages that take a language model to another language: a new vocabulary, then training on the corpus."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lowres.artifacts import Manifest, PackedTokens, Run
from lowres.errors import DataError
from lowres.families.gptj import vocabulary
from lowres.families.gptj.checkpoints.configuration import read_config
from lowres.families.gptj.checkpoints.names import WHOLE
from lowres.families.gptj.checkpoints.safetensors_files import SafetensorsFiles
from lowres.families.gptj.config import shapes
from lowres.families.gptj.data import Rows
from lowres.families.gptj.huggingface import save_lm, write_lm
from lowres.families.gptj.spec import AdaptSpec, VocabularySpec
from lowres.families.gptj.stages import describe, device_lm
from lowres.families.gptj.train import train_lm
from lowres.fingerprint import file_sha256
from lowres.tokenizers.base import HasSurfaces, Tokenizer, load_tokenizer

EMBEDDINGS = ("wte", "head", "head_bias")


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


def adapt_lm(inputs: Mapping[str, Path], spec: AdaptSpec, run: Run) -> None:
    """Goes on training `lm` on `packed`: all weights, or its embeddings and head alone (de Vries and Nissim 2021)."""
    params, config, tokenizer = device_lm(inputs["lm"])
    stream = PackedTokens(inputs["packed"])
    rows = Rows(stream.tokens("train"), config.n_ctx, spec.batch_size, spec.seed)
    if len(rows.stream) < 2:
        raise DataError("the corpus's train split packs to fewer than 2 tokens; there is nothing to learn from")
    trained = {name: array for name, array in params.items() if not spec.embeddings_only or name in EMBEDDINGS}
    frozen = {name: array for name, array in params.items() if name not in trained}
    trained, train_loss = train_lm(trained, rows, config, tokenizer.bos_id, spec, run, frozen)
    save_lm(run.out, frozen | trained, config, tokenizer)
    seen = rows.steps(spec.epochs) * spec.batch_size * config.n_ctx
    packing = Manifest.read(inputs["packed"]).facts
    bytes_a_token = packing["bytes"]["train"] / packing["tokens"]["train"]
    describe(run, config, frozen | trained, "pretrained weights, another vocabulary, trained on the corpus")
    run.note(tokens_seen=seen, bytes_seen=round(seen * bytes_a_token), train_loss=train_loss)
