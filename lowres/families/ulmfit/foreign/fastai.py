"""A folder with what `learn.save`, the pickled vocabulary and SentencePieceTokenizer left, of fastai 1 or 2."""

from pathlib import Path

from lowres.families.ulmfit.foreign.source import Source, one_of

LAYOUT = "fastai"


def fits(folder: Path) -> bool:
    """Whether there is one `.pth`, or one that is called a language model's, somewhere it may be."""
    return any(folder.glob("*.pth")) or any(folder.glob("models/*.pth"))


def sources(folder: Path) -> list[Source]:
    """One model; backward where its file's name says so (`bwd`, `backward`)."""
    weights = one_of(folder, ["*lm*.pth", "*.pth", "models/*lm*.pth", "models/*.pth"], "weights")
    vocabulary = one_of(folder, ["*vocab*.pkl", "*itos*.pkl", "models/*vocab*.pkl", "*vocab*.json"], "vocabulary")
    pieces = one_of(folder, ["spm.model", "spm/spm.model", "tmp/spm.model", "*.model"], "SentencePiece model")
    backward = any(part in weights.stem.lower() for part in ("bwd", "backward"))
    return [Source(LAYOUT, weights, vocabulary, pieces, "backward" if backward else "forward")]
