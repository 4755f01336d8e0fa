import numpy as np
import pytest

from lowres.training.head import LogisticHead, dev_scores, fit_head, softmax


def clouds(count, seed, labels=3, spread=1.0):
    """Points around one centre a label, on features of very different scale; (features, gold)."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((labels, 8))
    gold = np.arange(count) % labels
    points = (centres[gold] + spread * draw.standard_normal((count, 8))) * 10.0 ** np.arange(-4, 4)
    return points.astype(np.float32), gold


def test_it_learns_whatever_the_scale_of_the_features():
    head = fit_head(*clouds(150, 1, spread=0.3), *clouds(60, 2, spread=0.3), labels=3)
    features, gold = clouds(90, 3, spread=0.3)
    probabilities = head.predict_proba(features)
    assert (probabilities.argmax(1) == gold).mean() > 0.95
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert probabilities.dtype == np.float32


def test_c_is_the_best_on_dev_and_every_trial_is_kept():
    head = fit_head(*clouds(60, 1, spread=2.0), *clouds(60, 2, spread=2.0), labels=3, grid=(1.0, 0.001, 0.03))
    assert [c for c, _, _ in head.trials] == [0.001, 0.03, 1.0]
    best = max(head.trials, key=lambda trial: (trial[1], -trial[2], -trial[0]))
    assert head.c == best[0]
    assert dev_scores(head.predict_proba(clouds(60, 2, spread=2.0)[0]), clouds(60, 2)[1]) == pytest.approx(best[1:])


def test_it_reads_back_as_it_was_written(tmp_path):
    head = fit_head(*clouds(60, 1), *clouds(30, 2), labels=3)
    head.save(tmp_path)
    read = LogisticHead.load(tmp_path)
    np.testing.assert_array_equal(read.predict_proba(clouds(9, 3)[0]), head.predict_proba(clouds(9, 3)[0]))
    assert (read.c, read.trials) == (head.c, head.trials)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.json", "head.safetensors"]


@pytest.mark.parametrize("present", [[0, 2], [1]])
def test_a_label_without_texts_is_never_predicted(present):
    features, gold = clouds(90, 1, spread=0.3)
    kept = np.isin(gold, present)
    head = fit_head(features[kept], gold[kept], *clouds(30, 2), labels=3)
    probabilities = head.predict_proba(clouds(60, 3)[0])
    assert np.isfinite(probabilities).all()
    assert set(probabilities.argmax(1)) <= set(present)
    if len(present) == 2:
        own = np.isin(clouds(60, 3)[1], present)
        assert (probabilities.argmax(1) == clouds(60, 3, spread=0.3)[1])[own].mean() > 0.7


def test_without_dev_texts_and_with_a_constant_feature():
    features, gold = clouds(60, 1, spread=0.3)
    features[:, 3] = 7.0
    empty = np.zeros((0, 8), np.float32), np.zeros(0, np.int64)
    head = fit_head(features, gold, *empty, labels=3)
    assert head.c == 0.01 and head.trials == ()
    assert np.isfinite(head.predict_proba(features)).all()


def test_softmax_bears_large_scores():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0, -1000.0]])), [[0.5, 0.5, 0.0]])
