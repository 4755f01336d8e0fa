"""Learning curves: a score against the number of labels, with intervals, as SVG for the page and as PNG.

Figures are made without pyplot, so nothing global changes. In SVG every colour is a CSS variable with the light value
as its fallback: the page decides for light and dark.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lowres.metrics.paired import Interval
from lowres.report import format as fmt
from lowres.report.summary import Summary
from lowres.report.tables import METRIC_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# After Okabe and Ito's eight for colour-blind readers, yellow and purple darkened to be legible as text and grey for
# black; the second value of each is for a dark ground.
PALETTE = (
    ("#0072b2", "#5aa9e6"),
    ("#d55e00", "#f08a4b"),
    ("#009e73", "#3fcf9f"),
    ("#b2488b", "#dd8fc0"),
    ("#8a6d00", "#e0b93a"),
    ("#3a8fb7", "#8ad3f5"),
    ("#6b6b6b", "#b4b4b4"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT = "#222222", "#cccccc"
_WIDTH, _HEIGHT = 4.9, 3.5
_LABEL_GAP = 0.066  # of the axis's height: least distance of two labels at 9 points
_LONGEST_NAME = 24


@dataclass(frozen=True)
class Curve:
    """One method: labels (points,) used, and its interval at each. place: of the method in the recipe, which settles
    its colour and marker in every figure of a report.
    """

    method: str
    place: int
    labels: tuple[int, ...]
    scores: tuple[Interval, ...]


def curves_of(summary: Summary, task: str, metric: str) -> list[Curve]:
    """The curves of one task; points without a mean (cells are missing) are left out."""
    found = []
    for place, method in enumerate(summary.results.methods):
        points = [
            (score.labels_used, score.mean)
            for score in summary.scores
            if (score.task, score.method, score.metric) == (task, method, metric) and score.mean and score.labels_used
        ]
        if points:
            points.sort(key=lambda point: point[0])
            found.append(Curve(method, place, tuple(p[0] for p in points), tuple(p[1] for p in points)))
    return found


def draw(summary: Summary, task: str, metric: str) -> "Figure | None":
    """The figure of one task and metric, or None where no method has a mean.

    One train size: intervals in rows, a row a method. Several: curves over a logarithmic axis of labels; a method that
    lies far below all others (the majority class, as a rule) is named under the axis instead of flattening the rest.
    """
    from matplotlib.figure import Figure

    curves = curves_of(summary, task, metric)
    if not curves:
        return None
    sizes = sorted({labels for curve in curves for labels in curve.labels})
    height = _HEIGHT if len(sizes) > 1 else max(0.9 + 0.32 * len(curves), 1.6)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    _style(axes)
    if len(sizes) > 1:
        drawn, below = far_below(curves)
        _draw_curves(axes, drawn, sizes)
        has_full = "full" in summary.results.train_sizes(task)
        _name_sizes(axes, sizes, summary.labels_used(task, "full") if has_full else None, below)
        axes.set_ylabel(METRIC_NAMES[metric], color=INK)
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
    else:
        _draw_rows(axes, curves)
        axes.set_xlabel(f"{METRIC_NAMES[metric]} with {sizes[0]:,} labels", color=INK)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
    return figure


def far_below(curves: Sequence[Curve]) -> tuple[list[Curve], list[Curve]]:
    """(curves to draw, curves under the axis): below is a curve under all others by more than half their range."""
    drawn, below = list(curves), []
    while len(drawn) > 2:
        lowest = min(drawn, key=lambda curve: max(score.high for score in curve.scores))
        others = [score for curve in drawn if curve is not lowest for score in curve.scores]
        floor, ceiling = min(score.low for score in others), max(score.high for score in others)
        if floor - max(score.high for score in lowest.scores) < 0.5 * (ceiling - floor):
            break
        drawn.remove(lowest)
        below.append(lowest)
    return drawn, below


def _style(axes: "Axes") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, color=FAINT)
    axes.set_axisbelow(True)


def _draw_curves(axes: "Axes", curves: Sequence[Curve], sizes: Sequence[int]) -> None:
    """Lines with bands and bars. Bars stand side by side, so none hides another; lines break at a missing mean."""
    axes.set_xscale("log")
    step = 0.012 * np.log(sizes[-1] / sizes[0])
    for k, curve in enumerate(curves):
        colour, marker = _look(curve)
        at = np.array(sizes) * np.exp(step * (k - (len(curves) - 1) / 2))
        scores = dict(zip(curve.labels, curve.scores, strict=True))
        value, low, high = (
            np.array([getattr(scores[n], name) if n in scores else np.nan for n in sizes])
            for name in ("mean", "low", "high")
        )
        axes.fill_between(at, low, high, color=colour, alpha=0.09, linewidth=0)
        axes.vlines(at, low, high, color=colour, linewidth=1.1)
        axes.plot(at, value, color=colour, marker=marker, markersize=5, linewidth=1.6)
    bottom, top = axes.get_ylim()
    heights = spread([curve.scores[-1].mean for curve in curves], _LABEL_GAP * (top - bottom))
    axes.set_ylim(min(bottom, *heights), max(top, *heights))
    edge = sizes[-1] * np.exp(step * (len(curves) + 9) / 2)
    for curve, height in zip(curves, heights, strict=True):
        colour, last = _look(curve)[0], curve.labels[-1] * np.exp(step * len(curves) / 2)
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            _short(curve.method),
            xy=(last, curve.scores[-1].mean),
            xytext=(edge, height),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops=leader,
        )


def _name_sizes(axes: "Axes", sizes: Sequence[int], full: int | None, below: Sequence[Curve]) -> None:
    """Ticks at the train sizes themselves; under them, what lies below the axis."""
    axes.set_xticks(sizes, [f"all\n{size:,}" if size == full else f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    label = "Training labels"
    for curve in below:
        values = sorted({fmt.score(score.mean) for score in curve.scores})
        label += f"\nbelow: {_short(curve.method)} {values[0]}" + (f" to {values[-1]}" if len(values) > 1 else "")
    axes.set_xlabel(label, color=INK)


def _look(curve: Curve) -> tuple[str, str]:
    """Colour and marker of a method, the same in every figure; beyond the palette the pairs differ in the marker."""
    turn = curve.place // len(PALETTE)
    return PALETTE[curve.place % len(PALETTE)][0], MARKERS[(curve.place + turn) % len(MARKERS)]


def _short(method: str) -> str:
    return method if len(method) <= _LONGEST_NAME else method[: _LONGEST_NAME - 1] + "…"


def _draw_rows(axes: "Axes", curves: Sequence[Curve]) -> None:
    """One row a method, the first on top."""
    for row, curve in enumerate(curves):
        colour, marker = _look(curve)
        score = curve.scores[0]
        axes.hlines(row, score.low, score.high, color=colour, linewidth=1.8)
        axes.plot([score.mean], [row], marker, color=colour, markersize=7)
    axes.set_yticks(range(len(curves)), [_short(curve.method) for curve in curves])
    axes.set_ylim(len(curves) - 0.5, -0.5)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved apart until neighbours are `gap` from each other, their order kept and each group's middle held."""
    order = np.argsort(np.asarray(heights), kind="stable")
    groups: list[list[int]] = []
    centres: list[float] = []
    for place in order:
        groups.append([int(place)])
        centres.append(float(heights[place]))
        while len(groups) > 1:
            need = gap * (len(groups[-1]) + len(groups[-2])) / 2
            if centres[-1] - centres[-2] >= need - 1e-12:
                break
            last, centre = groups.pop(), centres.pop()
            total = len(groups[-1]) + len(last)
            centres[-1] = (centres[-1] * len(groups[-1]) + centre * len(last)) / total
            groups[-1] += last
    moved = [0.0] * len(heights)
    for group, centre in zip(groups, centres, strict=True):
        for k, place in enumerate(group):
            moved[place] = centre + gap * (k - (len(group) - 1) / 2)
    return moved


def svg(figure: "Figure", name: str, description: str) -> str:
    """The figure as an inline `<svg>`: text stays text, ids begin with `name`, colours are CSS variables.

    The same figure gives the same bytes. description: for readers who do not see it (escaped here).
    """
    import html

    from matplotlib import rc_context

    stream = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    for k, (light, _) in enumerate(PALETTE):
        text = text.replace(light, f"var(--series-{k}, {light})")
    text = text.replace(INK, f"var(--ink, {INK})").replace(FAINT, f"var(--faint, {FAINT})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(description)}" ', 1)


def save_png(figure: "Figure", path: Path, dpi: int = 150) -> None:
    """The figure as a PNG on white."""
    figure.savefig(path, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})


def describe(summary: Summary, task: str, metric: str) -> str:
    """The figure in words: every point."""
    lines = []
    for curve in curves_of(summary, task, metric):
        points = zip(curve.labels, curve.scores, strict=True)
        lines.append(f"{curve.method}: " + ", ".join(f"{fmt.score(s.mean)} at {n:,}" for n, s in points))
    return f"{METRIC_NAMES[metric]} on {task} against training labels. " + "; ".join(lines)
