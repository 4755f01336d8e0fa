"""What devices send each other in a step, counted in the compiled program's text, loops as often as they turn."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

_KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_CALL = re.compile(rf" = (.*?) ({_KINDS})(-start)?\(")
_LOOP = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_CALLED = re.compile(r"(?:calls|to_apply|branch_computations)=\{?%?([\w.\-]+(?:, ?%[\w.\-]+)*)")
_TURNS = re.compile(r'known_trip_count"?:\{"n":"(\d+)"')
_ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16|f8\w+)\[([\d,]*)\]")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED = re.compile(r"replica_groups=\[(\d+),(\d+)\]")
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}")


@dataclass(frozen=True)
class Collective:
    """A kind of them: how many a step, and the bytes that a device receives by them."""

    kind: str
    times: int
    bytes: float


def collectives(text: str) -> list[Collective]:
    """Those of a compiled program, by kind."""
    bodies, entry = _computations(text)
    found: dict[str, list[float]] = {}
    for kind, times, received in _walked(bodies, entry, 1):
        total = found.setdefault(kind, [0, 0.0])
        total[0] += times
        total[1] += times * received
    return [Collective(kind, int(times), size) for kind, (times, size) in sorted(found.items())]


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """(name -> lines, name of the one that is run)."""
    bodies: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            lines = bodies.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        else:
            lines.append(line)
    return bodies, entry


def _walked(bodies: dict[str, list[str]], name: str, times: int) -> Iterator[tuple[str, int, float]]:
    """(kind, times, bytes received each time) of a computation and all that it calls."""
    for line in bodies.get(name, ()):
        if loop := _LOOP.search(line):
            turns = _TURNS.search(line)
            count = int(turns[1]) if turns else _turns(bodies, loop[1])
            yield from _walked(bodies, loop[2], times * count)
        elif call := _CALL.search(line):
            yield call[2], times, _received(call[2], call[1], bool(call[3]), _group(line))
        elif called := _CALLED.search(line):
            for one in called[1].replace("%", "").split(","):
                yield from _walked(bodies, one.strip(), times)


def _turns(bodies: dict[str, list[str]], condition: str) -> int:
    """How often a loop turns that counts from 0: the constant that its condition compares with."""
    numbers = re.findall(r"s32\[\]\S* constant\((\d+)\)", "\n".join(bodies.get(condition, ())))
    return max(map(int, numbers), default=1)


def _received(kind: str, result: str, started: bool, group: int) -> float:
    """Bytes that a device receives, of the result's type; in a ring for all-reduce and reduce-scatter."""
    sizes = [_size(*array) for array in _ARRAY.findall(result)]
    whole = max(sizes, default=0) if started and kind != "all-reduce" else sum(sizes)
    share = (group - 1) / group
    return {"all-reduce": 2 * share, "reduce-scatter": group - 1, "collective-permute": 1}.get(kind, share) * whole


def _size(kind: str, dims: str) -> int:
    bits = 8 if kind == "pred" else int(re.findall(r"\d+", kind)[0])
    return math.prod(int(dim) for dim in dims.split(",") if dim) * bits // 8


def _group(line: str) -> int:
    """How many devices take part in one."""
    if listed := _LISTED.search(line):
        return listed[1].count(",") + 1
    if counted := _COUNTED.search(line):
        return int(counted[2])
    if named := _NAMED.search(line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", named[2]))
    return 2
