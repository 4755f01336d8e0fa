"""The nearest setting that fits: a short list, those first that change nothing in what is computed but rounding."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lowres.devices import Mesh
from lowres.errors import DataError
from lowres.families.gptj.planning.asked import Training
from lowres.families.gptj.planning.compiled import Compiled, compiled, least
from lowres.families.gptj.planning.slices import Slice
from lowres.families.gptj.settings import Lora


@dataclass(frozen=True)
class Setting:
    """A training with something changed; words: the keys and values that are."""

    words: str
    training: Training
    mesh: Mesh


@dataclass(frozen=True)
class Tried:
    """A setting and what came out. found is None where weights, moments and gradients alone are more than there is."""

    setting: Setting
    needed: int
    found: Compiled | None


def tried(training: Training, mesh: Mesh, machine: Slice | int, tell: Callable[[str], None]) -> Iterator[Tried]:
    """Settings in their order, until one fits."""
    for setting in settings(training, mesh, machine):
        try:
            needed, limit = least(setting.training, setting.mesh, machine)
            if needed > limit:
                yield Tried(setting, needed, None)
                continue
            tell(setting.words)
            found = compiled(setting.training, setting.mesh, machine)
        except DataError:  # the mesh does not go with the rows, or the compiler failed
            continue
        yield Tried(setting, found.memory.needed, found)
        if found.fits:
            return


def settings(training: Training, mesh: Mesh, machine: Slice | int) -> Iterator[Setting]:
    """The list. remat and accumulate, the mesh's axes, products of 16 bits, 8-bit moments, fewer rows, an adapter."""
    count = 1 if isinstance(machine, int) else machine.devices
    spec, rows = training.spec, training.spec.batch_size
    groups = mesh.data * (mesh.fsdp or max(count // (mesh.data * mesh.tensor), 1))
    full: dict[str, Any] = {} if spec.remat in ("auto", "full") else {"remat": "full"}
    parts = max(rows // groups, 1)
    most = {"accumulate": parts} if parts > spec.accumulate and rows % (parts * groups) == 0 else {}
    fewest = {"batch_size": groups, "accumulate": 1} if rows > groups else {}
    halved = {} if spec.precision == "bfloat16" else {"precision": "bfloat16"}
    eight = {} if spec.lora is not None or spec.moments == "int8" else {"moments": "int8"}
    adapter = Lora() if spec.lora is None else spec.lora
    at_once = {"accumulate": 1} if spec.accumulate > 1 else {}  # a sum of gradients less, for more activations
    lists: list[tuple[dict[str, Any], Mesh]] = [(full, mesh), (full | at_once, mesh), (full | most, mesh)]
    if count > 1:
        for tensor in sorted({2, math.gcd(count, training.sizes.n_head)} - {mesh.tensor}):
            lists.append((full, Mesh(data=1, tensor=tensor)))
    lists += [(full | halved, mesh), (full | halved | most, mesh)]
    lists += [(full | halved | eight, mesh), (full | halved | eight | most, mesh)]
    lists += [(full | halved | fewest, mesh), (full | halved | eight | fewest, mesh)]
    for lora in (adapter, adapter.model_copy(update={"int8": True})):
        of_lora = {"lora": lora, "embeddings_only": False}
        lists += [(full | halved | more | of_lora, mesh) for more in ({}, most, fewest)]
    seen = {(training.spec.model_dump_json(), mesh.model_dump_json())}
    for changes, lying in lists:
        changed = training.model_copy(update={"spec": spec.model_copy(update=changes)})
        key = changed.spec.model_dump_json(), lying.model_dump_json()
        if key not in seen:
            seen.add(key)
            yield Setting(_words(spec, changed.spec, mesh, lying), changed, lying)


def _words(before: Any, after: Any, mesh: Mesh, lying: Mesh) -> str:
    """What a setting changes, as a recipe says it."""
    said = []
    for name in type(after).model_fields:
        value = getattr(after, name)
        if value != getattr(before, name) and name != "embeddings_only":
            said.append(f"{name} = {_toml(value)}")
    if lying != mesh:
        said.append(f"run.mesh = {{ data = {lying.data}, tensor = {lying.tensor} }}")
    return ", ".join(said)


def _toml(value: Any) -> str:
    if isinstance(value, Lora):
        return "{ int8 = true }" if value.int8 else "{}"
    return f'"{value}"' if isinstance(value, str) else str(value)
