import json

import pytest

RECIPE = """name = "sizes"
language = "vie"
corpus = "vi/mini"
[tokenizer]
vocab_size = 400
[methods.majority]
family = "baselines"
model = "majority"
"""
GPTJ = """
[methods.{name}]
family = "gptj"
lm = {{ n_layer = 1, n_embd = 16, n_head = 2, rotary_dim = 4, n_ctx = 8 }}
"""


@pytest.fixture
def plan(lowres, tmp_path):
    def command(*arguments, methods=("small",)):
        text = RECIPE + "".join(GPTJ.format(name=name) for name in methods)
        (tmp_path / "sizes.toml").write_text(text)
        return lowres("gptj", "plan", "sizes.toml", *arguments)

    return command


@pytest.mark.parametrize("arguments", [(), ("--tpu", "v3-8", "--gpu", "11GB")])
def test_one_machine_is_named(plan, arguments):
    code, out, err = plan(*arguments)
    assert (code, out) == (2, "") and err.startswith("lowres: name one machine") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "methods", "said"),
    [
        (("--tpu", "v3-9"), ("small",), "of v3 there are v3-8, v3-32"),
        (("--gpu", "11"), ("small",), "say its memory in GB"),
        (("--gpu", "11GB"), (), "has no method of gptj"),
        (("--gpu", "11GB"), ("a", "b"), "name one: a, b"),
        (("majority", "--gpu", "11GB"), ("small",), "no method 'majority' of gptj; it has small"),
        (("--gpu", "11GB", "--shape", "gptj-6b"), ("small",), "--shape has no effect"),
        (("--gpu", "11GB", "--set", "methods.small.init=gone", "--set", "methods.small.lm={}"), ("small",),
         "gone/config.json: missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_one_line(plan, arguments, methods, said):
    code, out, err = plan(*arguments, methods=methods)
    assert code in (1, 2) and out == "" and said in err and err.count("\n") == 1


@pytest.mark.tpu_compiler
def test_a_recipe_is_planned_without_its_data(plan, tmp_path):
    code, out, err = plan("--gpu", "1GB", "--json")
    assert code == 0, err
    (found,) = json.loads(out)["found"]
    assert found["training"] == "pretrain" and found["memory"]["limit"] == 10**9
    assert not (tmp_path / "store").exists()
    code, out, _ = plan("--gpu", "0.0001GB", "--no-search")
    assert code == 1 and "does not fit on a GPU of 0.0001 GB" in out
