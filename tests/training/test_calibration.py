import numpy as np
import pytest

from lowres.metrics.classification import calibration_error
from lowres.training.calibration import fit_temperature, tempered


def _stated(temperature: float, items: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose logarithms were multiplied by `temperature`, and labels drawn from the true ones."""
    draw = np.random.default_rng(0)
    true = draw.dirichlet([1.0, 1.0, 1.0], items)
    gold = (true.cumsum(1) > draw.random(items)[:, None]).argmax(1)
    return tempered(true, 1 / temperature), gold


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found_and_calibrates(temperature):
    probabilities, gold = _stated(temperature)
    found = fit_temperature(probabilities, gold)
    assert found == pytest.approx(temperature, rel=0.08)
    after = tempered(probabilities, found)
    assert calibration_error(gold, after) < 0.03
    assert (after.argmax(1) == probabilities.argmax(1)).all()
    assert after.sum(1) == pytest.approx(np.ones(len(gold)))


def test_few_labels_that_are_all_right_do_not_drive_it_to_an_end():
    sure = np.full((8, 2), [0.9, 0.1])
    assert 0.3 < fit_temperature(sure, np.zeros(8, int)) < 1
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, int)) == 1.0
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert 1 < fit_temperature(certain, np.array([0, 1])) <= 10
    assert np.isfinite(tempered(certain, 3.0)).all()


def test_the_calibration_error_is_the_one_worked_out_by_hand():
    # bins of .5-.6 (one item, right, stated .6) and .9-1 (two items, stated .9 and 1, one right)
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.0, 1.0]])
    gold = np.array([0, 1, 1])
    assert calibration_error(gold, probabilities, bins=10) == pytest.approx((0.4 + abs(1 - 1.0 + 0 - 0.9)) / 3)
    assert calibration_error(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]])) == 0
