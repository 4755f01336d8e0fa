"""Splits of a task: as its files give them, or carved from train by hash: stratified, groups whole, train complete."""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lowres.cards import Carving
from lowres.errors import DataError
from lowres.tasks.read import Row

SPLITS = ("train", "dev", "test")


def text_key(text: str) -> str:
    """What makes two texts the same: NFC, lower-cased, runs of white space one space."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def hashed(*parts: object) -> str:
    """A place in a random order that depends on `parts` alone: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class Splitted:
    """Rows whose splits are train, dev and test, in the order they came; carved: the splits that were made here."""

    rows: tuple[Row, ...]
    carved: tuple[str, ...]


def with_splits(rows: Sequence[Row], carving: Carving, name: str) -> Splitted:
    """`rows` with every split there: a dev or test split that is missing is carved from train (or "all").

    Without a group column equal texts are a group, so that carving makes no leak. Rows without a label stay in train.
    Raises DataError where too little is labelled, a dev or test item has no label, or train lacks a label of theirs.
    """
    given = {row.split for row in rows}
    carved = tuple(split for split in ("test", "dev") if split not in given)
    if carved:
        chosen = _carve([row for row in rows if row.split in ("train", "all")], carving, carved)
    else:
        chosen = {}
    done = tuple(replace(row, split=chosen.get(row.id, "train" if row.split == "all" else row.split)) for row in rows)
    _check(done, carved, name)
    return Splitted(done, carved)


def _carve(rows: Sequence[Row], carving: Carving, splits: Sequence[str]) -> dict[str, str]:
    """Id -> split for the rows that leave train."""
    labelled = [row for row in rows if row.label is not None]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in labelled:
        groups[row.group if row.group is not None else text_key(row.text)].append(row)
    order = sorted(groups, key=lambda group: hashed("carve", *sorted(row.id for row in groups[group])))
    free = _keep_every_label(order, groups)
    totals = Counter(row.label for row in labelled)
    chosen: dict[str, str] = {}
    for split in splits:
        share = carving.test if split == "test" else carving.dev
        room = {label: max(1, round(share * n)) if n >= 5 else 0 for label, n in totals.items()}
        for group in [*free]:
            counts = Counter(row.label for row in groups[group])
            main = min(counts, key=lambda label: (-counts[label], str(label)))
            # a group goes over where that brings the split nearer to its share than leaving it would
            if 2 * room[main] >= counts[main] and room[main] > 0:
                chosen.update({row.id: split for row in groups[group]})
                del free[group]
                for label, n in counts.items():
                    room[label] -= n
    return chosen


def _keep_every_label(order: Iterable[str], groups: dict[str, list[Row]]) -> dict[str, None]:
    """The groups that may leave train, in order, once the first group with each label has been kept there."""
    seen: set[str | None] = set()
    free: dict[str, None] = {}
    for group in order:
        labels = {row.label for row in groups[group]}
        if labels <= seen:
            free[group] = None
        seen |= labels
    return free


def _check(rows: Sequence[Row], carved: Sequence[str], name: str) -> None:
    labels = {split: {row.label for row in rows if row.split == split} - {None} for split in SPLITS}
    if len(labels["train"]) < 2:
        raise DataError(
            f"{name}: train has {len(labels['train'])} label(s) {sorted(map(str, labels['train']))}; "
            "classification needs two or more"
        )
    for split in ("dev", "test"):
        if not any(row.split == split for row in rows):
            raise DataError(
                f"{name}: {split} is empty{' after carving' if split in carved else ''}; give more labelled rows, or a "
                f"file with role {split!r}"
            )
        unlabelled = [row.id for row in rows if row.split == split and row.label is None]
        if unlabelled:
            raise DataError(
                f"{name}: {len(unlabelled)} {split} items have no label (first: {unlabelled[0]}); leave them out, or "
                "leave out the file and let dev and test be carved from train"
            )
        if lacking := sorted(map(str, labels[split] - labels["train"])):
            raise DataError(
                f"{name}: {split} has label(s) {', '.join(map(repr, lacking))}, which train lacks; mend the labels, "
                "merge them with layout.names, or leave the items out"
            )
