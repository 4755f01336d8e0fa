"""Devices as a mesh of the axes data, fsdp and tensor, and where each array of a GPT-J lies on it.

data and fsdp cut the rows of a batch; fsdp cuts the large arrays too (ZeRO-3, Rajbhandari et al. 2020); tensor cuts the
heads, the inner width and the vocabulary (Shoeybi et al. 2019). Axes are explicit: every array's type says where it
lies, and a product that leaves it open does not trace.
"""

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lowres.devices import Mesh
from lowres.errors import DataError
from lowres.families.gptj.config import MATRICES, Config
from lowres.families.gptj.int8 import BLOCK, root

ROWS = ("data", "fsdp")
"""The axes that cut the rows of a batch."""

STORED = {
    "wte": P("tensor", "fsdp"),
    "head": P("fsdp", "tensor"),
    "head_bias": P("tensor"),
    "q": P(None, "fsdp", "tensor"),
    "k": P(None, "fsdp", "tensor"),
    "v": P(None, "fsdp", "tensor"),
    "out": P(None, "tensor", "fsdp"),
    "fc_in": P(None, "fsdp", "tensor"),
    "fc_in_bias": P(None, "tensor"),
    "fc_out": P(None, "tensor", "fsdp"),
}
"""Where each array lies between its uses, layers first. What is not here is small, and whole on every device."""


def stored(name: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> P:
    """Where an array lies: as the matrix it belongs to, but for axes that do not divide its dims.

    8 bits lie like their matrix, with their scales; tensor, over which they are dequantised, cuts no block of them. Of
    an adapter A has the matrix's inputs and B its outputs.
    """
    matrix, _, part = root(name).partition("_lora_")
    spec = list(STORED.get(matrix, P()))
    if part:
        layer, inputs, outputs = spec
        spec = [layer, None, outputs] if part == "b" else [layer, inputs if inputs == "tensor" else None, None]
    spec += [None] * (len(shape) - len(spec))
    if name.endswith("_int8") and matrix != "wte" and spec[-2] == "tensor":
        shape = (*shape[:-2], shape[-2] // math.gcd(shape[-2], BLOCK), shape[-1])
    return P(*(axis if axis and size % sizes[axis] == 0 else None for axis, size in zip(spec, shape, strict=True)))


def make_mesh(
    asked: Mesh, config: Config, batch_size: int, accumulate: int, devices: Sequence[Any] | None = None
) -> jax.sharding.Mesh:
    """All devices of all hosts, or those given, as (data, fsdp, tensor). Raises DataError, one line, where it fails."""
    count = jax.device_count() if devices is None else len(devices)
    others = asked.data * asked.tensor
    fsdp = asked.fsdp or max(count // others, 1)
    rows, micro = asked.data * fsdp, batch_size // accumulate
    said = f"data {asked.data} x fsdp {fsdp} x tensor {asked.tensor}"
    if others * fsdp != count:
        raise DataError(f"run.mesh: {said} is {others * fsdp} devices and there are {count}; make the product {count}")
    if config.n_head % asked.tensor:
        raise DataError(f"run.mesh.tensor is {asked.tensor}; it must divide the {config.n_head} heads")
    if batch_size % accumulate or micro % rows:
        raise DataError(
            f"run.mesh: {said} with accumulate = {accumulate} wants a batch_size that {rows * accumulate} (data x fsdp"
            f" x accumulate) divides, and it is {batch_size}; set batch_size, or a greater tensor"
        )
    return jax.make_mesh((asked.data, fsdp, asked.tensor), ("data", "fsdp", "tensor"), devices=devices)


def placed(params: Mapping[str, Any], mesh: jax.sharding.Mesh, precision: str = "float32") -> dict[str, Array]:
    """Arrays put where they lie; each device takes its part alone, so no device ever holds a whole model.

    precision: of matrices in floats. Frozen ones lie as the products take them, so nothing else is computed.
    """
    return {
        name: put(
            array, NamedSharding(mesh, stored(name, array.shape, mesh.shape)), frozen_type(name, array, precision)
        )
        for name, array in params.items()
    }


def frozen_type(name: str, array: Any, precision: str) -> Any:
    """The type in which `placed` puts an array: its own, but for matrices in floats."""
    return jnp.dtype(precision) if name in MATRICES and array.dtype == jnp.float32 else array.dtype


def put(array: Any, sharding: NamedSharding, dtype: Any = None) -> Array:
    """A host's array on the mesh; every host has it whole."""
    return jax.make_array_from_callback(
        array.shape, sharding, lambda index: np.asarray(array[index]).astype(dtype or array.dtype, copy=False)
    )


def put_like(host: Any, lying: Any) -> Any:
    """A tree of arrays as those of another tree lie."""
    return jax.tree.map(lambda array, like: put(np.asarray(array), like.sharding), host, lying)


def on_host(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Whole arrays in the memory of every host, one gathered at a time."""
    return {name: whole(array) for name, array in params.items()}


def whole(array: Array) -> np.ndarray:
    """An array of the mesh in this host's memory."""
    if array.is_fully_addressable:
        return np.asarray(array)
    from jax.experimental.multihost_utils import process_allgather

    return np.asarray(process_allgather(array, tiled=True))


def on_processor() -> AbstractContextManager[Any]:
    """Arrays made in this context lie in the host's memory."""
    return jax.default_device(jax.local_devices(backend="cpu")[0])


def join_hosts(hosts: int) -> None:
    """Joins the other hosts where there are several; before anything is computed.

    TPU pods, SLURM, Open MPI and Kubernetes say by themselves who is who; elsewhere JAX_COORDINATOR_ADDRESS,
    JAX_NUM_PROCESSES and JAX_PROCESS_ID do. Raises DataError where they do not, or where another number of hosts came.
    """
    if hosts == 1 or jax.distributed.is_initialized():
        return
    # SIGTERM asks the worker to stop (experiment.worker), and the hosts agree on it at every step
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(num_processes=_number("JAX_NUM_PROCESSES"), process_id=_number("JAX_PROCESS_ID"))
    except ValueError as error:
        raise DataError(
            f"run.hosts is {hosts} and this host does not find the others ({error}); set "
            "JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from error
    if jax.process_count() != hosts:
        raise DataError(f"run.hosts is {hosts} and {jax.process_count()} joined; they must be the same")


def _number(name: str) -> int | None:
    """A number of the environment."""
    return int(os.environ[name]) if name in os.environ else None


def any_host(*flags: bool) -> list[bool]:
    """Each flag as true where it is on some host, so that all hosts take the same turn."""
    if jax.process_count() == 1:
        return list(flags)
    from jax.experimental.multihost_utils import process_allgather

    of_hosts: Any = process_allgather(np.array(flags))  # (hosts, flags)
    return [bool(flag) for flag in of_hosts.any(axis=0)]
