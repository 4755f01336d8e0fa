import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from lowres.artifacts import Run
from lowres.devices import Devices, Saving
from lowres.errors import DataError, Stopped
from lowres.families.gptj import mesh_train
from lowres.families.gptj.config import Config
from lowres.families.gptj.data import Rows, Stream
from lowres.families.gptj.model import init
from lowres.families.gptj.parallel import Measures
from lowres.families.gptj.settings import TuneSpec
from lowres.families.gptj.speed import flops_a_token, peak_of

CONFIG = Config(vocab_size=50, n_ctx=8, n_layer=1, n_embd=16, n_head=2, rotary_dim=4)
ROWS = Rows(Stream(np.tile(np.arange(2, 40), 20), 8), 8, 7)
SPEC = TuneSpec(batch_size=8, epochs=1.0, lr=1e-2, seed=7, accumulate=2, dropout=0.1, moments="int8")


def trained(folder, spec=SPEC, stop_at=None, rows=ROWS):
    """(weights, lines of the log, first step) of a training in a work folder; None where it was stopped."""
    seen = []
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    run = Run(folder / "out", folder / "work", 0, devices=Devices(checkpoints=Saving(seconds=0)))
    run.on_progress = lambda done, *_: seen.append(done)
    run.stop_requested = lambda: seen[-1] == stop_at
    try:
        params, _ = mesh_train.fit(init(CONFIG, 0), rows, CONFIG, 2, spec, run)
    except Stopped:
        return None
    lines = [json.loads(line) for line in (folder / "out" / "training.jsonl").read_text().splitlines()]
    return params, lines, seen[0]


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return *trained(folder)[:2], folder


def test_a_stopped_training_goes_on_to_the_same_bits(whole, tmp_path):
    assert trained(tmp_path, stop_at=7) is None
    params, lines, first = trained(tmp_path)
    assert first == 7 and lines == whole[1]
    for name, array in whole[0].items():
        np.testing.assert_array_equal(params[name], array, err_msg=name)


def test_it_learns_and_says_how(whole):
    params, lines, folder = whole
    assert lines[-1]["step"] == ROWS.steps(1.0) and lines[-1]["loss"] < np.log(50)
    assert lines[-1]["grad_norm"] > 0 and "noise_scale" in lines[-1]
    speeds = [json.loads(line) for line in (folder / "out" / "speed.jsonl").read_text().splitlines()]
    assert speeds[-1]["tokens_a_second"] > 0 and speeds[-1]["memory_bytes"] > 1e6 and "mfu" not in speeds[-1]


def test_a_checkpoint_of_other_rows_is_refused(tmp_path):
    assert trained(tmp_path, stop_at=3) is None
    other = Rows(Stream(np.tile(np.arange(2, 40), 21), 8), 8, 7)
    with pytest.raises(DataError, match="of other rows"):
        mesh_train.fit(
            init(CONFIG, 0),
            other,
            CONFIG,
            2,
            SPEC.model_copy(update={"epochs": 1.0 * ROWS.count / other.count}),
            Run(tmp_path / "out", tmp_path / "work", 0),
        )


@pytest.mark.slow
def test_what_one_device_began_a_mesh_ends(tmp_path):
    plain = SPEC.model_copy(update={"accumulate": 1, "dropout": 0.0, "moments": "float32"})
    on_mesh = plain.model_copy(update={"remat": "none"})
    params, _, _ = trained(tmp_path / "whole", plain)
    assert trained(tmp_path / "part", plain, stop_at=8) is None
    gone_on, _, first = trained(tmp_path / "part", on_mesh)
    assert first == 8
    for name, array in params.items():
        np.testing.assert_allclose(gone_on[name], array, atol=1e-4, err_msg=name)


def test_the_noise_scale_of_known_gradients_is_found():
    """Micro-batches' squares are |G|^2 + S / b: with G^2 = 3 and S = 24, the scale is 8 rows."""
    progress = mesh_train.Progress(None, np.zeros(1, np.float32))
    measures = Measures(0.0, 0.0, np.array([3 + 24 / 4, 3 + 24 / 16]))
    settings = SimpleNamespace(batch_size=16, accumulate=4)
    for _ in range(3):
        assert mesh_train.noise_scale(progress, measures, settings)["noise_scale"] == pytest.approx(8)


def test_one_device_of_a_processor_keeps_its_program(new_run):
    assert jax.device_count() == 1
    plain = TuneSpec(batch_size=8, epochs=1.0, seed=0)
    assert not mesh_train.on_mesh(plain, new_run())
    for asked in ({"accumulate": 2}, {"remat": "full"}, {"attention": "chunked"}):
        assert mesh_train.on_mesh(plain.model_copy(update=asked), new_run())


def test_flops_and_peaks_are_the_published_ones():
    six_billion = Config(vocab_size=50400, n_ctx=2048, n_layer=28, n_embd=4096, n_head=16, rotary_dim=64)
    assert flops_a_token(six_billion, 2048, True) == pytest.approx(6 * 5.844e9 + 12 * 28 * 4096 * 2048, rel=1e-3)
    assert flops_a_token(six_billion, 2048, False) < 0.75 * flops_a_token(six_billion, 2048, True)
    assert peak_of("TPU v4") == 275e12 and peak_of("TPU v5 lite") == 197e12 and peak_of("TPU v5p") == 459e12
    assert peak_of("cpu") is None and peak_of("NVIDIA A10G") is None, "no guess"
