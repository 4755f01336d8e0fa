"""Nested, stratified subsets: one order of the labelled items for each subset number, of which a size takes the first.

Because every size is a prefix of one order, 100 lies within 1000. The order is stratified at every length by the quota
method of apportionment (Balinski and Young 1975), which adds one seat at a time and keeps every class within one of its
quota; here it starts with one item of each class, so that a draw of as many items as classes holds them all.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lowres.artifacts import Document
from lowres.errors import DataError
from lowres.tasks.splits import hashed


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


def draw(documents: Sequence[Document], size: int, subset: int, salt: str) -> list[Document]:
    """The first `size` labelled documents in the order of one subset number.

    It depends on the documents' ids and labels, `subset` and `salt` alone; within a class the order is by hash.
    Raises DataError where fewer documents than `size` have labels.
    """
    by_label: dict[str, list[Document]] = {}
    for document in documents:
        if document.label is not None:
            by_label.setdefault(document.label, []).append(document)
    labels = sorted(by_label)
    counts = [len(by_label[label]) for label in labels]
    if size > sum(counts):
        raise DataError(f"{size} labels are asked for, {sum(counts)} are there")
    for label in labels:
        by_label[label].sort(key=lambda document: hashed(salt, subset, document.id), reverse=True)
    return [by_label[labels[k]].pop() for k in class_order(counts, size)]


def label_counts(documents: Sequence[Document]) -> dict[str, int]:
    """Label -> documents, in the labels' order."""
    return dict(sorted(Counter(document.label for document in documents if document.label is not None).items()))
