from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowres.families.gptj import int8, lora
from lowres.families.gptj.model import Config, hidden, init, logits
from lowres.families.gptj.settings import Lora

CONFIG = Config(vocab_size=320, n_ctx=32, n_layer=2, n_embd=128, n_head=4, rotary_dim=8)
ROWS = np.random.default_rng(0).integers(0, 320, (2, 33))


@pytest.fixture(scope="module")
def params():
    return {name: np.asarray(array) * (2 if array.ndim > 1 else 1) for name, array in init(CONFIG, 0).items()}


@partial(jax.jit, static_argnames=("dtype",))
def our_logits(params, dtype="float32"):
    return logits(params, hidden(params, ROWS[:, :-1], CONFIG, dtype=jnp.dtype(dtype)))


def relative(error, of):
    return float(np.sqrt(np.mean(np.square(error)) / np.mean(np.square(of))))


@pytest.mark.parametrize(("block", "most"), [(64, 0.0062), (128, 0.0069)])
def test_rounding_errs_as_little_as_is_known_of_gaussian_weights(params, block, most):
    stored = int8.quantise(params, block)
    whole = int8.whole(stored)
    assert whole.keys() == params.keys()
    for name in ("q", "fc_out", "wte", "head"):
        assert 0.8 * most < relative(whole[name] - params[name], params[name]) < most, name
    assert all((np.asarray(whole[name]) == params[name]).all() for name in ("ln_scale", "fc_in_bias", "head_bias"))


def test_bytes_are_half_of_bfloat16(params):
    total = sum(array.nbytes for array in int8.quantise(params).values())
    assert total < 0.55 * 2 * sum(array.size for array in params.values())


def test_matrices_of_zeros_and_odd_widths_come_back():
    odd = {"q": np.zeros((1, 48, 5), np.float32), "wte": np.arange(12, dtype=np.float32).reshape(2, 6)}
    whole = int8.whole(int8.quantise(odd))
    assert (np.asarray(whole["q"]) == 0).all()
    np.testing.assert_allclose(whole["wte"], odd["wte"], atol=11 / 254)


def test_dequantising_in_the_layers_equals_dequantising_before(params):
    stored = int8.quantise(params)
    inside, before, exact = our_logits(stored), our_logits(int8.whole(stored)), our_logits(params)
    np.testing.assert_allclose(inside, before, atol=1e-4)
    assert 0 < relative(inside - exact, exact) < 2 * relative(our_logits(params, "bfloat16") - exact, exact) < 0.05
    nats = (-np.take_along_axis(jax.nn.log_softmax(one), ROWS[:, 1:, None], -1) for one in (inside, exact))
    losses = [float(one.mean()) for one in nats]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_training_an_adapter_keeps_no_floats_of_the_layers():
    """The backward pass dequantises again: what it is handed holds no matrix of a layer in floats."""
    params = init(CONFIG, 0)

    def kept(settings):
        frozen, trained = lora.parted(params, CONFIG, settings, 0)

        def handed_on(trained, frozen):
            return jax.vjp(lambda t: hidden(lora.joined(frozen, t, 2.0), ROWS[:1, :9], CONFIG), trained)[1]

        leaves = jax.tree.leaves(jax.eval_shape(handed_on, trained, frozen))
        matrices = {params[name].shape[1:] for name in ("q", "fc_in", "fc_out")}
        return [leaf for leaf in leaves if leaf.dtype == jnp.float32 and leaf.shape[-2:] in matrices]

    assert kept(Lora(rank=2)) and not kept(Lora(rank=2, int8=True))
