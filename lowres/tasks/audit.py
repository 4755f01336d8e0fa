"""Leaks: test texts that stand in train, and passages that a language model's corpus shares with a task's texts."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lowres.artifacts import Document
from lowres.tasks.splits import text_key

PAIRS = (("test", "train"), ("dev", "train"), ("test", "dev"))
_WORD = re.compile(r"\w+")
_BATCH_CHARACTERS = 4_000_000
_BREAK = "\n_end_of_document_\n"  # a word that no task has, so no run crosses from one text into the next
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, 2^64 / golden ratio: Knuth's multiplicative hash


def words(text: str) -> list[str]:
    """The lower-case words of a text, NFC, without punctuation: both sides of a comparison are cut the same way."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def duplicates_between(documents: Sequence[Document]) -> dict[str, list[str]]:
    """`test_in_train`, `dev_in_train`, `test_in_dev` -> ids of documents whose text stands in the other split too.

    Texts are the same where they are equal in NFC, lower case and single spaces; empty texts are not compared.
    """
    keys: dict[str, dict[str, str]] = {split: {} for split in ("train", "dev", "test")}
    for document in documents:
        if key := text_key(document.text):
            keys[document.split][document.id] = key
    found = {}
    for split, other in PAIRS:
        there = set(keys[other].values())
        found[f"{split}_in_{other}"] = [name for name, key in keys[split].items() if key in there]
    return found


def duplicates_within(documents: Sequence[Document]) -> dict[str, int]:
    """Split -> documents whose text stood earlier in the same split."""
    found = {}
    for split in ("train", "dev", "test"):
        keys = [key for document in documents if document.split == split and (key := text_key(document.text))]
        found[split] = len(keys) - len(set(keys))
    return found


@dataclass(frozen=True)
class SharedPassages:
    """Texts that have a run of `ngram` words in common with a corpus.

    ids: of those texts, in the task's order. compared: ids of the texts that are long enough to have such a run.
    """

    ids: tuple[str, ...]
    compared: frozenset[str]


def shared_passages(
    documents: Sequence[Document], corpus: Iterable[str], ngram: int, on_bytes: Callable[[int], None]
) -> SharedPassages:
    """Documents that share a run of `ngram` words with any text of `corpus`, which is read once.

    Every word of the task gets a number; a corpus word that the task lacks breaks a run. Runs are compared by a 64-bit
    hash: at 10^7 corpus runs and 10^6 task runs a false match has a chance of about 10^-6.
    on_bytes is called with the UTF-8 bytes read so far, now and then.
    """
    vocabulary: dict[str, int] = {}
    runs: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    for place, document in enumerate(documents):
        numbers = [vocabulary.setdefault(word, len(vocabulary) + 1) for word in words(document.text)]
        hashes = _run_hashes(np.asarray(numbers, dtype=np.uint64), ngram)
        runs.append(hashes)
        owners.append(np.full(len(hashes), place))
    all_runs = np.concatenate([np.zeros(0, np.uint64), *runs])
    all_owners = np.concatenate([np.zeros(0, np.int64), *owners])
    if not len(all_runs):
        return SharedPassages((), frozenset())
    wanted = np.unique(all_runs)
    hit = np.zeros(len(wanted), dtype=bool)
    for read, batch in _batches(corpus):
        numbers = np.fromiter((vocabulary.get(word, 0) for word in words(batch)), np.uint64)
        hashes = _run_hashes(numbers, ngram)
        place = np.searchsorted(wanted, hashes).clip(max=len(wanted) - 1)
        hit[place[wanted[place] == hashes]] = True
        on_bytes(read)
    shared = set(all_owners[hit[np.searchsorted(wanted, all_runs)]].tolist())
    compared = frozenset(documents[k].id for k in np.unique(all_owners))
    return SharedPassages(tuple(document.id for k, document in enumerate(documents) if k in shared), compared)


def _run_hashes(numbers: np.ndarray, ngram: int) -> np.ndarray:
    """Hashes of the runs of `ngram` numbers, uint64 and wrapping; runs that hold a 0 (unknown word) are left out."""
    count = len(numbers) - ngram + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    hashes = np.zeros(count, np.uint64)
    known = np.ones(count, dtype=bool)
    for k in range(ngram):
        part = numbers[k : k + count]
        mixed = (hashes ^ part) * _MULTIPLIER
        hashes = mixed ^ (mixed >> np.uint64(29))
        known &= part != 0
    return hashes[known]


def _batches(corpus: Iterable[str]) -> Iterable[tuple[int, str]]:
    """(UTF-8 bytes so far, texts joined so that no run crosses from one into the next)."""
    batch: list[str] = []
    held = read = 0
    for text in corpus:
        batch.append(text)
        held += len(text)
        if held >= _BATCH_CHARACTERS:
            joined = _BREAK.join(batch)
            read += len(joined.encode("utf-8"))
            yield read, joined
            batch, held = [], 0
    if batch:
        joined = _BREAK.join(batch)
        yield read + len(joined.encode("utf-8")), joined
