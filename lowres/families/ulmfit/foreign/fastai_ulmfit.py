"""Packages of fastai_ulmfit: `fwd/` and `bwd/` with model.json, *model.pth and *vocab.pkl each, and `spm/spm.model`.

`learn.save_lm` writes another: lm_model.pth, lm_vocab.pkl, spm/spm.model; that one is read as fastai's.
"""

import json
from pathlib import Path

from lowres.errors import DataError
from lowres.families.ulmfit.foreign.source import Source, one_of
from lowres.families.ulmfit.spec import Way
from lowres.tokenizers.fastai import FastaiRules

LAYOUT = "fastai_ulmfit"
_WAYS: dict[str, Way] = {"fwd": "forward", "bwd": "backward"}


def fits(folder: Path) -> bool:
    """Whether a direction's folder is there."""
    return any((folder / name).is_dir() for name in _WAYS)


def sources(folder: Path) -> list[Source]:
    """One model for each direction."""
    found = []
    for name, way in _WAYS.items():
        own = folder / name
        if not own.is_dir():
            continue
        about = own / "model.json"
        settings = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
        kind = settings.get("tokenizer", {}).get("class", "SentencePieceTokenizer")
        if kind != "SentencePieceTokenizer":
            raise DataError(f"{about}: tokenizer.class is {kind!r}; only SentencePieceTokenizer can be read")
        weights = one_of(own, ["*model.pth"], "weights")
        vocabulary = one_of(own, ["*vocab.pkl"], "vocabulary")
        found.append(Source(LAYOUT, weights, vocabulary, _pieces(folder), way, FastaiRules(2)))
    return found


def _pieces(folder: Path) -> Path:
    return one_of(folder, ["spm/spm.model", "spm.model"], "SentencePiece model")
