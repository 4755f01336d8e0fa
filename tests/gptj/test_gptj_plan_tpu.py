"""By the TPU's own compiler, in a process of its own for each slice."""

import json

import pytest

from lowres.families.gptj.planning import asking
from lowres.families.gptj.planning.asked import Asked, Training
from lowres.families.gptj.settings import AdaptSpec, Architecture

pytest.importorskip("libtpu")
pytestmark = pytest.mark.tpu_compiler

SIZES = Architecture(n_layer=3, n_embd=256, n_head=2, rotary_dim=32, n_ctx=256)


def training(name, vocab_size=512, **chosen):
    spec = AdaptSpec(epochs=1, seed=0, **{"batch_size": 16, "precision": "bfloat16", **chosen})
    return Training(name=name, vocab_size=vocab_size, sizes=SIZES, spec=spec)


def test_all_weights_of_a_small_model_on_cores():
    asked = Asked(tpu="v3-8", trainings=(training("full"), training("small", accumulate=2, moments="int8")))
    found = asking.found(asked, print)["found"]
    full, small = found
    numbers = 2 * 512 * 256 + 512 + 2 * 256 + 3 * (12 * 256**2 + 2 * 256 + 4 * 256 + 256)
    assert full["memory"]["weights"] == pytest.approx(4 * numbers / 8, rel=0.02)
    assert full["memory"]["optimiser"] == pytest.approx(2 * full["memory"]["weights"], rel=1e-3)
    assert small["memory"]["optimiser"] < 0.4 * full["memory"]["optimiser"]
    for one in found:
        check(one, "chunked")
    gathers = [next(sent["times"] for sent in one["sent"] if sent["kind"] == "all-gather") for one in found]
    assert gathers[0] >= 2 * 6 * 3, "each layer's six matrices, forward and backward"
    assert gathers[1] >= 2 * 2 * 6 * 3, "and again for every micro-batch"
    assert "tokens/s" in "\n".join(asking.lines({"found": found, "versions": {"jax": "0"}}, asked))


def test_an_adapter_beside_8_bits_with_splash_attention_on_chips():
    asked = Asked(tpu="v5e-8", trainings=(training("adapter", lora={"int8": True, "rank": 2}),))
    (one,) = asking.found(asked, print)["found"]
    check(one, "splash")
    assert one["memory"]["gradients"] < 0.2 * one["memory"]["weights"]


def check(one, attention):
    assert one["fits"] and one["attention"] == attention and one["mesh"] == {"data": 1, "fsdp": 8, "tensor": 1}
    assert one["memory"]["needed"] > one["memory"]["weights"] + one["memory"]["optimiser"]
    assert one["step"]["seconds"] > 0


def test_what_does_not_fit_is_refused_and_a_setting_is_found(tmp_path):
    asked = Asked(tpu="v2-8", trainings=(training("full", vocab_size=4_194_304, batch_size=8),))
    (one,) = asking.found(asked, print)["found"]
    assert not one["fits"] and "exceeds available HBM" in one["said"]
    assert one["memory"]["needed"] > one["memory"]["limit"] == pytest.approx(7.48 * 2**30, rel=1e-3)
    assert [tried["fits"] for tried in one["tried"]][-1], json.dumps(one["tried"])
    assert "the nearest that fits" in "\n".join(asking.lines({"found": [one], "versions": {"jax": "0"}}, asked))
