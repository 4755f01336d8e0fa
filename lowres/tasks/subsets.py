"""Nested, stratified subsets: one order of the labelled items for each subset number, of which a size takes the first.

Because every size is a prefix of one order, 100 lies within 1000. The order is stratified at every length by the quota
method of apportionment (Balinski and Young 1975), which adds one seat at a time and keeps every class within one of its
quota; here it starts with one item of each class, so that a draw of as many items as classes holds them all.
Where texts have sets of labels the order is that of iterative stratification, behind a text for each label.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lowres.artifacts import Document
from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.labels import labelling
from lowres.tasks.splits import hashed
from lowres.tasks.stratify import Unit, stratified_order


def class_order(counts: Sequence[int], size: int) -> list[int]:
    """Which class each of `size` draws comes from, for classes of `counts` items (all positive, size <= their sum).

    First one of each class, the largest first. From then on a class is drawn only while it is below its quota n c / N,
    and among those the one whose quota comes first to one item more. Counts stay below quota + 1, and above quota - 1
    once every quota is 1 or more (before that, the others go without what the rarest were given early).
    """
    items = np.asarray(counts, dtype=np.int64)
    total = int(items.sum())
    drawn = np.zeros_like(items)
    order = sorted(range(len(items)), key=lambda k: (-int(items[k]), k))[:size]
    drawn[order] += 1
    for n in range(len(order) + 1, size + 1):
        below = drawn * total < n * items
        due = np.where(below, (drawn + 1) / items, np.inf)
        chosen = int(due.argmin())
        drawn[chosen] += 1
        order.append(chosen)
    return order


def draw(
    documents: Sequence[Document], size: int, subset: int, salt: str, kind: TaskKind = "classification"
) -> list[Document]:
    """The first `size` labelled documents in the order of one subset number.

    It depends on the documents' ids and labels, `subset` and `salt` alone; documents with the same labels come by hash.
    Raises DataError where fewer documents than `size` have labels.
    """
    labelled = [document for document in documents if document.label is not None]
    if size > len(labelled):
        raise DataError(f"{size} labels are asked for, {len(labelled)} are there")
    labelled.sort(key=lambda document: hashed(salt, subset, document.id))
    return (_draw_sets if labelling(kind).sets else _draw_classes)(labelled, size)


def _draw_classes(documents: Sequence[Document], size: int) -> list[Document]:
    """documents: in the order of their hashes."""
    by_label: dict[str, list[Document]] = {}
    for document in reversed(documents):
        by_label.setdefault(str(document.label), []).append(document)
    labels = sorted(by_label)
    counts = [len(by_label[label]) for label in labels]
    return [by_label[labels[k]].pop() for k in class_order(counts, size)]


def _draw_sets(documents: Sequence[Document], size: int) -> list[Document]:
    """documents: in the order of their hashes. First comes a document of each label, of the frequent labels first."""
    names = labelling("multi-label").names
    units = {document.id: Unit.of([names(str(document.label))]) for document in documents}
    counts = Counter(label for unit in units.values() for label in unit.labels)
    covered: set[str] = set()
    first = []
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        if label not in covered:
            first.append(next(name for name, unit in units.items() if label in unit.labels))
            covered.update(units[first[-1]].labels)
    by_id = {document.id: document for document in documents}
    return [by_id[name] for name in stratified_order(units, first)[:size]]


def label_counts(documents: Sequence[Document], kind: TaskKind = "classification") -> dict[str, int]:
    """Label -> documents that have it, in the labels' order."""
    names = labelling(kind).names
    return dict(sorted(Counter(n for d in documents if d.label is not None for n in names(d.label)).items()))


def without_labels(documents: Sequence[Document], kind: TaskKind) -> int:
    """Documents whose set of labels is empty."""
    names = labelling(kind).names
    return sum(document.label is not None and not names(document.label) for document in documents)
