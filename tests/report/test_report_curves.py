import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from fabricated_run import TASK

from lowres.metrics.paired import Interval
from lowres.report.curves import Curve, curves_of, describe, draw, far_below, save_png, spread, svg
from lowres.report.summary import Summary


def curve(place: int, *means: float) -> Curve:
    scores = tuple(Interval(mean, mean - 0.02, mean + 0.02, "t") for mean in means)
    return Curve(f"m{place}", place, tuple(10 ** (k + 2) for k in range(len(means))), scores)


def test_a_size_without_a_mean_is_no_point(summary: Summary) -> None:
    found = {one.method: one for one in curves_of(summary, TASK, "macro_f1")}
    assert found["multifit"].labels == (100, 1000, 11_426)
    assert found["gptj-scratch"].labels == (100, 11_426)
    assert [found[name].place for name in ("majority", "gptj-scratch")] == [0, 4]


def test_svg_is_whole_self_contained_and_repeatable(summary: Summary) -> None:
    words = describe(summary, TASK, "macro_f1") + ' <&">'
    texts = []
    for _ in range(2):
        figure = draw(summary, TASK, "macro_f1")
        assert figure is not None
        texts.append(svg(figure, "figure7", words))
    assert texts[0] == texts[1]
    root = ElementTree.fromstring(texts[0])
    assert root.get("aria-label") == words
    ids = re.findall(r'\bid="([^"]*)"', texts[0])
    assert len(ids) == len(set(ids)) and all(name.startswith("figure7-") for name in ids)
    for target in re.findall(r'(?:url\(#|href="#)([^)"]*)', texts[0]):
        assert target in ids
    assert "multifit-random" in texts[0]  # text stays text
    assert "var(--series-2, #009e73)" in texts[0] and "var(--ink" in texts[0]
    assert not re.search(r'(src|href)="(?!#)', texts[0])


def test_png(summary: Summary, tmp_path: Path) -> None:
    figure = draw(summary, TASK, "accuracy")
    assert figure is not None
    save_png(figure, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_a_task_without_means_has_no_figure(summary: Summary) -> None:
    assert draw(summary, "another/task", "macro_f1") is None


def test_spread_keeps_order_and_distance() -> None:
    heights = [0.80, 0.81, 0.805, 0.2]
    moved = spread(heights, 0.05)
    assert np.argsort(moved).tolist() == np.argsort(heights).tolist()
    assert np.diff(np.sort(moved)).min() >= 0.05 - 1e-9
    assert moved[3] == 0.2
    assert np.mean(moved[:3]) == pytest.approx(np.mean(heights[:3]))


def test_only_what_lies_far_below_is_named_under_the_axis() -> None:
    majority, good, better = curve(0, 0.2, 0.2), curve(1, 0.6, 0.7), curve(2, 0.65, 0.75)
    assert far_below([majority, good, better]) == ([good, better], [majority])
    near = curve(0, 0.5, 0.55)
    assert far_below([near, good, better]) == ([near, good, better], [])
    assert far_below([majority, good]) == ([majority, good], [])
