"""The process that compiles: what is asked as JSON on standard input, what was found as JSON on standard output.

It is one of its own, for JAX must know before it starts that it computes on a CPU: `python -m` this module.
"""

import json
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lowres.errors import LowresError
from lowres.families.gptj.planning.asked import Asked, Training
from lowres.families.gptj.planning.compiled import Compiled, compiled
from lowres.families.gptj.planning.estimate import estimate
from lowres.families.gptj.planning.nearest import tried
from lowres.families.gptj.planning.slices import Slice, slice_of

MARK = "lowres: "
"""Begins the lines on standard error that are for the user; the others are the compiler's own."""


def main() -> int:
    """Reads, compiles, writes."""
    asked = Asked.model_validate_json(sys.stdin.read())
    try:
        machine = slice_of(asked.tpu) if asked.tpu else int(asked.gpu or 0)
        found = {"found": [planned(training, asked, machine) for training in asked.trainings], "versions": versions()}
    except LowresError as error:
        found = {"error": str(error)}
    except Exception as error:  # the compiler's or JAX's: its first line says what, its traceback is on standard error
        traceback.print_exc()
        found = {"error": f"compiling failed with {type(error).__name__}: {str(error).splitlines()[0][:300]}"}
    print(json.dumps(found))
    return 0


def planned(training: Training, asked: Asked, machine: Slice | int) -> dict[str, Any]:
    """One training: what came out, and where it does not fit what was tried instead."""
    tell(f"compiling {training.name}")
    found = compiled(training, asked.mesh, machine)
    result = {"training": training.name, "trained": _numbers(training), **_record(training, found, machine)}
    if not found.fits and asked.search:
        result["tried"] = [
            {
                "setting": one.setting.words,
                "fits": one.found is not None and one.found.fits,
                "compiled": one.found is not None,
                "needed": one.needed,
            }
            | (_record(one.setting.training, one.found, machine) if one.found and one.found.fits else {})
            for one in tried(training, asked.mesh, machine, tell)
        ]
    return result


def tell(words: str) -> None:
    """A line for the user."""
    print(f"{MARK}{words}", file=sys.stderr, flush=True)


def _numbers(training: Training) -> Mapping[str, Any]:
    spec = training.spec
    return {"batch_size": spec.batch_size, "accumulate": spec.accumulate, "n_ctx": training.sizes.n_ctx}


def _record(training: Training, found: Compiled, machine: Slice | int) -> dict[str, Any]:
    """As JSON."""
    record = asdict(found)
    guess = estimate(training, found, machine) if found.fits and isinstance(machine, Slice) else None
    if guess is not None:
        record["step"] = asdict(guess) | {"seconds": guess.seconds, "tokens_a_second": guess.tokens_a_second}
    return record


def versions() -> dict[str, str]:
    """Of what compiled."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("jax", "libtpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
