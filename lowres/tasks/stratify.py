"""Iterative stratification of label sets (Sechidis, Tsoumakas and Vlahavas 2011), from the paper's description.

Parts of a set are filled label by label, the label with the fewest items left first, for a rare label that was put off
could no longer be shared out. Each item with that label goes to the part that wants the label most; among equals to the
one that wants most items of any kind; the paper draws among those that are left, here it is the first. Items without a
label fill up what the parts lack in size. Nothing is random but the order in which the items come.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Unit:
    """What goes to one part as a whole: a text, or a group of texts. labels: label -> texts of the unit that have it.

    part: where it must go, if that is settled.
    """

    labels: Mapping[str, int]
    size: int = 1
    part: int | None = None


@dataclass
class _Parts:
    """What each part still wants: `sizes` texts in all, and of each label `labels[label]`."""

    sizes: list[float]
    labels: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, units: Sequence[Unit], shares: Sequence[float]) -> "_Parts":
        total = sum(unit.size for unit in units)
        counts: dict[str, int] = {}
        for unit in units:
            for label, n in unit.labels.items():
                counts[label] = counts.get(label, 0) + n
        wanted = {label: [share * n for share in shares] for label, n in counts.items()}
        return cls([share * total for share in shares], wanted)

    def give(self, part: int, unit: Unit) -> int:
        self.sizes[part] -= unit.size
        for label, n in unit.labels.items():
            self.labels[label][part] -= n
        return part

    def neediest(self, label: str | None) -> int:
        """The part that wants `label` most, then that wants most texts, then the first."""
        needs = self.sizes if label is None else self.labels[label]
        return max(range(len(self.sizes)), key=lambda part: (needs[part], self.sizes[part], -part))


def iterative_stratification(units: Sequence[Unit], shares: Sequence[float]) -> list[int]:
    """The part of each unit. shares: of the parts, which sum to 1.

    Among labels with as few units left the first by name comes first; the units of a label come in their order.
    """
    parts = _Parts.of(units, shares)
    chosen = [None if unit.part is None else parts.give(unit.part, unit) for unit in units]
    holding: dict[str, list[int]] = {}
    left: dict[str, int] = {}
    for k, unit in enumerate(units):
        for label in unit.labels if chosen[k] is None else ():
            holding.setdefault(label, []).append(k)
            left[label] = left.get(label, 0) + 1
    while left:
        label = min(left, key=lambda name: (left[name], name))
        for k in holding[label]:
            if chosen[k] is None:
                chosen[k] = parts.give(parts.neediest(label), units[k])
                for other in units[k].labels:
                    left[other] -= 1
        left = {name: n for name, n in left.items() if n}
    return [parts.give(parts.neediest(None), units[k]) if part is None else part for k, part in enumerate(chosen)]


def stratified_order(units: Mapping[Hashable, Unit], first: Sequence[Hashable]) -> list[Hashable]:
    """The units in an order of which every beginning is stratified: halved again and again, `first` in every first half.

    A beginning of any length is made of at most one half of each size, so each label is near its share at every length;
    shortest, it is `first` in its order.
    """
    settled = set(first)
    rest = [name for name in units if name not in settled]
    if not rest or len(units) < 3:
        return [*first, *rest]
    names = [*first, *rest]
    halves = iterative_stratification(
        [Unit(units[name].labels, units[name].size, 0 if name in settled else None) for name in names], (0.5, 0.5)
    )
    one, two = ({name: units[name] for name, half in zip(names, halves, strict=True) if half == k} for k in (0, 1))
    if not one or not two:
        return names
    return [*stratified_order(one, first), *stratified_order(two, ())]
