"""Contenders in turn, so that a busy minute of the machine meets all of them."""

import os
import sys
from collections.abc import Callable, Mapping


def in_turn(made: Mapping[str, Callable[[], float]], rounds: int) -> tuple[dict[str, list[float]], list[float]]:
    """(seconds of each contender, a number a round; the machine's load before each). One round before warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in made}
    loads = []
    for number in range(rounds + 1):
        loads.append(os.getloadavg()[0])
        for name, run in made.items():
            taken = run()
            if number:  # the first round compiles, makes the optimisers' moments and warms the libraries up
                seconds[name].append(taken)
        print(f"round {number} of {rounds}, load {loads[-1]:.1f}", file=sys.stderr, flush=True)
    return seconds, loads
