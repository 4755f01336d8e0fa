"""A training's step compiled from shapes alone: whether it fits, what takes which memory, what is sent.

For a TPU slice its own compiler does it, without one there. For a GPU the step is compiled for one CPU device, and its
buffers are counted: a GPU's compiler may fuse otherwise and keeps workspaces of its own, so it is an estimate.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import ShapeDtypeStruct as Shape
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lowres.devices import Mesh
from lowres.errors import DataError
from lowres.families.gptj.config import MATRICES, Config, shapes
from lowres.families.gptj.int8 import BLOCK
from lowres.families.gptj.lora import EMBEDDINGS, NORMS
from lowres.families.gptj.mesh import ROWS, frozen_type, make_mesh, stored
from lowres.families.gptj.mesh_train import plan_of
from lowres.families.gptj.parallel import Plan, mesh_step
from lowres.families.gptj.planning.asked import Training
from lowres.families.gptj.planning.collectives import Collective, collectives
from lowres.families.gptj.planning.slices import Slice
from lowres.families.gptj.settings import AdaptSpec
from lowres.families.gptj.train import Hyper, State

_NEEDS = re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Memory:
    """Bytes a device. What a refusal leaves unknown is None."""

    needed: int
    limit: int
    weights: int
    """What is trained, in float32, and what is frozen."""
    optimiser: int
    rows: int
    temporaries: int | None
    """The most that lives at once beside the arguments: gradients, activations, weights gathered."""
    gradients: int
    """Of the temporaries, at least: in float32, twice where micro-batches are summed."""
    kept: int
    """Of the temporaries: what the backward pass finds of every layer, with remat = "full"."""


@dataclass(frozen=True)
class Compiled:
    """What came out for a training on a machine."""

    fits: bool
    memory: Memory
    sent: list[Collective]
    mesh: dict[str, int]
    remat: str
    attention: str
    said: str = ""
    """The compiler's words, where it refused."""


def compiled(training: Training, asked: Mesh, machine: Slice | int) -> Compiled:
    """Compiles the step of a training. machine: a slice, or the bytes of a GPU. Raises DataError as make_mesh does."""
    step = _Step.of(training, asked, machine)
    about = {"mesh": dict(step.mesh.shape), "remat": step.plan.remat, "attention": step.plan.attention}
    with jax.set_mesh(step.mesh):
        try:
            program = mesh_step.lower(
                *step.arguments, config=training.config, hyper=step.hyper, plan=step.plan
            ).compile()
        except jax.errors.JaxRuntimeError as error:
            return Compiled(False, step.memory(_needed(error)), [], **about, said=_first_line(error))
    found: Any = program.memory_analysis()
    arguments, live = found.argument_size_in_bytes, found.peak_memory_in_bytes
    if isinstance(machine, Slice) and live:
        needed = live + found.generated_code_size_in_bytes
    else:
        needed = arguments + found.output_size_in_bytes - found.alias_size_in_bytes + found.temp_size_in_bytes
    memory = step.memory(needed, max(needed - arguments, 0))
    return Compiled(needed <= step.limit, memory, collectives(program.as_text() or ""), **about)


def least(training: Training, asked: Mesh, machine: Slice | int) -> tuple[int, int]:
    """(weights, moments and gradients, what there is) of a device, in bytes; nothing is compiled."""
    step = _Step.of(training, asked, machine)
    known = step.memory(0)
    return known.weights + known.optimiser + known.rows + known.gradients, step.limit


def parts(config: Config, spec: AdaptSpec) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """(frozen, trained) as lora.parted, or lora.embeddings_apart, and mesh.placed make them, without a number."""
    everything = {name: Shape(shape, jnp.float32) for name, shape in shapes(config).items()}
    if spec.lora is None and not spec.embeddings_only:
        return {}, everything
    if spec.embeddings_only or spec.lora is None:
        trained = {name: everything[name] for name in EMBEDDINGS}
    else:
        trained = {name: everything[name] for name in NORMS if spec.lora.norms}
    frozen = {name: one for name, one in everything.items() if name not in trained}
    if spec.lora is not None:
        for name in spec.lora.targets:
            layers, inputs, outputs = everything[name].shape
            trained[f"{name}_lora_a"] = Shape((layers, inputs, spec.lora.rank), jnp.float32)
            trained[f"{name}_lora_b"] = Shape((layers, spec.lora.rank, outputs), jnp.float32)
        frozen = _in_8_bits(frozen) if spec.lora.int8 else frozen
    return {n: Shape(a.shape, frozen_type(n, a, spec.precision)) for n, a in frozen.items()}, trained


def _in_8_bits(frozen: Mapping[str, Shape]) -> dict[str, Shape]:
    """As int8.quantise."""
    found = {}
    for name, one in frozen.items():
        if name not in MATRICES:
            found[name] = one
            continue
        place = len(one.shape) - (1 if name == "wte" else 2)
        size = one.shape[place]
        scales = (*one.shape[:place], size // math.gcd(size, BLOCK), *one.shape[place + 1 :])
        found |= {f"{name}_int8": Shape(one.shape, jnp.int8), f"{name}_scale": Shape(scales, jnp.float32)}
    return found


def _devices(machine: Slice | int) -> Sequence[Any]:
    if isinstance(machine, int):
        return jax.devices("cpu")[:1]
    return _topology(machine)


@cache
def _topology(slice_: Slice) -> Sequence[Any]:
    """A slice's devices, as its compiler knows them. Raises DataError where there is no compiler."""
    from jax.experimental import topologies

    name, options = slice_.topology()
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise DataError(f"{slice_.name}: the TPU compiler has no {name} ({_first_line(error)})") from error


def device_kind(slice_: Slice) -> str:
    """What its devices call themselves."""
    return _topology(slice_)[0].device_kind


@cache
def usable(slice_: Slice) -> int:
    """Bytes of a device that the compiler gives out; it tells them where a program wants more."""
    mesh = jax.make_mesh((slice_.devices,), ("all",), devices=_topology(slice_))
    much = Shape((2**20, 2**20), jnp.int8, sharding=NamedSharding(mesh, P()))
    try:
        jax.jit(lambda x: x + 1).lower(much).compile()
    except jax.errors.JaxRuntimeError as error:
        if found := _NEEDS.search(str(error)):
            return _bytes(found[3], found[4])
    raise DataError(f"{slice_.name}: the compiler does not say how much memory there is; another libtpu may")


def _lying(arrays: Mapping[str, Shape], mesh: jax.sharding.Mesh) -> dict[str, Any]:
    return {
        name: Shape(a.shape, a.dtype, sharding=NamedSharding(mesh, stored(name, a.shape, mesh.shape)))
        for name, a in arrays.items()
    }


def _on(mesh: jax.sharding.Mesh, tree: Any) -> Any:
    """Shapes with their place on the real mesh; without one: whole on every device."""

    def lying(a: Any) -> Shape:
        return Shape(a.shape, a.dtype, sharding=NamedSharding(mesh, a.sharding.spec if a.sharding else P()))

    return jax.tree.map(lying, tree)


def _rest(config: Config, spec: AdaptSpec, mesh: jax.sharding.Mesh) -> tuple[Shape, Shape, Shape, Shape]:
    """Rows, rate, bos id and key of mesh_step."""
    rows = (spec.accumulate, spec.batch_size // spec.accumulate, config.n_ctx + 1)
    key = jax.eval_shape(lambda: jax.random.key(0))
    whole = NamedSharding(mesh, P())
    return (
        Shape(rows, jnp.int32, sharding=NamedSharding(mesh, P(None, ROWS, None))),
        Shape((), jnp.float32, sharding=whole),
        Shape((), jnp.int32, sharding=whole),
        Shape(key.shape, key.dtype, sharding=whole),
    )


@dataclass(frozen=True)
class _Step:
    """A step's arguments as shapes on its mesh."""

    training: Training
    mesh: jax.sharding.Mesh
    hyper: Hyper
    plan: Plan
    arguments: tuple[Any, ...]
    """Of mesh_step, before those that are static."""
    limit: int

    @classmethod
    def of(cls, training: Training, asked: Mesh, machine: Slice | int) -> "_Step":
        """Raises DataError as make_mesh does."""
        config, spec, devices = training.config, training.spec, _devices(machine)
        mesh = make_mesh(asked, config, spec.batch_size, spec.accumulate, devices)
        hyper, plan = Hyper.of(spec), plan_of(spec, config, config.n_ctx, devices[0])
        with jax.set_mesh(mesh):
            frozen, trained = (_lying(part, mesh) for part in parts(config, spec))
            moments = jax.eval_shape(hyper.optimiser().init, trained)
            state = State(trained, _on(mesh, moments))
        limit = machine if isinstance(machine, int) else usable(machine)
        return cls(training, mesh, hyper, plan, (state, frozen, *_rest(config, spec, mesh)), limit)

    def memory(self, needed: int, temporaries: int | None = None) -> Memory:
        """With what the shapes alone say."""
        config, spec, (state, frozen, rows, *_) = self.training.config, self.training.spec, self.arguments
        micro = spec.batch_size // spec.accumulate // (self.mesh.shape["data"] * self.mesh.shape["fsdp"])
        states = micro * config.n_ctx * config.n_embd * jnp.dtype(spec.precision).itemsize
        return Memory(
            needed,
            self.limit,
            weights=_held((state.params, frozen)),
            optimiser=_held(state.moments),
            rows=_held(rows),
            temporaries=temporaries,
            gradients=_held(state.params) * (2 if spec.accumulate > 1 else 1),
            kept=config.n_layer * states if self.plan.remat == "full" else 0,
        )


def _held(tree: Any) -> int:
    """Bytes of a device's parts."""
    return sum(math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(tree))


def _needed(error: Exception) -> int:
    """What the compiler wanted; raises the error where it failed for another reason."""
    found = _NEEDS.search(str(error))
    if found is None:
        raise DataError(f"the compiler failed: {_first_line(error)}") from error
    return _bytes(found[1], found[2])


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * _UNITS[unit])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
