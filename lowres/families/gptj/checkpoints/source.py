"""What every layout offers: names with shape and type at once, tensors one at a time; and what is wrong with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lowres.families.gptj.checkpoints.layout import Layout
from lowres.families.gptj.checkpoints.names import slots
from lowres.families.gptj.config import Config

SHOWN = 3
"""Faults of one kind that are named; the others are counted."""


@dataclass(frozen=True)
class Fact:
    """What is known of a tensor without reading it. dtype: as stored, e.g. "float32", "bfloat16", "uint8"."""

    shape: tuple[int, ...]
    dtype: str


class Tensors(Protocol):
    """A reader: the tensors of a checkpoint under transformers' names and in its orientation, (out, in)."""

    @property
    def kind(self) -> str:
        """The layout in a few words."""
        ...

    @property
    def facts(self) -> Mapping[str, Fact]:
        """Of every tensor."""
        ...

    def tensor(self, name: str) -> np.ndarray[Any, Any]:
        """One tensor, read when it is asked for; as stored, or float32 where it is put together from several."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """A GPT-J in any layout. faults: a line each; a checkpoint with any is not read."""

    layout: Layout
    tensors: Tensors
    config: Config
    faults: tuple[str, ...]


def faults_of(where: str, facts: Mapping[str, Fact], config: Config, missing_files: Iterable[str] = ()) -> list[str]:
    """What keeps these tensors from being the whole GPT-J of `config`: files, tensors, shapes, names; [] if nothing."""
    wanted = {slot.name: slot.shape for slot in slots(config)}
    faults = _listed(f"{where}: missing file", sorted(missing_files))
    if not faults:
        faults += _listed(f"{where}: missing tensor", [name for name in wanted if name not in facts])
    faults += _listed(f"{where}: unknown tensor", sorted(facts.keys() - wanted.keys()))
    wrong = [name for name, shape in wanted.items() if name in facts and facts[name].shape != shape]
    said = [f"{name} has shape {facts[name].shape}, its config says {wanted[name]}" for name in wrong[:SHOWN]]
    return faults + [f"{where}: {line}" for line in said] + _more(wrong, "tensors of a wrong shape", where)


def _listed(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{what}{'s' * (len(names) > 1)} {', '.join(names[:SHOWN])}{more}"] if names else []


def _more(names: list[str], what: str, where: str) -> list[str]:
    return [f"{where}: and {len(names) - SHOWN} more {what}"] if len(names) > SHOWN else []
