import numpy as np
import pytest

from lowres.artifacts import Predictions, Task, read_json
from lowres.errors import DataError, Stopped
from lowres.families.contract import PredictSpec
from lowres.families.gptj import classify, data, finetune, stages
from lowres.families.gptj.model import Config, init
from lowres.families.gptj.settings import ClassifierSpec, InitSpec
from lowres.tokenizers.base import load_tokenizer
from lowres.training.classifier import TextPolicy

SMALL = {"epochs": 1.0, "min_steps": 60, "batch_size": 16, "lr": 3e-3, "seed": 1}


@pytest.fixture(scope="module")
def language_model(rooms, tmp_path_factory):
    """A GPT-J with random weights in a folder."""
    from lowres.artifacts import Run

    folder = tmp_path_factory.mktemp("lm")
    run = Run(folder, folder, seed=0)
    spec = InitSpec(n_layer=1, n_embd=32, n_head=2, rotary_dim=8, n_ctx=32, seed=0)
    stages.init_lm({"tokenizer": rooms / "tokenizer"}, spec, run)
    assert run.facts["origin"] == "random initialisation" and run.facts["architecture"] == "GPT-J, 1 layer of 32"
    return folder


def inputs(rooms, language_model):
    return {"lm": language_model, "task": rooms / "task", "subset": rooms / "subset"}


@pytest.mark.parametrize("arm", ["head", "full", "lora"])
def test_each_arm_learns_a_separable_task_and_reloads(arm, rooms, language_model, new_run):
    run = new_run()
    spec = ClassifierSpec(arm=arm, **SMALL | ({"lr": 1e-2} if arm == "lora" else {}))
    stages.train_classifier(inputs(rooms, language_model), spec, run)
    assert (run.out / "adapter").is_dir() == (arm == "lora")
    assert run.facts["tokens_seen"] > 0 and run.facts["share_of_tokens_cut"] == 0
    predicted = new_run()
    stages.predict({"classifier": run.out, "task": rooms / "task"}, PredictSpec(), predicted)
    rows = Predictions(predicted.out).table().to_pylist()
    test = [row for row in rows if row["split"] == "test"]
    right = sum(row["label"] == row["predicted"] for row in test)
    assert right >= 0.9 * len(test) == 18
    loaded = classify.load(run.out)
    texts = [document.text for document in Task(rooms / "task").split("test")]
    again = loaded.predict_proba(texts)
    stored = np.array([row["probabilities"] for row in test], np.float32)
    np.testing.assert_allclose(again, stored, atol=1e-6)
    np.testing.assert_allclose(again.sum(1), 1, atol=1e-5)
    assert loaded.labels == ("bad", "good")
    assert TextPolicy.read(run.out).max_chars == 500
    assert not list(run.out.rglob("*.pkl"))
    assert read_json(run.out / "config.json")["architectures"] == ["GPTJModel"]


def test_the_same_seed_gives_the_same_bytes_after_a_stop_too(rooms, language_model, new_run):
    spec = ClassifierSpec(arm="full", **SMALL)
    whole = new_run("whole")
    stages.train_classifier(inputs(rooms, language_model), spec, whole)
    steps = []
    stopped = new_run(
        "stopped", on_progress=lambda done, *_: steps.append(done), stop_requested=lambda: len(steps) > 20
    )
    with pytest.raises(Stopped):
        stages.train_classifier(inputs(rooms, language_model), spec, stopped)
    again = new_run("stopped")
    stages.train_classifier(inputs(rooms, language_model), spec, again)
    for path in sorted(whole.out.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (again.out / path.relative_to(whole.out)).read_bytes(), path.name
    other = new_run("other")
    stages.train_classifier(inputs(rooms, language_model), ClassifierSpec(arm="full", **SMALL | {"seed": 2}), other)
    assert (other.out / "head.safetensors").read_bytes() != (whole.out / "head.safetensors").read_bytes()


def test_a_text_is_scored_alike_in_any_company(rooms):
    tokenizer = load_tokenizer(rooms / "tokenizer")
    config = Config(tokenizer.vocab_size, n_ctx=32, n_layer=1, n_embd=32, n_head=2, rotary_dim=8)
    params = init(config, 0)
    texts = ["The lake of Riga is good.", "x", "", "The market. " * 40]
    ids = classify.encode(texts, tokenizer, 2048).ids
    assert len(ids[3]) > 3 * 32
    together = classify.features(params, ids, config)
    assert together.shape == (4, 96) and np.isfinite(together).all()
    alone = np.concatenate([classify.features(params, [one], config) for one in ids])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_padding_changes_no_feature(rooms):
    config = Config(300, n_ctx=64, n_layer=1, n_embd=32, n_head=2, rotary_dim=8)
    ids, params = np.arange(2, 22), init(config, 0)
    narrow, wide = (
        np.asarray(classify.read_here(params, *classify.padded([ids], shape, 2), config)) for shape in (32, 64)
    )
    np.testing.assert_allclose(narrow[0], wide[0], atol=1e-5)


@pytest.mark.parametrize(("length", "shape"), [(1, 32), (32, 32), (33, 64), (100, 96), (192, 192), (193, 384)])
def test_shapes_are_few(length, shape):
    if length == 100:
        assert data.shape_of(length, 96) == 192
    else:
        assert data.shape_of(length, 96) == shape


def test_batches_hold_every_text_once_a_pass_in_few_shapes():
    lengths = [5] * 40 + [50] * 3 + [120] * 9
    ids = [np.zeros(length, np.int32) for length in lengths]
    batches = finetune.Batches.of(ids, n_ctx=128, batch_size=8, seed=0)
    for epoch in (0, 1):
        steps = [batches.batch(epoch * batches.count + i) for i in range(batches.count)]
        assert sorted(i for _, some in steps for i in some) == list(range(52))
        assert {shape for shape, _ in steps} == {32, 128}, "three texts of 64 join the longer ones"
        assert all(len(some) <= 8 and max(lengths[i] for i in some) <= shape for shape, some in steps)
    assert batches.batch(0) != batches.batch(batches.count)


def test_long_texts_are_cut_and_counted(rooms):
    tokenizer = load_tokenizer(rooms / "tokenizer")
    encoded = classify.encode(["The market. " * 40], tokenizer, 20)
    assert len(encoded.ids[0]) == 20 and encoded.ids[0][0] == tokenizer.bos_id
    assert 0.8 < encoded.cut < 1


def test_a_text_without_label_is_refused(rooms):
    from lowres.artifacts import Document

    with pytest.raises(DataError, match="document 7"):
        stages.gold_of((Document("7", "train", None, "text"),), ("bad", "good"))
