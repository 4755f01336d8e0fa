"""The tables of a benchmark of extraction, and what was asked for beside what was measured."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from wikitext_process import MB, Measured
from wikitext_quality import MARKS


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def _speed_tables(speed: dict[str, Measured]) -> str:
    builds = {name: measured for name, measured in speed.items() if "build" in name}
    rows = []
    for name, each in builds.items():
        stage_walls, stage_cpus = ([stage[which] for stage in each.stages] for which in (0, 1))
        what = name.replace("build ", "") + (" worker" if name.endswith(" 1") else " workers")
        peaks = " / ".join(f"{each.peak(role):.0f}" for role in ("driver", "stage", "worker"))
        for label, walls, cpus in (("command", each.walls(), each.cpus()), ("stage", stage_walls, stage_cpus)):
            rate = f"{each.rate(walls):.1f}"
            rows.append([f"{what}, {label}", f"{each.xml_bytes / MB:.1f}", _spread(walls), _spread(cpus), rate, peaks])
    head = ["lowres, bz2 to Parquet", "MB of XML", "wall s", "CPU s", "MB/s", "peak MB: driver / stage / worker"]
    text = _table(head, rows) + "\n"
    rows = []
    for tool in (name for name in speed if name not in builds):
        each, net = speed[tool], [cpu for _, cpu in speed[tool].stages]
        times = [f"{_times(speed, tool, net):.2f}" for net in (False, True)]
        rates = [f"{each.rate(each.cpus()):.1f}", f"{each.rate(net):.1f}", *times]
        rows.append([tool, _spread(each.walls()), _spread(each.cpus()), *rates, f"{each.peak('process'):.0f}"])
    size = speed["lowres"].xml_bytes / MB
    head = [f"articles ({size:.1f} MB of XML) to text", "wall s", "CPU s", "MB/CPU s", "MB/CPU s, start left out"]
    head += ["lowres is times as fast", "start left out", "peak MB"]
    return text + _table(head, rows)


def _times(speed: dict[str, Measured], tool: str, net: bool) -> float:
    """How many times as fast as `tool` lowres is, by CPU seconds of one core. net: without what starting them costs."""
    theirs, ours = (
        statistics.median([cpu for _, cpu in each.stages] if net else each.cpus())
        for each in (speed[tool], speed["lowres"])
    )
    return theirs / ours


def _quality_tables(quality: dict[str, Any]) -> str:
    rows = [
        [
            tool,
            f"{each['characters']:,}",
            *(f"{each['left_over'][mark]:.3f}" for mark in MARKS),
            f"{each['bars_of_markup']:.3f}",
        ]
        for tool, each in quality.items()
    ]
    text = _table(["left over per 1,000", "characters", *(f"`{mark}`" for mark in MARKS), "`|` of markup"], rows) + "\n"
    references = list(quality["lowres"]["recall"])
    kinds = ("convert", "lang", "nowrap", "all")
    rows = [
        [tool, *(f"{_decimal(each['recall'][which][0])} of {each['recall'][which][1]:,}" for which in references)]
        + ["{} of {}".format(*each["inline"].get(kind, (0, 0))) for kind in kinds]
        for tool, each in quality.items()
    ]
    head = ["recall", *(f"4-grams that {which}" for which in references)]
    return text + _table([*head, *(f"inline: {kind}" for kind in kinds)], rows)


def _decimal(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def targets(speed: dict[str, Measured], quality: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(what, target, measured, met or not) of what the project asks of its extraction."""
    found: list[tuple[str, str, str, str]] = []

    def add(what: str, target: float, value: float, least: bool = True, form: str = ".2f") -> None:
        met = value >= target if least else value <= target
        verdict = "not measured" if math.isnan(value) else "met" if met else "not met"
        found.append((what, f"{'>=' if least else '<='} {target:g}", format(value, form), verdict))

    for label in ("", "repeated "):
        one, two = speed.get(f"{label}build 1"), speed.get(f"{label}build 2")
        if one:
            add(f"{label}MB/s on one core, whole command", 15, one.rate(one.walls()))
            add(f"{label}MB/s on one core, stage alone", 15, one.rate([wall for wall, _ in one.stages]))
        if one and two:
            add(f"{label}times as fast on two, whole command", 1.8, two.rate(two.walls()) / one.rate(one.walls()))
            walls = [[wall for wall, _ in each.stages] for each in (two, one)]
            add(f"{label}times as fast on two, stage alone", 1.8, two.rate(walls[0]) / one.rate(walls[1]))
        peaks = [each.peak("stage", "worker") for each in (one, two) if each]
        if peaks:
            add(f"{label}peak MB of a worker or the stage", 150, max(peaks), least=False, form=".0f")
    for peer, target in (("wikiextractor", 2), ("mwparserfromhell", 6)):
        for net, label in ((False, "whole command"), (True, "start left out")):
            times = _times(speed, peer, net) if peer in speed else math.nan
            add(f"times as fast as {peer} on one core, {label}", target, times)
    mine = quality["lowres"]
    left = {**mine["left_over"], "|": mine["bars_of_markup"]}  # a bar that a page shows as text is no markup
    worst = max(left, key=left.__getitem__)
    add(f"left over per 1,000, the worst mark (`{worst}`)", 0.02, left[worst], least=False, form=".3f")
    for which, (value, _) in mine["recall"].items():
        add(f"recall of 4-grams that {which}", 0.98, value, form=".3f")
    kept, wanted = mine["inline"].get("all", (0, 0))
    add("share of inline templates that keep their text", 0.95, kept / wanted if wanted else math.nan, form=".3f")
    return found


def told(name: str, speed: dict[str, Measured], quality: dict[str, Any]) -> str:
    """The tables of one dump in Markdown."""
    rows = targets(speed, quality)
    parts = [f"## {name}\n", _table(["target", "asked", "measured", "verdict"], rows)]
    if speed:
        parts.append(_speed_tables(speed))
    return "\n".join([*parts, _quality_tables(quality)])
