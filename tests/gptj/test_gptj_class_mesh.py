from types import SimpleNamespace

import jax
import numpy as np
import pytest

from lowres.artifacts import Run
from lowres.devices import Devices, Saving
from lowres.errors import DataError, Stopped
from lowres.families.gptj import class_mesh, finetune
from lowres.families.gptj.classify import Labelled, features
from lowres.families.gptj.config import Config
from lowres.families.gptj.model import init

CONFIG = Config(vocab_size=50, n_ctx=8, n_layer=1, n_embd=16, n_head=2, rotary_dim=4)
DEVICES = Devices(checkpoints=Saving(seconds=0))
SPEC = SimpleNamespace(arm="full", lora=None, epochs=1.0, min_steps=8, batch_size=4, seed=3, lr=1e-2, head_lr=1e-2,
                       warmup=0.1, weight_decay=0.01, dropout=0.3, layer_dropout=0.1)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def texts(count, seed):
    draw = np.random.default_rng(seed)
    ids = tuple(draw.integers(1, 50, draw.integers(2, 9)).astype(np.int32) for _ in range(count))
    return Labelled(ids, draw.integers(0, 2, count))


def trained(folder, place, stop_at=None):
    """(what was trained, first step); None where it was stopped."""
    seen = []
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    run = Run(folder / "out", folder / "work", 0, devices=DEVICES)
    run.on_progress = lambda done, *_: seen.append(done)
    run.stop_requested = lambda: seen[-1] == stop_at
    try:
        done = finetune.fine_tune(init(CONFIG, 0), CONFIG, texts(14, 0), texts(4, 1), 2, SPEC, run, place)
    except Stopped:
        return None
    return done.trained, seen[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("whole"), class_mesh.OnMesh(DEVICES, CONFIG))[0]


def test_a_stopped_classifier_goes_on_on_the_mesh_to_the_same_bits(whole, tmp_path):
    assert trained(tmp_path, class_mesh.OnMesh(DEVICES, CONFIG), stop_at=5) is None
    assert isinstance(class_mesh.place_of(DEVICES, CONFIG, tmp_path / "work"), class_mesh.OnMesh), "it began there"
    again, first = trained(tmp_path, class_mesh.OnMesh(DEVICES, CONFIG))
    assert first == 5
    for name, array in whole.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_what_one_device_began_a_mesh_ends_and_both_agree(whole, tmp_path):
    one, _ = trained(tmp_path / "one", finetune.OneDevice())
    assert trained(tmp_path / "part", finetune.OneDevice(), stop_at=5) is None
    gone_on, first = trained(tmp_path / "part", class_mesh.OnMesh(DEVICES, CONFIG))
    assert first == 5
    for name in one:
        np.testing.assert_allclose(gone_on[name], one[name], atol=1e-4, err_msg=name)
        np.testing.assert_allclose(whole[name], one[name], atol=1e-4, err_msg=name)


def test_one_device_of_a_processor_keeps_its_program(tmp_path):
    assert isinstance(class_mesh.place_of(DEVICES, CONFIG, tmp_path), finetune.OneDevice)


def test_a_mesh_reads_the_same_features():
    place, ids = class_mesh.OnMesh(DEVICES, CONFIG), [*texts(5, 2).ids, np.arange(1, 14, dtype=np.int32)]
    with place.scope():
        there = place.put(init(CONFIG, 0))
    np.testing.assert_allclose(
        features(there, ids, CONFIG, read=place.read), features(init(CONFIG, 0), ids, CONFIG), atol=1e-5
    )


def test_batches_of_other_texts_are_refused():
    batches = finetune.Batches.of(texts(14, 0).ids, 8, 4, 0)
    assert batches.step_at(batches.cursor(7)) == 7
    with pytest.raises(DataError, match="of other texts"):
        finetune.Batches.of(texts(15, 0).ids, 8, 4, 0).step_at(batches.cursor(7))
