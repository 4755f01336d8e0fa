import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from lowres.metrics.paired import Resampling, difference, holm, interval, verdict

QUICK = Resampling(resamples=300)


def simulated(rng, subsets, seeds, items, *, gain=0.0, subset_sd=0.2, seed_sd=0.05):
    """Two methods whose runs vary with subset, seed and item and their interactions; of equal skill where gain is 0."""
    gold = rng.choice(3, items, p=[0.45, 0.1, 0.45])
    wrong = (gold + rng.integers(1, 3, items)) % 3
    difficulty = rng.normal(size=items)
    made = []
    for skill in (1.0 + gain, 1.0):
        margin = (
            skill
            + difficulty
            + subset_sd * rng.normal(size=(subsets, 1, 1))
            + seed_sd * rng.normal(size=(1, seeds, 1))
            + 0.5 * rng.normal(size=(subsets, 1, items))
            + 0.5 * rng.normal(size=(subsets, seeds, items))
        )
        made.append(np.where(margin > 0, gold, wrong))
    return made[0], made[1], gold


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(2, 4), st.integers(0, 999))
def test_means_are_scikit_learns(subsets, seeds, items, labels, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, labels, (2, subsets, seeds, items))
    gold = rng.integers(0, labels, items)

    def mean(runs, metric):
        if metric == "accuracy":
            return np.mean([accuracy_score(gold, run) for run in runs.reshape(-1, items)])
        options = {"labels": range(labels), "average": "macro", "zero_division": 0}
        return np.mean([f1_score(gold, run, **options) for run in runs.reshape(-1, items)])

    few = Resampling(resamples=3)
    for metric in ("macro_f1", "accuracy"):
        assert interval(a, gold, labels, metric=metric, resampling=few).mean == pytest.approx(mean(a, metric))
        found = difference(a, b, gold, labels, metric=metric, resampling=few)
        assert found.mean == pytest.approx(mean(a, metric) - mean(b, metric))


@pytest.mark.parametrize(("subsets", "seeds", "items"), [(3, 3, 200), (3, 3, 3000), (10, 3, 3000), (1, 3, 500)])
def test_intervals_cover_no_difference_about_as_often_as_they_say(subsets, seeds, items):
    """Nominal .95; of 100, fewer than 88 has a chance of .002. The crossed bootstrap covers .81 at 3 x 3 x 3000."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(100):
        sd = 0.0 if subsets == 1 else 0.2
        a, b, gold = simulated(rng, subsets, seeds, items, subset_sd=sd)
        found = difference(a, b, gold, 3, resampling=Resampling(resamples=100))
        covered += found.low <= 0 <= found.high
    assert covered >= 88


def test_with_few_subsets_the_bootstrap_alone_would_be_too_narrow():
    a, b, gold = simulated(np.random.default_rng(3), 3, 3, 2000)
    by_t = difference(a, b, gold, 3, resampling=QUICK)
    by_bootstrap = difference(a, b, gold, 3, resampling=Resampling(resamples=300, method="bootstrap"))
    assert (by_t.method, by_bootstrap.method) == ("t", "bootstrap")
    assert by_t.high - by_t.low > 1.5 * (by_bootstrap.high - by_bootstrap.low)


@pytest.mark.parametrize(
    ("shape", "method"), [((3, 1), "t"), ((1, 3), "t"), ((10, 3), "t"), ((10, 1), "bootstrap"), ((1, 1), "bootstrap")]
)
def test_the_method_follows_the_number_of_subsets_and_seeds(shape, method):
    a, _, gold = simulated(np.random.default_rng(0), *shape, 50)
    assert interval(a, gold, 3, resampling=QUICK).method == method


def test_pairing_takes_out_what_items_share():
    rng = np.random.default_rng(5)
    gold = rng.integers(0, 2, 600)
    a = np.where(rng.random(600) < 0.8, gold, 1 - gold)[None, None]
    b = a.copy()
    b[0, 0, :6] = 1 - b[0, 0, :6]
    paired, alone = difference(a, b, gold, 2, resampling=QUICK), interval(a, gold, 2, resampling=QUICK)
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_groups_are_resampled_whole():
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(20), 30)
    gold = rng.integers(0, 2, 600)
    a = np.where(np.repeat(rng.random(20) < 0.7, 30), gold, 1 - gold)[None, None]
    whole = interval(a, gold, 2, metric="accuracy", groups=groups, resampling=QUICK)
    parted = interval(a, gold, 2, metric="accuracy", resampling=QUICK)
    assert whole.high - whole.low > 3 * (parted.high - parted.low)


def test_equal_predictions_are_equivalent_without_a_doubt():
    a, _, gold = simulated(np.random.default_rng(0), 3, 3, 200)
    found = difference(a, a, gold, 3, resampling=QUICK)
    assert (found.mean, found.low, found.high, found.p_value, found.verdict) == (0, 0, 0, 1, "equivalent")


def test_a_large_gain_is_seen_and_turns_with_the_order():
    a, b, gold = simulated(np.random.default_rng(1), 10, 3, 1000, gain=0.6, subset_sd=0.05)
    found, turned = difference(a, b, gold, 3, resampling=QUICK), difference(b, a, gold, 3, resampling=QUICK)
    assert found.verdict == "better" and turned.verdict == "worse" and found.p_value < 0.01
    assert turned.mean == pytest.approx(-found.mean) and turned.low == pytest.approx(-found.high)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.009, 0.009, "equivalent"),
        (0.001, 0.009, "equivalent"),
        (0.001, 0.02, "better"),
        (-0.02, -0.001, "worse"),
        (-0.02, 0.001, "unresolved"),
        (-0.02, 0.02, "unresolved"),
    ],
)
def test_verdicts(low, high, expected):
    assert verdict(low, high, 0.01) == expected


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1] and holm([]) == []


def test_the_seed_decides_the_resampling():
    a, b, gold = simulated(np.random.default_rng(2), 10, 1, 300)
    first, again, other = (difference(a, b, gold, 3, resampling=Resampling(300, seed=seed)) for seed in (0, 0, 1))
    assert first == again and first.low != other.low


def test_shapes_that_do_not_fit_are_refused():
    a, gold = np.zeros((3, 3, 10), int), np.zeros(10, int)
    for bad in (a[0], np.zeros((3, 2, 10), int), np.zeros((3, 3, 9), int)):
        with pytest.raises(ValueError, match=r"\(subsets, seeds, items\)"):
            difference(a, bad, gold, 2)


def test_an_interval_of_few_and_far_subsets_stays_between_0_and_1():
    gold = np.arange(40) % 2
    predicted = np.stack([gold, 1 - gold])[:, None, :]
    found = interval(predicted, gold, 2)
    assert (found.low, found.high) == (0.0, 1.0)
