from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowres.families.gptj import moments
from lowres.families.gptj.config import Config
from lowres.families.gptj.data import Rows, Stream
from lowres.families.gptj.model import init
from lowres.families.gptj.train import Hyper, State, applied, lm_loss, load_state, save_state

CONFIG = Config(vocab_size=50, n_ctx=8, n_layer=1, n_embd=16, n_head=2, rotary_dim=4)
ROWS = Rows(Stream(np.tile(np.arange(2, 40), 20), 8), 8, 7)
HYPER = Hyper(0.1, 0.99, 1e-4, 0.0, True, "float32")


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_mean_comes_back_within_a_hundredth_of_its_blocks_largest(axis):
    drawn = np.random.default_rng(0).standard_normal((2, 256, 384)).astype(np.float32)
    coded = jax.jit(moments.encoded_mean, static_argnums=1)(drawn, axis)
    assert coded.codes.shape == drawn.shape and coded.codes.dtype == jnp.int8
    assert coded.scales.shape == ((2, 256, 3) if axis == -1 else (2, 2, 384))
    error = np.abs(np.asarray(jax.jit(moments.of_mean, static_argnums=1)(coded, axis)) - drawn)
    assert error.max() < 0.01 * np.abs(drawn).max()
    small = np.abs(drawn) < 0.01
    assert error[small].max() < 0.004, "roots: small numbers err less"


def test_a_mean_square_is_kept_over_many_steps_though_each_changes_it_little():
    steps, kept = 4000, 0.999
    drawn = np.random.default_rng(1).lognormal(0, 2, (1, 1, 128)).astype(np.float32)

    def step(coded, count):
        square = kept * moments.of_square(coded, -1) + (1 - kept) * drawn
        return moments.encoded_square(square, -1, count), None

    @jax.jit
    def after(start):
        coded, _ = jax.lax.scan(step, moments.encoded_square(start, -1, 0), jnp.arange(steps))
        return coded.codes, moments.of_square(coded, -1) / drawn

    codes, ratio = map(np.asarray, after(np.zeros((1, 1, 128), np.float32)))
    ratio = ratio / (1 - kept**steps)
    assert codes.dtype == np.uint8
    assert np.abs(ratio - 1)[np.asarray(drawn) > 1e-3 * drawn.max()].max() < 0.1
    assert ratio.min() > 0.5
    assert abs(np.median(ratio) - 1) < 0.02


def test_a_block_of_zeros_stays_zero_and_others_never_reach_it():
    x = np.zeros((1, 2, 128), np.float32)
    x[0, 1, 3] = 1
    coded = jax.jit(moments.encoded_square, static_argnums=1)(x, -1, 1)
    codes = np.asarray(coded.codes)
    assert not codes[0, 0].any() and not np.asarray(coded.scales)[0, 0].any()
    assert codes[0, 1].min() == 1 and codes[0, 1, 3] == 255


@jax.jit
def slopes(trained, rows):
    """Of the layers' matrices alone, between large embeddings: whatever is learnt, coded moments have moved it."""
    frozen = {name: 20 * array if name in ("wte", "head") else array for name, array in init(CONFIG, 0).items()}
    return jax.value_and_grad(lambda own: lm_loss(frozen | own, rows, 2, CONFIG, HYPER, None))(trained)


def losses(kind, steps=60):
    chain = replace(HYPER, moments=kind).optimiser()
    trained = {name: array for name, array in init(CONFIG, 0).items() if name in moments.AXES}
    state, found = State(trained, jax.jit(chain.init)(trained)), []
    step_of = jax.jit(lambda state, gradients: applied(state, gradients, dict.fromkeys(trained, 1e-2), chain))
    for step in range(steps):
        loss, gradients = slopes(state.params, ROWS.batch(step % 5))
        state = step_of(state, gradients)
        found.append(float(loss))
    return np.array(found), state


def test_a_training_learns_as_with_float32_moments(tmp_path):
    (exact, of_exact), (coded, of_coded) = losses("float32"), losses("int8")
    assert exact[-1] < 0.3 * exact[0]
    np.testing.assert_allclose(coded, exact, atol=0.002 * exact[0], rtol=0)
    assert (coded != exact).any()
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(state.moments)) for state in (of_coded, of_exact)]
    assert sizes[0] < 0.35 * sizes[1]
    save_state(tmp_path, of_coded)
    read = load_state(tmp_path, of_coded)
    for saved, leaf in zip(jax.tree.leaves(read), jax.tree.leaves(of_coded), strict=True):
        assert saved.dtype == leaf.dtype
        np.testing.assert_array_equal(saved, leaf)


def test_embeddings_and_biases_keep_float32():
    found = jax.eval_shape(replace(HYPER, moments="int8").optimiser().init, init(CONFIG, 0))
    mean = found[1].mean
    assert {name for name, array in mean.items() if isinstance(array, moments.Coded)} == set(moments.AXES)
