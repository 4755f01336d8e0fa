"""Subword sampling in fine-tuning: a killed run ends at the same bytes, and only training texts are drawn."""

import numpy as np
import pytest

from lowres.artifacts import Run, Subset, Task
from lowres.errors import DataError, RecipeError, Stopped
from lowres.experiment.plan import make_plan
from lowres.families.ulmfit.saved import write_lm
from lowres.families.ulmfit.spec import ClassifierSpec, InitSpec, TuneSpec
from lowres.families.ulmfit.stages import init_lm, train_classifier, tune_lm
from lowres.recipe import build_recipe
from lowres.tokenizers.sampling import Sampler
from lowres.tokenizers.words import WordTokenizer

TUNE = {"epochs": 3, "min_steps": 1, "batch_size": 8, "bptt": 30, "seed": 0}
CLASSIFY = {"unfreezing": "layered", "last_epochs": 2, "min_steps": 2, "batch_size": 16, "seed": 0}
NETWORK = {"emb_size": 16, "n_hid": 24, "n_layers": 2}


@pytest.fixture(scope="module")
def lm(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("lm")
    init_lm({"tokenizer": tokenizer}, InitSpec(**NETWORK, seed=0), Run(out=folder, work=folder, seed=0))
    return folder


def weights_of(folder):
    (path,) = folder.rglob("model.safetensors")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("stage", "role", "spec", "stop_after"),
    [
        (tune_lm, "lm", TuneSpec(**TUNE, subword_sampling=0.2), 5),
        (train_classifier, "lm_forward", ClassifierSpec(**CLASSIFY, subword_sampling=0.2), 4),
    ],
)
def test_stopped_and_run_again_gives_the_same_bytes(lm, task, subset, new_run, stage, role, spec, stop_after):
    inputs = {role: lm, "task": task, "subset": subset}
    whole, plain = new_run("whole"), new_run("plain")
    stage(inputs, spec, whole)
    stops, done = 0, None
    while done is None:
        run = new_run("pieces", stop_after)
        try:
            stage(inputs, spec, run)
            done = run.out
        except Stopped:
            stops += 1
    assert stops >= 3
    assert weights_of(done) == weights_of(whole.out)
    stage(inputs, spec.model_copy(update={"subword_sampling": 0.0}), plain)
    assert weights_of(plain.out) != weights_of(whole.out)
    assert whole.facts["tokens_seen"] > plain.facts["tokens_seen"]


def test_every_epoch_is_drawn_anew_and_only_from_training_texts(lm, task, subset, new_run, monkeypatch):
    drawn = []
    encode = Sampler.encode

    def watch(sampler, texts, *seed):
        drawn.append((seed, set(texts)))
        return encode(sampler, texts, *seed)

    monkeypatch.setattr(Sampler, "encode", watch)
    inputs = {"task": task, "subset": subset}
    tune_lm({"lm": lm, **inputs}, TuneSpec(**TUNE, subword_sampling=0.2), new_run("tune"))
    assert [seed for seed, _ in drawn] == [(0, 0), (0, 1), (0, 2)]
    del drawn[:]
    train_classifier({"lm_forward": lm, **inputs}, ClassifierSpec(**CLASSIFY, subword_sampling=0.2), new_run("class"))
    assert [epoch for (_, epoch), _ in drawn] == list(range(len(drawn)))
    documents = Subset(subset).documents(Task(task), "train")
    assert all(texts == {document.text for document in documents} for _, texts in drawn)
    assert len(drawn) >= 4, "one of every cycle, at least"


def test_a_tokenizer_of_words_is_refused_by_the_stage(lm, task, subset, new_run, tmp_path):
    from lowres.families.ulmfit.config import LmConfig
    from lowres.families.ulmfit.saved import build_lm
    from lowres.families.ulmfit.spec import Network
    from lowres.tokenizers.rules import Rules

    words = WordTokenizer([f"từ{k}" for k in range(300)], Rules("vie"), None)
    config = LmConfig.of(Network(**NETWORK), words, "forward")
    write_lm(tmp_path, build_lm(config), config, words)
    inputs = {"lm": tmp_path, "task": task}
    with pytest.raises(DataError, match=r"a WordTokenizer cuts a text in one way alone"):
        tune_lm(inputs, TuneSpec(**TUNE, subword_sampling=0.2), new_run("words"))
    method = {"family": "ulmfit", "init": str(tmp_path), "tune": {"subword_sampling": 0.2}}
    loaded = build_recipe({**RECIPE, "methods": {"m": method}})
    with pytest.raises(RecipeError, match=r'tune\.subword_sampling is set, and its tokenizer \("word"\) cuts a text'):
        make_plan(loaded)


RECIPE = {"name": "s", "language": "vie", "corpus": "vi/mini", "tasks": ["vi/mini_topics"]}


def test_the_plan_refuses_what_cannot_draw():
    words = {"family": "ulmfit", "tokens": "word", "classifier": {"subword_sampling": 0.1}}
    with pytest.raises(RecipeError, match=r'classifier\.subword_sampling is set and tokens is "word"'):
        build_recipe({**RECIPE, "segment": "whitespace", "methods": {"m": words}})
    subwords = {"family": "ulmfit", "tune": {"subword_sampling": 0.1}}
    hf = {"kind": "hf", "path": "none"}
    with pytest.raises(RecipeError, match=r'methods\.m\.tune\.subword_sampling is set, and a tokenizer of kind "hf"'):
        build_recipe({**RECIPE, "tokenizer": hf, "methods": {"m": subwords}})


def test_ids_stay_where_nothing_is_sampled():
    def classifiers(**method):
        plan = make_plan(build_recipe({**RECIPE, "methods": {"m": {"family": "ulmfit", **method}}}))
        return [cell.classifier for cell in plan.cells]

    (plain,) = classifiers()
    assert [node.id for node in classifiers(tune={"subword_sampling": 0.0})] == [plain.id]
    assert "subword_sampling" not in plain.spec.hashed()
    (tuned,), (trained,) = (
        classifiers(tune={"subword_sampling": 0.2}),
        classifiers(classifier={"subword_sampling": 0.2}),
    )
    assert len({plain.id, tuned.id, trained.id}) == 3
    assert tuned.inputs["lm_forward"].inputs["lm"].id == plain.inputs["lm_forward"].inputs["lm"].id
    assert np.isclose(trained.spec.subword_sampling, 0.2)
