"""A recipe whose classifiers are prompts, from its command line to its report."""

from lowres.report.results import load_results

RECIPE = """
name = "prompted"
language = "vie"
corpus = "vi/mini"
tasks = ["vi/mini_topics"]

[tokenizer]
vocab_size = 600

[budget]
corpus_bytes = 40000
max_chars = 60

[methods.prompt]
family = "gptj"
init = "random"
lm = { n_layer = 1, n_embd = 32, n_head = 2, rotary_dim = 4, n_ctx = 128 }
classifier = { arm = "prompt", shots = 1 }
"""


def test_prompts_are_tried_on_dev_and_reported(tiny):
    path = tiny.root / "prompted.toml"
    path.write_text(RECIPE, encoding="utf-8")
    done = tiny.command("run", path, "--offline")
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = load_results(tiny.root / "runs/prompted").cells
    assert set(cell.prompts) == {"noi-ve", "chu-de", "english"}
    assert cell.prompt == max(cell.prompts, key=cell.prompts.__getitem__)
    assert abs(cell.scores["dev"]["macro_f1"] - cell.prompts[cell.prompt]) < 1e-9
    assert "Prompts on vi/mini_topics" in done.stdout
    assert "Prompts on vi/mini_topics" in (tiny.root / "runs/prompted/report.html").read_text(encoding="utf-8")
