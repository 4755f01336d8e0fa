"""Texts as notebooks give them: raw, with labels, or as artifacts; made into what the trainings read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowres.artifacts import Corpus, Document, Manifest, PackedTokens, Subset, Task
from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.families.ulmfit.spec import PretrainSpec, TuneSpec
from lowres.families.ulmfit.stages import LmTexts, held_back, lm_texts, packed_documents
from lowres.labels import labelling, spelled_set
from lowres.text.normalise import Normalisation, normalise
from lowres.tokenizers.base import Tokenizer
from lowres.training.classifier import TextPolicy

Pairs = Sequence[tuple[str, Any]]
"""Texts with their labels; of label sets, with lists of them."""

_MAX_CHARS = 4000  # of a text that is labelled, as in a recipe's [budget]


def lm_texts_of(
    source: Any,
    valid: Sequence[str] | None,
    tokenizer: Tokenizer,
    normalisation: Normalisation,
    spec: PretrainSpec | TuneSpec,
) -> LmTexts:
    """What a Learner reads: see lm_learner on `texts`, which is `source`, and `valid`."""

    def prepared(some: Sequence[str]) -> list[str]:
        return [text for text in (normalise(text, normalisation) for text in some) if text]

    source = _corpus(Path(source)) if isinstance(source, Path | str) else source
    watched = None if valid is None else prepared(valid)
    if isinstance(source, PackedTokens):
        return _packed(source, watched, tokenizer, spec)
    if isinstance(source, Corpus):
        train = list(source.texts("train"))
        watched = list(source.texts("valid")) if watched is None else watched
    else:
        train = prepared(source)
        train, watched = held_back(train, spec.seed) if watched is None else (train, watched)
    return lm_texts(train, watched, tokenizer, spec)


def _packed(
    source: PackedTokens, watched: Sequence[str] | None, tokenizer: Tokenizer, spec: PretrainSpec | TuneSpec
) -> LmTexts:
    """Raises DataError where the tokens are of another vocabulary, or were to be cut anew."""
    if isinstance(spec, TuneSpec) and spec.subword_sampling:
        raise DataError(f"{source.path}: packed tokens cannot be cut anew, as subword_sampling asks; name the corpus")
    _check_vocabulary(source, tokenizer)
    valid = packed_documents(source, "valid") if watched is None else lm_texts([], watched, tokenizer, spec).valid
    return LmTexts(packed_documents(source, "train"), valid)


def _check_vocabulary(packed: PackedTokens, tokenizer: Tokenizer) -> None:
    """Raises DataError where the tokens' manifest tells another vocabulary."""
    facts = Manifest.read(packed.path).facts if (packed.path / "manifest.json").is_file() else {}
    pieces = facts.get("vocab_size", tokenizer.vocab_size)
    if pieces != tokenizer.vocab_size:
        raise DataError(f"{packed.path}: packed by a tokenizer of {pieces} pieces; this one has {tokenizer.vocab_size}")


def _corpus(folder: Path) -> Corpus | PackedTokens:
    if (folder / "train.parquet").is_file():
        return Corpus(folder)
    if (folder / "train.npy").is_file():
        return PackedTokens(folder)
    raise DataError(f"{folder}: neither a corpus (train.parquet) nor packed tokens (train.npy); raw texts go in a list")


@dataclass(frozen=True)
class Labelled:
    """Prepared texts of one task."""

    train: tuple[Document, ...]
    dev: tuple[Document, ...]
    labels: tuple[str, ...]
    policy: TextPolicy
    kind: TaskKind = "classification"


def labelled(
    train: Pairs | Task,
    dev: Pairs | Subset | None,
    labels: Sequence[str] | None,
    policy: TextPolicy | None,
    kind: TaskKind | None = None,
) -> Labelled:
    """Raises DataError where there is no training text, or a label is not among `labels`."""
    if isinstance(train, Task):
        if labels is not None or policy is not None or kind is not None or not isinstance(dev, Subset | None):
            raise DataError("classifier_learner: a Task has its labels and policy; beside it goes a Subset, or nothing")
        parts = [train.split(way) if dev is None else dev.documents(train, way) for way in ("train", "dev")]
        return Labelled(*parts, train.labels, TextPolicy.of_task(train), train.kind)  # type: ignore[arg-type]
    if isinstance(dev, Subset):
        raise DataError("classifier_learner: a Subset goes with its Task; with pairs, dev is pairs too")
    policy, kind = policy or TextPolicy(max_chars=_MAX_CHARS), kind or "classification"
    parts = [_pairs(pairs or (), split, policy, kind) for split, pairs in (("train", train), ("dev", dev))]
    named = [(document, labelling(kind).names(str(document.label))) for part in parts for document in part]
    found = sorted({name for document, names in named if document.split == "train" for name in names})
    known = tuple(str(label) for label in (found if labels is None else labels))
    for document, names in named:
        if strangers := [name for name in names if name not in known]:
            raise DataError(f"classifier_learner: {document.split} has the label {strangers[0]!r}; known: {known}")
    if not parts[0]:
        raise DataError("classifier_learner: train has no texts")
    return Labelled(parts[0], parts[1], known, policy, kind)


def _pairs(pairs: Pairs, split: str, policy: TextPolicy, kind: TaskKind) -> tuple[Document, ...]:
    """Raises DataError where a label is a list and should not be, or should be one and is not."""
    documents = []
    for k, (text, label) in enumerate(pairs):
        several = isinstance(label, list | tuple | set | frozenset)
        if several != labelling(kind).sets:
            raise DataError(
                f"classifier_learner: {split} has the label {label!r}; "
                + ('several labels a text are kind="multi-label"' if several else "give each text a list of labels")
            )
        spelled = spelled_set(map(str, label)) if several else str(label)
        documents.append(Document(str(k), split, spelled, policy.apply(text)))
    return tuple(documents)
