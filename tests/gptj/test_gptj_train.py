from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowres.errors import NotFinite, Stopped
from lowres.families.gptj import train
from lowres.families.gptj.data import Rows, Stream
from lowres.families.gptj.model import Config, hidden, init, logits
from lowres.families.gptj.settings import PretrainSpec

CONFIG = Config(vocab_size=50, n_ctx=16, n_layer=2, n_embd=16, n_head=2, rotary_dim=8)
SPEC = PretrainSpec(
    n_layer=2, n_embd=16, n_head=2, rotary_dim=8, n_ctx=16, batch_size=8, epochs=4.0, lr=1e-2, dropout=0.1, seed=7
)
STREAM = np.tile(np.arange(2, 40), 60)
BOS = 2


@partial(jax.jit, static_argnums=2)
def plain_loss(params, rows, z_loss):
    """The loss as its definition reads, all logits at once."""
    inputs, targets = rows[:, :-1], rows[:, 1:]
    there = (inputs >= 0) & (targets >= 0)
    segments = jnp.where(inputs >= 0, jnp.cumsum(inputs == BOS, axis=1), -1)
    scores = logits(params, hidden(params, jnp.maximum(inputs, 0), CONFIG, segments))
    log_z = jax.nn.logsumexp(scores, axis=-1)
    hit = jnp.take_along_axis(scores, jnp.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(there, log_z - hit + z_loss * log_z**2, 0).sum() / there.sum()


def some_rows():
    rows = np.random.default_rng(0).integers(0, 50, (8, 17)).astype(np.int32)
    rows[1, 9:] = -1
    return rows


def some_params():
    return {name: 5 * np.asarray(array) for name, array in init(CONFIG, 1).items()}


def test_loss_and_gradients_agree_with_the_plain_definition(monkeypatch):
    monkeypatch.setattr(train, "HEAD_ROWS", 24)  # several pieces, the last one not full
    hyper = train.Hyper(0.0, 0.99, 0.01, 0.0, True, "float32")
    loss = partial(train.lm_loss, bos_id=BOS, config=CONFIG, hyper=hyper, key=None)
    ours, our_slopes = jax.jit(jax.value_and_grad(loss))(some_params(), some_rows())
    plain, slopes = jax.value_and_grad(plain_loss)(some_params(), some_rows(), 0.01)
    np.testing.assert_allclose(ours, plain, rtol=1e-5)
    for name, slope in slopes.items():
        np.testing.assert_allclose(our_slopes[name], slope, rtol=1e-3, atol=1e-6, err_msg=name)
        assert np.abs(np.asarray(slope)).max() > 1e-4, name


def test_token_nats_sum_to_the_loss():
    rows = some_rows()
    nats = np.asarray(train.token_nats(some_params(), rows, BOS, CONFIG))
    there = (rows[:, :-1] >= 0) & (rows[:, 1:] >= 0)
    assert (nats[~there] == 0).all()
    np.testing.assert_allclose(nats.sum() / there.sum(), plain_loss(some_params(), rows, 0.0), rtol=1e-5)


def test_weight_decay_shrinks_matrices_and_nothing_else():
    params = {name: np.ones(array.shape, np.float32) for name, array in init(CONFIG, 0).items()}
    state = train.State(params, train.optimiser(0.5, 0.99).init(params))
    still = {name: 0 * array for name, array in params.items()}
    rates = dict.fromkeys(params, 0.1)
    chain = train.optimiser(0.5, 0.99)
    after = jax.jit(lambda state: train.applied(state, still, rates, chain))(state).params
    shrunk = {name for name in params if float(jnp.max(after[name])) < 1}
    assert shrunk == {"wte", "q", "k", "v", "out", "fc_in", "fc_out", "head"}
    np.testing.assert_allclose(after["wte"], 0.95, rtol=1e-6)


def test_the_rate_rises_and_falls():
    rates = [train.learning_rate(step, 100, 1.0, 0.1, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0) and rates[99] == pytest.approx(0.1)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_training_learns_the_stream(new_run):
    run = new_run()
    params, loss = train.train_lm(init(CONFIG, 0), Rows(Stream(STREAM, 16), 8, 7), CONFIG, BOS, SPEC, run)
    assert loss < np.log(50) - 1
    seen = train.mean_nats(params, Rows(Stream(STREAM, 16), 8, 1).batch(0), CONFIG, BOS, 8)
    assert seen < np.log(50) - 1


def test_a_stopped_run_goes_on_to_the_same_weights(new_run):
    rows = Rows(Stream(STREAM, 16), 8, 7)
    whole, loss = train.train_lm(init(CONFIG, 0), rows, CONFIG, BOS, SPEC, new_run("whole"))
    steps = []
    stopped = new_run("stopped", on_progress=lambda done, *_: steps.append(done), stop_requested=lambda: len(steps) > 9)
    with pytest.raises(Stopped):
        train.train_lm(init(CONFIG, 0), rows, CONFIG, BOS, SPEC, stopped)
    seen = []
    again = new_run("stopped", on_progress=lambda done, *_: seen.append(done))
    resumed, same_loss = train.train_lm(init(CONFIG, 0), rows, CONFIG, BOS, SPEC, again)
    assert steps[-1] == seen[0] == 9, "it went on where it was"
    assert same_loss == loss
    for name, array in whole.items():
        np.testing.assert_array_equal(np.asarray(resumed[name]), np.asarray(array), err_msg=name)


def test_a_loss_that_is_no_number_ends_training(new_run):
    broken = init(CONFIG, 0) | {"head_bias": np.full(50, np.nan, np.float32)}
    with pytest.raises(NotFinite, match="lower lr"):
        train.train_lm(broken, Rows(Stream(STREAM, 16), 8, 7), CONFIG, BOS, SPEC, new_run())
