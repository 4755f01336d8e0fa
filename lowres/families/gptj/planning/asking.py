"""Asks the process that compiles, and says in lines what it found; imports no framework."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from lowres.errors import DataError
from lowres.families.gptj.planning.asked import Asked
from lowres.families.gptj.planning.slices import slice_of

PROGRAM = "lowres.families.gptj.planning.program"
_MARK = "lowres: "
_AS_ON_A_GPU = "--xla_disable_hlo_passes=while-loop-invariant-code-motion,while-loop-expensive-invariant-code-motion"
"""A CPU multiplies bfloat16 as float32, and would make all layers' weights float32 ahead of the loop: 24 GB more."""


def found(asked: Asked, tell: Callable[[str], None]) -> dict[str, Any]:
    """What the compiler says. Raises DataError where it is missing, or the process dies."""
    if asked.tpu is not None and find_spec("libtpu") is None:
        raise DataError("--tpu needs the TPU's compiler: pip install 'lowres[tpu]' (for Linux; no TPU is needed)")
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    }
    environment |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # a program read back does not say its buffers
        "TPU_SKIP_MDS_QUERY": "1",  # it would ask the cloud which TPU this machine has
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nothing runs on a TPU, so others may use it
    }
    if asked.tpu is None:
        environment["XLA_FLAGS"] = _AS_ON_A_GPU
    command = [sys.executable, "-m", PROGRAM]
    pipes: dict[str, Any] = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(asked.model_dump_json())
        process.stdin.close()
        last = ""
        for line in process.stderr:
            if line.startswith(_MARK):
                tell(line.removeprefix(_MARK).rstrip())
            elif line.strip():
                last = line.strip()
        answer = process.stdout.read()
    if process.returncode:
        raise DataError(f"the compiler ended with {process.returncode}: {last[:300]}")
    result = json.loads(answer.strip().splitlines()[-1])
    if "error" in result:
        raise DataError(result["error"])
    return result


def lines(result: dict[str, Any], asked: Asked) -> list[str]:
    """What was found, to be printed."""
    said: list[str] = []
    for one in result["found"]:
        said += ["", *_training(one, asked)]
    return said[1:] + ["", _assumption(result["versions"], asked)]


def _training(one: dict[str, Any], asked: Asked) -> list[str]:
    machine = asked.tpu or f"a GPU of {int(asked.gpu or 0) / 1e9:g} GB"
    trained = one["trained"]
    mesh = " x ".join(f"{axis} {size}" for axis, size in one["mesh"].items())
    head = f"{one['training']}: {'fits' if one['fits'] else 'does not fit'} on {machine}"
    rows = f"{trained['batch_size']} rows of {trained['n_ctx']} tokens a step, accumulate {trained['accumulate']}"
    said = [head, f"  {rows}, mesh {mesh}, remat {one['remat']}, attention {one['attention']}"]
    said += _memory(one["memory"], _device(asked)) + _rest(one)
    if "tried" not in one:
        return said
    return said + _tried(one["tried"], _device(asked))


def _device(asked: Asked) -> str:
    if asked.tpu is None:
        return "GPU"
    return "core" if slice_of(asked.tpu).generation.devices == 2 else "chip"


def _memory(memory: dict[str, Any], device: str) -> list[str]:
    said = [f"  bytes a {device}: {_gb(memory['needed'])} of {_gb(memory['limit'])}"]
    said += [f"    {name:<12} {_gb(memory[name])}" for name in ("weights", "optimiser", "rows")]
    parts = f"gradients {_gb(memory['gradients'])}"
    parts += f", inputs of layers {_gb(memory['kept'])}" if memory["kept"] else ""
    if memory["temporaries"] is not None:
        return said + [f"    temporaries  {_gb(memory['temporaries'])} at their most (by shapes: {parts})"]
    return said + [f"    the rest is temporaries (by shapes: {parts}); the compiler refused"]


def _rest(one: dict[str, Any]) -> list[str]:
    said = []
    for sent in one["sent"]:
        said.append(f"  {sent['kind']}: {sent['times']:,} a step, {_gb(sent['bytes'])} received by a device")
    if one["fits"] and one.get("step") is None and one["sent"]:
        said.append("  no time is estimated: the peak of float32 products is not published")
    if step := one.get("step"):
        said.append(
            f"  a step takes about {step['seconds']:.2f} s, {step['tokens_a_second']:,.0f} tokens/s: an estimate, "
            "nothing overlapping"
        )
        for name, formula in zip(("products", "memory", "sent"), step["formulas"], strict=True):
            said.append(f"    {name:<9} {step[name]:.3f} s = {formula}")
    return said


def _tried(tried: list[dict[str, Any]], device: str) -> list[str]:
    said = ["  tried instead:"]
    for one in tried:
        if one["compiled"]:
            said.append(f"    {one['setting']}: {_gb(one['needed'])}{', fits' if one['fits'] else ''}")
        else:
            said.append(f"    {one['setting']}: not compiled, weights, moments and gradients are {_gb(one['needed'])}")
    fitting = next((one for one in tried if one["fits"]), None)
    if fitting is None:
        return [*said, "  none of them fits"]
    said.append(f"  the nearest that fits: {fitting['setting']}")
    return said + ["  " + line for line in (*_memory(fitting["memory"], device), *_rest(fitting))]


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 or not size else f"{size / 1e6:.2f} MB"


def _assumption(versions: dict[str, str], asked: Asked) -> str:
    by = ", ".join(f"{name} {number}" for name, number in versions.items())
    if asked.tpu:
        return f"By the TPU's own compiler ({by}); nothing was run."
    return (
        f"By the buffers of the same step compiled for one CPU device (jax {versions['jax']}, without moving code"
        " out of loops): a GPU's compiler may differ, and its libraries take some 0.5 GB more. No time is estimated."
    )
