import pytest
import torch

from lowres.families.ulmfit.recurrence import forget_pool


@pytest.fixture(scope="module")
def benchmark(repository):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository / "benchmarks"))
        import ulmfit
    yield ulmfit
    torch.set_float32_matmul_precision("highest")


def test_the_list_loop_is_what_our_loops_compute(benchmark):
    torch.manual_seed(0)
    gates, c0 = torch.randn(5, 2, 12), torch.randn(2, 4)
    for got, want in zip(benchmark.list_loop(gates, c0), forget_pool(gates, c0), strict=True):
        assert torch.allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("cell", ["qrnn", "awd-lstm"])
def test_products_are_those_of_the_models_parameters(benchmark, cell):
    sizes = benchmark.SMALL
    learn = benchmark.ours(sizes, cell, "torch", "float32")
    matrices = sum(p.numel() for p in learn.model.parameters() if p.dim() == 2)
    assert sum(outputs * inputs for outputs, inputs in sizes.products(cell)) == matrices


def test_every_contender_takes_a_step_of_the_same_batch(benchmark):
    made = benchmark.contenders(benchmark.SMALL, ["awd-lstm", "qrnn"])
    assert {"fastai", "qrnn loop", "qrnn torch bfloat16", "qrnn products float32", "pool loop float32"} <= made.keys()
    assert all(run() > 0 for run in made.values())


def test_a_target_is_a_ratio_of_the_best_rounds(benchmark):
    best = {"fastai": 6.0, "qrnn compiled bfloat16": 2.0, "qrnn products bfloat16": 1.5}
    memory = {"fastai": {"peak_bytes": 100}, "qrnn compiled bfloat16": {"peak_bytes": 40}}
    rows = {what: (value, met) for what, _, value, met in benchmark.targets(best, memory)}
    assert rows["qrnn, bfloat16: times fastai's AWD-LSTM"] == (3.0, True)
    assert rows["qrnn, bfloat16: share of the product rate"] == (0.75, False)
    assert rows["qrnn compiled bfloat16: step memory over fastai's"] == (0.4, False)
    assert len(rows) == 3, "what was not measured has no row"
