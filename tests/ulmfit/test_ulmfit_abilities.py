import pytest
import torch

from lowres.families.ulmfit import abilities


@pytest.fixture(autouse=True)
def same_products():
    yield
    torch.set_float32_matmul_precision("highest")


def test_the_benchmark_says_whether_auto_takes_the_fastest_products(monkeypatch, built_kernels):
    monkeypatch.setattr(abilities, "_product_rates", lambda: {"default": 100.0, "onednn": 180.0, "bfloat16": 360.0})
    monkeypatch.setattr(abilities, "_ROUNDS", 1)
    for name, size in {"_TIME": 3, "_BATCH": 2, "_HIDDEN": 8, "_VOCABULARY": 20, "_WIDTH": 4}.items():
        monkeypatch.setattr(abilities, name, size)
    faster = 'torch\'s own choice; products = "onednn" would be faster;'
    for auto, advice in {"onednn": "oneDNN;", "default": faster}.items():
        monkeypatch.setattr(abilities, "default_products", lambda auto=auto: auto)
        lines = abilities.speeds()
        assert lines[0] == ("products", "torch's own choice 100 GFLOP/s, oneDNN 180 GFLOP/s, bfloat16 360 GFLOP/s")
        assert lines[1] == ("", f'"auto" takes {advice} bfloat16 is 2.0 times as fast as float32')
        assert [name for name, _ in lines[2:]] == ["QRNN loop", "loss"] * 2
        assert all(" ms, compiled " in said for _, said in lines[2:])


def test_a_machine_without_a_gpu_needs_no_kernels_for_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert dict(abilities.abilities())["CUDA kernels"] == "none are needed: torch finds no CUDA device"


def test_on_a_gpu_what_does_not_compute_is_told_with_its_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(abilities, "lacking", lambda name, device: "no C compiler" if name == "triton" else "")
    said = "Triton (QRNN): plain torch is used, no C compiler, cuDNN (AWD-LSTM): used"
    assert dict(abilities.abilities())["CUDA kernels"] == said
