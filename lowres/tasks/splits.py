"""Splits of a task: as its files give them, or carved from train by hash: stratified, groups whole, train complete."""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lowres.cards import Carving, TaskKind
from lowres.errors import DataError
from lowres.labels import Labelling, labelling
from lowres.tasks.read import Row
from lowres.tasks.stratify import Unit, iterative_stratification

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


def with_splits(rows: Sequence[Row], carving: Carving, name: str, kind: TaskKind = "classification") -> Splitted:
    """`rows` with every split there: a dev or test split that is missing is carved from train (or "all").

    Without a group column equal texts are a group, so that carving makes no leak. Rows without a label stay in train.
    Raises DataError where too little is labelled, a dev or test item has no label, or train lacks a label of theirs.
    """
    given = {row.split for row in rows}
    carved = tuple(split for split in ("test", "dev") if split not in given)
    labels = labelling(kind)
    chosen: dict[str, str] = {}
    if carved:
        groups = _groups([row for row in rows if row.split in ("train", "all") and row.label is not None])
        free = _keep_every_label(groups, labels)
        shares = {split: carving.test if split == "test" else carving.dev for split in carved}
        chosen = _carve_sets(groups, free, shares, labels) if labels.sets else _carve(groups, free, shares)
    done = tuple(replace(row, split=chosen.get(row.id, "train" if row.split == "all" else row.split)) for row in rows)
    _check(done, carved, name, labels)
    return Splitted(done, carved)


Groups = dict[str, list[Row]]
"""What must not be parted, by name, in the order of carving."""


def _groups(labelled: Sequence[Row]) -> Groups:
    groups: Groups = defaultdict(list)
    for row in labelled:
        groups[row.group if row.group is not None else text_key(row.text)].append(row)
    order = sorted(groups, key=lambda group: hashed("carve", *sorted(row.id for row in groups[group])))
    return {group: groups[group] for group in order}


def _keep_every_label(groups: Groups, labels: Labelling) -> dict[str, None]:
    """The groups that may leave train, in order, once the first group with each label has been kept there."""
    seen: set[str] = set()
    free: dict[str, None] = {}
    for group, rows in groups.items():
        names = {name for row in rows for name in labels.names(str(row.label))}
        if names <= seen:
            free[group] = None
        seen |= names
    return free


def _carve(groups: Groups, free: dict[str, None], shares: Mapping[str, float]) -> dict[str, str]:
    """Id -> split for the rows that leave train, of texts with one label each."""
    totals = Counter(row.label for rows in groups.values() for row in rows)
    chosen: dict[str, str] = {}
    for split, share in shares.items():
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


def _carve_sets(
    groups: Groups, free: dict[str, None], shares: Mapping[str, float], labels: Labelling
) -> dict[str, str]:
    """Id -> split for the rows that leave train, of texts with a set of labels each."""
    units = [
        Unit.of([labels.names(str(row.label)) for row in rows], None if group in free else 0)
        for group, rows in groups.items()
    ]
    parts = iterative_stratification(units, (1 - sum(shares.values()), *shares.values()))
    splits = ("train", *shares)
    chosen = zip(groups.values(), parts, strict=True)
    return {row.id: splits[part] for rows, part in chosen if part for row in rows}


def _check(rows: Sequence[Row], carved: Sequence[str], name: str, kind: Labelling) -> None:
    labels: dict[str, set[str]] = {split: set() for split in SPLITS}
    for row in rows:
        labels[row.split].update(() if row.label is None else kind.names(row.label))
    if len(labels["train"]) < 2:
        raise DataError(
            f"{name}: train has {len(labels['train'])} label(s) {sorted(labels['train'])}; "
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
        if lacking := sorted(labels[split] - labels["train"]):
            raise DataError(
                f"{name}: {split} has label(s) {', '.join(map(repr, lacking))}, which train lacks; mend the labels, "
                "merge them with layout.names, or leave the items out"
            )
