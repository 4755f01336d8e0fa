"""A recipe with whole words as tokens, told by a segmenter, from its command line to `lowres predict`."""

import json

import pytest

from lowres.artifacts import Manifest
from lowres.errors import RecipeError
from lowres.experiment.plan import make_plan
from lowres.recipe import build_recipe

SMALL = "emb_size = 16, n_hid = 16, n_layers = 1, batch_size = 8, bptt = 24, epochs = 1"
RECIPE = f"""
name = "words"
language = "vie"
corpus = "vi/mini"
tasks = ["vi/mini_topics"]
segment = "stanza"
segmenter = "segmenter"

[tokenizer]
vocab_size = 400

[words]
vocab_size = 500

[budget]
corpus_bytes = 20000
max_chars = 60

[methods.words]
family = "ulmfit"
tokens = "word"
lm = {{ {SMALL} }}
tune = {{ epochs = 0 }}
classifier = {{ last_epochs = 1, min_steps = 1, unfreezing = "all" }}
"""


def content(**changes):
    method = {"family": "ulmfit", "tokens": "word", **changes.pop("method", {})}
    return {"name": "w", "language": "vie", "corpus": "vi/mini", "methods": {"m": method}, **changes}


def test_a_run_by_words_from_recipe_to_prediction(place, toy_segmenter):
    (place.root / "segmenter").symlink_to(toy_segmenter.out)
    (place.root / "words.toml").write_text(RECIPE, encoding="utf-8")
    done = place.command("run", "words.toml", "--offline")
    assert done.returncode == 0, done.stdout + done.stderr
    (place.root / "segmenter").unlink()  # a classifier carries all that prediction needs
    (classifier,) = (place.root / "runs/words/classifiers").iterdir()
    about = json.loads((classifier / "tokenizer/lowres_tokenizer.json").read_text())
    assert (about["kind"], about["words_by"]) == ("word", "segmenter")
    said = place.command("predict", "words", "words", stdin="Tôi mua máy bay.\n")
    assert (said.returncode, len(said.stdout.splitlines())) == (0, 1), said.stderr
    record = json.loads((place.root / "runs/words/models/words.json").read_text())
    assert record["tokenizer"] == "words"
    assert record["segmented_fertility"] > 1
    manifests = [Manifest.read(path.parent) for path in place.root.glob("store/artifacts/*/*/manifest.json")]
    facts = [manifest.facts for manifest in manifests if manifest.stage == "measure_fertility"]
    assert len(facts) == 2  # of the subword tokenizer and of the words
    for each in facts:
        assert each["tokens_per_byte"] < each["tokens_per_character"] < each["segmented_fertility"]
        assert 0 <= each["unknown_rate"] < 1


def test_words_leave_the_ids_of_subwords_alone():
    plain = make_plan(build_recipe(content(method={"tokens": "subword"})))
    segmented = make_plan(build_recipe(content(method={"tokens": "subword"}, segment="whitespace")))
    assert plain.language_models["m"].weights.id == segmented.language_models["m"].weights.id
    assert {node.id for node in segmented.wanted()} > {node.id for node in plain.wanted()}


def test_a_treebank_card_gives_a_segmenter_and_moves_the_words():
    by_card = make_plan(build_recipe(content(segment="stanza", segmenter="vi/ud_vtb")))
    by_space = make_plan(build_recipe(content(segment="whitespace")))
    assert by_card.words.inputs["segmenter"].stage.name == "train_segmenter"
    assert set(by_card.words.inputs["segmenter"].spec.raw_files()) <= by_card.raw_files.keys()
    assert by_card.words.id != by_space.words.id
    assert by_card.language_models["m"].weights.inputs["packed"].stage.worker == "segment"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, 'methods.m.tokens is "word"; say how words are told'),
        ({"segment": "stanza"}, "go together"),
        ({"segment": "whitespace", "segmenter": "vi/ud_vtb"}, "go together"),
        ({"segment": "stanza", "segmenter": "vi/ud_vtbb"}, "segmenter: vi/ud_vtbb: no such card"),
        ({"segment": "stanza", "segmenter": "wo/ud_wtb"}, "is in 'wol', the recipe's is 'vie'"),
        ({"segment": "whitespace", "method": {"init": "some/folder"}}, "tokens has no effect"),
    ],
)
def test_what_does_not_go_together_is_a_fault(changes, said):
    with pytest.raises(RecipeError) as raised:
        build_recipe(content(**changes))
    assert said in str(raised.value)


def test_a_folder_without_a_segmenter_is_a_fault(tmp_path):
    loaded = build_recipe(content(segment="stanza", segmenter=str(tmp_path)))
    with pytest.raises(RecipeError, match=r"segmenter\.json: no such file"):
        make_plan(loaded)
