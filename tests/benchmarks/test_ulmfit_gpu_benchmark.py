"""The GPU benchmark on a CPU, with Triton's interpreter: every contender computes, and the report tells of each."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import ulmfit_gpu

    yield ulmfit_gpu
    torch.set_float32_matmul_precision("highest")


def test_every_contender_takes_a_step_and_is_reported(benchmark):
    pytest.importorskip("triton", reason="triton is not installed: pip install 'lowres[test]'")
    sizes = benchmark.Sizes(batch=1, bptt=2, vocabulary=30, emb_size=8, qrnn=(1, 8), lstm=(2, 8))
    wanted = SimpleNamespace(precisions=["float32"], steps=1, rounds=1, sweep=False)
    result = benchmark.measured(sizes, wanted, "cpu")
    assert not result["failed"]
    assert [row[-1] for row in result["differences"]] == ["right"] * 2
    said = benchmark.report(result, sizes)
    for name in ("QRNN layer, Triton: times the LSTM layer of cuDNN", "AWD-LSTM with cuDNN: times fastai's AWD-LSTM"):
        assert f"{name} |" in said
    assert said.count("\n| LM ") == 4 and said.count("\n| layer ") == 4 and said.count("\n| pool ") == 3


def test_a_contender_that_fails_has_a_line_and_the_others_go_on(benchmark):
    def fails():
        raise RuntimeError("no bfloat16 here\nat all")

    seconds, _, failed = benchmark.measure({"a": fails, "b": lambda: 2.0}, 2, "cpu")
    assert failed == {"a": "no bfloat16 here"} and seconds == {"b": [2.0, 2.0]}


def test_an_lstm_of_equal_parameters(benchmark):
    width = benchmark.lstm_width(1552)
    assert width % 8 == 0 and 8 * width**2 == pytest.approx(3 * 1552**2, rel=0.01)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_there_is_one_line(benchmark, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ulmfit_gpu.py"])
    with pytest.raises(SystemExit, match="^ulmfit_gpu.py: torch finds no CUDA device here; this benchmark needs one$"):
        benchmark.main()
