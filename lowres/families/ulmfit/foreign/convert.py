"""Foreign language models as folders that `init` reads."""

from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch

from lowres.errors import DataError
from lowres.families.ulmfit.config import LmConfig
from lowres.families.ulmfit.foreign import fastai, fastai_ulmfit, multifit
from lowres.families.ulmfit.foreign.checkpoint import as_ours, read_weights
from lowres.families.ulmfit.foreign.pickles import read_strings
from lowres.families.ulmfit.foreign.source import Source
from lowres.families.ulmfit.saved import build_lm, put_weights, write_lm
from lowres.fingerprint import file_sha256
from lowres.packages import CARD, new_folder, write_manifest
from lowres.tokenizers.fastai import FastaiRules, FastaiTokenizer

_LAYOUTS = (multifit, fastai_ulmfit, fastai)


@dataclass(frozen=True)
class Foreign:
    """A language model as it was read. weights: by our names."""

    source: Source
    config: LmConfig
    tokenizer: FastaiTokenizer
    weights: dict[str, torch.Tensor]

    @property
    def described(self) -> str:
        """One line for people."""
        million = sum(tensor.numel() for tensor in self.weights.values()) / 1e6
        way = "" if self.config.direction == "backward" else ", forward"
        return (
            f"{self.source.layout}: {self.config.architecture}{way}, embedding {self.config.emb_size}, "
            f"{million:.1f} M parameters, {self.config.vocab_size:,} pieces, "
            f"rules of fastai {self.tokenizer.rules.version}"
        )


def read_foreign(folder: Path) -> list[Foreign]:
    """The models in a folder, one or a forward and a backward one. Raises DataError where no layout fits."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; unpack the model there first")
    layout = next((layout for layout in _LAYOUTS if layout.fits(folder)), None)
    if layout is None:
        raise DataError(
            f"{folder}: no known layout: lm_best.pth (MultiFiT), fwd/ or bwd/ (fastai_ulmfit), or *.pth (fastai)"
        )
    return [_read(source) for source in layout.sources(folder)]


def _read(source: Source) -> Foreign:
    vocabulary, model = read_strings(source.vocabulary), source.pieces.read_bytes()
    weights = read_weights(source.weights)
    tokenizer = FastaiTokenizer(model, vocabulary, source.rules or _rules(vocabulary, model))
    known = {"vocab_size": tokenizer.vocab_size, "pad_id": tokenizer.pad_id, "direction": source.direction}
    config, ours = as_ours(weights, str(source.weights), **known)
    return Foreign(source, config, tokenizer, ours)


def _rules(vocabulary: list[str], model: bytes) -> FastaiRules:
    """Which fastai: 1 numbers pieces as SentencePiece does; 2 counts them anew behind its special tokens."""
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise DataError(f"spm.model: not a SentencePiece model ({error}); name the vocabulary's own") from error
    same = vocabulary[: processor.vocab_size()] == [processor.id_to_piece(k) for k in range(processor.vocab_size())]
    return FastaiRules(1 if same else 2)


def import_models(folder: Path, out: Path | None) -> list[str]:
    """Writes the models of `folder` as the new folder `out`: one as itself, two as `forward/` and `backward/`.

    Returns a line on each; with out None nothing is written.
    """
    models = read_foreign(folder)
    if out is not None:
        _write(models, out)
    return [foreign.described for foreign in models]


def _write(models: list[Foreign], out: Path) -> None:
    with new_folder(out) as building:
        for foreign in models:
            own = building / foreign.config.direction if len(models) > 1 else building
            own.mkdir(exist_ok=True)
            model = build_lm(foreign.config)
            put_weights(model, foreign.weights, str(foreign.source.weights))
            write_lm(own, model, foreign.config, foreign.tokenizer)
        (building / CARD).write_text(_card(models), encoding="utf-8")
        origin = {"layout": models[0].source.layout, "files": _files(models)}
        write_manifest(building, "language-model", "ulmfit", origin)


def _files(models: list[Foreign]) -> dict[str, str]:
    """The checksums of what was read."""
    paths = [path for m in models for path in (m.source.weights, m.source.vocabulary, m.source.pieces)]
    return {f"{path.parent.name}/{path.name}": file_sha256(path) for path in dict.fromkeys(paths)}


def _card(models: list[Foreign]) -> str:
    lines = [
        "---",
        "library_name: lowres",
        "pipeline_tag: text-generation",
        "tags: [ulmfit]",
        "---",
        "",
    ]
    lines += ["# An imported language model", "", *(f"- {foreign.described}" for foreign in models), ""]
    lines.append(
        "What it was trained on, by whom and under which licence, its files do not say. Say it before you pass it on."
    )
    return "\n".join([*lines, ""])
