"""Kernels and product paths: chosen by the processor, recorded, kept by a resume; older ids stay."""

import json

import pytest
import torch

from lowres import processor
from lowres.errors import DataError, Stopped
from lowres.families.ulmfit import paths as choosing
from lowres.families.ulmfit.kernels import Missing
from lowres.families.ulmfit.paths import Paths, check_device, choose, lacking, pinned
from lowres.families.ulmfit.spec import Network, PretrainSpec
from lowres.families.ulmfit.stages import pretrain_lm

TINY = {"emb_size": 16, "n_hid": 24, "n_layers": 2, "batch_size": 8, "bptt": 40, "epochs": 1, "lr": 1e-2, "seed": 0}

pytestmark = pytest.mark.usefixtures("built_kernels")


@pytest.fixture(autouse=True)
def same_products():
    yield
    torch.set_float32_matmul_precision("highest")


def without_kernels(monkeypatch):
    monkeypatch.setattr(choosing, "kernels", lambda: Missing("no C compiler"))


def test_ids_from_before_there_was_a_choice_stay():
    assert not {"kernel", "products"} & PretrainSpec(**TINY).hashed().keys()
    assert PretrainSpec(**TINY, kernel="torch").hashed()["kernel"] == "torch"


def test_auto_takes_what_is_there(monkeypatch):
    assert choose(Network()).kernel == "compiled" and choose(Network()).level
    assert choose(Network(kernel="torch", products="default")) == Paths("torch", "default")
    without_kernels(monkeypatch)
    assert choose(Network()).kernel == "torch"
    with pytest.raises(DataError, match='lm.kernel is "compiled" and there are no compiled kernels: no C compiler'):
        choose(Network(kernel="compiled"))


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    lacking.cache_clear()
    yield
    lacking.cache_clear()


def test_a_gpus_kernel_that_is_asked_for_and_absent_is_an_error(no_gpu, tmp_path):
    assert choose(Network(), "cuda") == Paths("torch", "default")
    for kernel, cell in (("triton", "qrnn"), ("cudnn", "awd-lstm")):
        said = f'"{kernel}", and torch finds no CUDA device'
        with pytest.raises(DataError, match=f'lm.kernel is {said}; or write "torch"'):
            choose(Network(kernel=kernel, cell=cell), "cuda")
        for device, why in (("cuda", said), ("cpu", f'"{kernel}", and the device is cpu')):
            with pytest.raises(DataError, match=f"begun with kernel {why}; mend that"):
                pinned({"paths": {"kernel": kernel}}, tmp_path, device)
        with pytest.raises(ValueError, match=f'"{kernel}" is for cell = "{cell}"; write "auto"'):
            Network(kernel=kernel, cell={"qrnn": "awd-lstm", "awd-lstm": "qrnn"}[cell])


def test_a_kernel_is_for_its_kind_of_device_and_a_model_goes_to_others(packed, tokenizer, new_run):
    for kernel, device in (("triton", "cpu"), ("compiled", "cuda:1")):
        with pytest.raises(DataError, match=f'lm.kernel is "{kernel}", for .* alone, and the device is {device[:4]}'):
            check_device(Network(kernel=kernel), device)
    check_device(Network(kernel="triton"), "cuda:1")
    assert choose(Network(kernel="triton")) == choose(Network()), "a model that was trained on a GPU"
    with pytest.raises(DataError, match='"triton", for cuda alone, and the device is cpu; write "auto"'):
        pretrain_lm({"packed": packed, "tokenizer": tokenizer}, PretrainSpec(**TINY, kernel="triton"), new_run("gpu"))


@pytest.mark.parametrize(
    ("name", "flags", "products"),
    [
        ("AuthenticAMD", {"avx512f"}, "onednn"),
        ("AuthenticAMD", {"amx_tile"}, "default"),
        ("GenuineIntel", {"avx512f"}, "default"),
    ],
)
def test_float32_products_stay_float32_on_every_processor(monkeypatch, name, flags, products):
    monkeypatch.setattr(processor, "maker", lambda: name)
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags))
    assert choose(Network()).products == products
    if "amx_tile" in flags:
        with pytest.raises(DataError, match="rounds float32 to bfloat16 on this processor"):
            choose(Network(products="onednn"))


def test_onednn_products_are_float32_here():
    if not choosing.onednn_is_exact():
        pytest.skip("AMX")
    torch.manual_seed(0)
    a, b = torch.randn(256, 512), torch.randn(512, 256)
    choosing.set_products("onednn")
    assert float((a @ b - (a.double() @ b.double())).norm()) < 3e-6 * float((a @ b).norm())


def test_the_manifest_says_what_was_used_and_both_kernels_train_alike(packed, tokenizer, new_run):
    losses = {}
    for kernel in ("compiled", "torch"):
        run = new_run(kernel)
        spec = PretrainSpec(**TINY, kernel=kernel, precision="float32", products="default")
        pretrain_lm({"packed": packed, "tokenizer": tokenizer}, spec, run)
        assert run.facts["paths"]["kernel"] == kernel and run.facts["paths"]["products"] == "default"
        losses[kernel] = run.facts["valid_loss"]
    assert losses["compiled"] == pytest.approx(losses["torch"], abs=1e-4)


def test_a_training_goes_on_with_the_kernel_that_it_began_with(packed, tokenizer, new_run, monkeypatch):
    inputs = {"packed": packed, "tokenizer": tokenizer}
    whole = new_run("whole")
    pretrain_lm(inputs, PretrainSpec(**TINY, kernel="torch"), whole)
    with monkeypatch.context() as patch:
        without_kernels(patch)
        with pytest.raises(Stopped):
            pretrain_lm(inputs, PretrainSpec(**TINY), new_run("moved", 11))
    again = new_run("moved")
    said = []
    again.on_progress = lambda done, total, unit, note: said.append(note)
    pretrain_lm(inputs, PretrainSpec(**TINY), again)
    assert again.facts["paths"]["kernel"] == "torch", "kernels that were built since are left alone"
    assert (again.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()
    assert "torch kernels" in said[0]


def test_a_training_does_not_go_on_with_another_kernel(packed, tokenizer, new_run, monkeypatch):
    inputs = {"packed": packed, "tokenizer": tokenizer}
    with pytest.raises(Stopped):
        pretrain_lm(inputs, PretrainSpec(**TINY), new_run("moved", 11))
    without_kernels(monkeypatch)
    with pytest.raises(DataError, match="step-.*: begun with compiled kernels, and here are none: no C compiler"):
        pretrain_lm(inputs, PretrainSpec(**TINY), new_run("moved"))


def test_a_checkpoint_of_before_there_was_a_choice_is_plain_torch(tmp_path):
    assert pinned(json.loads('{"place": {"steps": 3}}'), tmp_path) == Paths("torch", "default")
