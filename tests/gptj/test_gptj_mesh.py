import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lowres.devices import Devices, Mesh, Saving
from lowres.errors import DataError
from lowres.families.gptj.mesh import stored
from lowres.families.gptj.saving import folder_of

PROGRAM = Path(__file__).with_name("mesh_program.py")
SIZES = {"data": 1, "fsdp": 4, "tensor": 2}


def started(*arguments, devices=8, **environment):
    """The program in a process of its own, compiled without optimisation, which takes a third of the time."""
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), "XLA_FLAGS": flags,
                   "NPROC": "1", **environment}  # fmt: skip
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finished(process, code=0):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors


@pytest.fixture(scope="module")
def parity(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parity")
    finished(started("parity", folder))
    updates = [np.load(folder / f"updates-{name}.npz") for name in "18"]
    return json.loads((folder / "found.json").read_text()), np.load(folder / "slopes.npz"), updates


@pytest.mark.parametrize("other", ["plain", "8"])
def test_a_mesh_of_one_agrees_with_eight_devices_and_with_the_plain_loss(parity, other):
    found, slopes, _ = parity
    assert found["losses"]["1"] == pytest.approx(found["losses"][other], rel=1e-5)
    names = {name.partition("/")[2] for name in slopes}
    assert len(names) == 15
    for name in names:
        one = slopes[f"1/{name}"]
        assert np.abs(one).max() > 1e-4, name
        np.testing.assert_allclose(slopes[f"{other}/{name}"], one, rtol=1e-5, atol=1e-5, err_msg=name)


def test_each_device_holds_its_part(parity):
    shares = parity[0]["shares"]
    cut = {name for name, share in shares.items() if share == 0.25}
    assert cut == {"q", "k", "v", "out", "fc_in", "fc_out"}, "by fsdp and tensor; data keeps copies"
    assert shares["wte"] == shares["head"] == 0.5, "a vocabulary of 51 is not cut"


def test_moments_of_8_bits_lie_as_weights_do_and_no_block_is_cut(parity):
    shares = parity[0]["moments"]
    assert shares["codes"] == {"q": 0.25, "out": 0.25, "fc_in": 0.5, "wte": 0.25}, "fc_in has one block, so no tensor"
    assert shares["scales"] == shares["codes"]
    one, eight = parity[2]
    for name in one:
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_what_does_not_fit_is_one_line(parity):
    count, heads, rows = parity[0]["faults"]
    assert "is 6 devices and there are 8" in count
    assert heads == "run.mesh.tensor is 8; it must divide the 2 heads"
    assert "wants a batch_size that 4" in rows and "it is 6" in rows


def test_parts_of_a_matrix_lie_like_it():
    assert tuple(stored("q_int8", (2, 64, 64), SIZES)) == (None, "fsdp", "tensor")
    assert tuple(stored("q_scale", (2, 1, 64), SIZES)) == (None, None, "tensor"), "one scale is not cut"
    assert tuple(stored("out_int8", (2, 64, 64), SIZES)) == (None, None, "fsdp"), "tensor cuts no block"
    assert tuple(stored("out_int8", (2, 128, 64), SIZES)) == (None, "tensor", "fsdp")
    assert tuple(stored("out_lora_a", (2, 64, 4), SIZES)) == (None, "tensor", None)
    assert tuple(stored("out_lora_b", (2, 4, 64), SIZES)) == (None, None, "fsdp")
    assert tuple(stored("ln_scale", (2, 64), SIZES)) == (None, None)


def test_hosts_need_a_folder_in_common(tmp_path):
    with pytest.raises(DataError, match="run.checkpoints.folder is missing and run.hosts is 2"):
        folder_of(tmp_path / "id", Devices(hosts=2))
    shared = Devices(hosts=2, checkpoints=Saving(folder="gs://bucket/runs/"))
    assert folder_of(tmp_path / "id", shared) == "gs://bucket/runs/id"
    assert folder_of(tmp_path / "id", Devices(mesh=Mesh(data=2))).startswith(str(tmp_path))


def losses_of(folder):
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_numbers_and_on_another_mesh_nearly(tmp_path):
    import shutil

    finished(started("trained", tmp_path / "a" / "work", tmp_path / "a", "2x2x2"))
    finished(started("trained", tmp_path / "b" / "work", tmp_path / "b", "2x2x2", "7"), -9)
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    finished(started("trained", tmp_path / "b" / "work", tmp_path / "b", "2x2x2"))
    finished(started("trained", tmp_path / "c" / "work", tmp_path / "c", "1x2x1", devices=2))
    whole, same, near = (dict(np.load(tmp_path / name / "params.npz")) for name in "abc")
    for name, array in whole.items():
        np.testing.assert_array_equal(same[name], array, err_msg=name)
        np.testing.assert_allclose(near[name], array, atol=1e-4, err_msg=name)
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")
    assert int((tmp_path / "b" / "first").read_text()) >= 4, "a checkpoint is whole once the next one is begun"


@pytest.mark.slow
def test_two_hosts_train_as_one_and_stop_together(tmp_path):
    def both(port, *more):
        hosts = [
            started(
                "trained",
                tmp_path / f"host{place}" / "work",
                tmp_path / f"host{place}",
                "1x2x2",
                *more,
                devices=2,
                JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
                JAX_NUM_PROCESSES="2",
                JAX_PROCESS_ID=str(place),
            )
            for place in (0, 1)
        ]
        for host in hosts:
            finished(host)

    both(free_port(), "stop 3")
    assert [(tmp_path / f"host{place}" / "stopped").read_text() for place in (0, 1)] == ["3", "3"]
    both(free_port())
    finished(started("trained", tmp_path / "one" / "work", tmp_path / "one", "1x2x2", devices=4))
    one, first, second = (dict(np.load(tmp_path / name / "params.npz")) for name in ("one", "host0", "host1"))
    for name, array in one.items():
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        np.testing.assert_allclose(first[name], array, atol=1e-4, err_msg=name)
    assert (tmp_path / "host1" / "first").read_text() == "3"


@pytest.mark.slow
def test_an_adapter_beside_8_bits_learns_the_same_on_a_mesh(tmp_path):
    finished(started("adapted", tmp_path))
    one, eight = np.load(tmp_path / "1.npz"), np.load(tmp_path / "8.npz")
    assert "out_lora_b" in one and "ln_scale" in one and "q" not in one
    for name in one:
        np.testing.assert_allclose(eight[name], one[name], atol=1e-5, err_msg=name)


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classified")
    finished(started("classified", folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "arrays"), [("full", 14), ("lora", 18)])
def test_a_classifier_on_eight_devices_learns_what_one_learns(classified, arm, arrays):
    """With dropout, texts that the devices do not divide, and texts longer than the context."""
    one, eight = (np.load(classified / f"{arm}-{count}.npz") for count in (1, 8))
    assert set(one) == set(eight) and len(one.files) >= arrays
    for name in one.files:
        assert np.abs(one[name]).max() > 1e-4, name
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_held_out_text_is_scored_alike_on_eight_devices(classified):
    nats = np.load(classified / "nats.npz")
    assert nats["one"].shape == (7, 8)
    np.testing.assert_allclose(nats["eight"], nats["one"], rtol=1e-5, atol=1e-5)
