import pytest


@pytest.fixture(scope="module")
def benchmark(repository):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository / "benchmarks"))
        import gptj
    return gptj


def test_every_contender_trains_and_writes_the_same_text(benchmark):
    made, equal = benchmark.contenders(benchmark.SMALL, None)
    assert equal == {"1": 1.0, "2": 1.0}, "greedy tokens are those of transformers"
    assert {"train: transformers", "train: lowres, float32", "train: products", "write 2: lowres"} <= made.keys()
    assert all(run() > 0 for run in made.values())


def test_a_target_is_a_ratio_of_one_run(benchmark):
    sizes = benchmark.Sizes()
    seconds = {"train: transformers": 3.2, "train: lowres, float32": 2.0, "train: products": 1.5}
    rows = {what: value for what, _, value in benchmark.targets(seconds, sizes)}
    assert rows["training, float32: times transformers"] == 1.6
    own = 12 * sizes.config.n_layer * sizes.config.n_embd * sizes.config.n_ctx
    weights = 12 * sizes.config.n_layer * 512**2 + 512 * sizes.config.vocab_size
    assert rows["training, float32: share of the product rate"] == pytest.approx(0.75 * (1 + own / (6 * weights)))
    assert len(rows) == 2, "what was not measured has no row"
