import json
import shutil

import numpy as np
import pytest

from lowres.artifacts import Corpus
from lowres.errors import DataError, RecipeError
from lowres.families.contract import EvaluateSpec
from lowres.families.gptj import stages
from lowres.families.gptj.huggingface import load_lm
from lowres.families.gptj.settings import AdaptSpec, GptjMethod, InitSpec, TuneSpec
from lowres.families.gptj.spec import READ_LM, language_model
from lowres.fingerprint import file_sha256
from lowres.metrics.bits import held_out_texts

SIZES = {"n_layer": 1, "n_embd": 32, "n_head": 2, "rotary_dim": 8, "n_ctx": 32}


def evaluated(folder, rooms, new_run):
    run = new_run()
    stages.evaluate_lm({"lm": folder, "corpus": rooms / "corpus"}, EvaluateSpec(held_out_bytes=1000), run)
    return run.facts


def test_pretraining_says_what_it_made(pretrained):
    _, facts = pretrained
    assert facts["origin"] == "from scratch" and facts["architecture"] == "GPT-J, 1 layer of 32"
    assert facts["parameters"] > 10_000 and facts["tokens_seen"] > 0
    assert facts["bytes_seen"] > facts["tokens_seen"]
    assert facts["valid_loss"] < np.log(300) - 1


def test_pretraining_beats_random_weights_in_bits_per_byte(pretrained, rooms, new_run):
    run = new_run()
    stages.init_lm({"tokenizer": rooms / "tokenizer"}, InitSpec(**SIZES, seed=0), run)
    before, after = evaluated(run.out, rooms, new_run), evaluated(pretrained[0], rooms, new_run)
    assert after["bits_per_byte"] < before["bits_per_byte"] - 0.5
    tokens = before["nats_per_token"], np.log(load_lm(run.out)[1].vocab_size)
    assert tokens[0] == pytest.approx(tokens[1], rel=0.02), "random weights know nothing"
    assert before["held_out_bytes"] == after["held_out_bytes"] >= 1000


def test_evaluation_equals_a_sum_over_single_documents(pretrained, rooms, new_run):
    from lowres.families.gptj.data import scored_windows
    from lowres.families.gptj.train import token_nats

    params, config, tokenizer = stages.device_lm(pretrained[0])
    nats = tokens = 0.0
    for text in held_out_texts(Corpus(rooms / "corpus"), 1000):
        ids = tokenizer.encode([text])[0]
        tokens += len(ids)
        for row, marks in scored_windows(ids, tokenizer.bos_id, config.n_ctx):
            nats += float((np.asarray(token_nats(params, row[None], tokenizer.bos_id, config))[0] * marks[1:]).sum())
    assert evaluated(pretrained[0], rooms, new_run)["nats_per_token"] == pytest.approx(nats / tokens, rel=1e-5)


def test_tuning_on_the_tasks_texts_changes_the_model_and_reads_no_held_out_text(pretrained, rooms, new_run, tmp_path):
    spec = TuneSpec(batch_size=8, epochs=1.0, seed=0)
    one, same = new_run("one"), new_run("two")
    stages.tune_lm({"lm": pretrained[0], "task": rooms / "task"}, spec, one)
    import pyarrow.parquet as pq

    shutil.copytree(rooms / "task", tmp_path / "task")
    table = pq.read_table(tmp_path / "task" / "documents.parquet").to_pandas()
    table.loc[table["split"] != "train", "text"] = "never read"
    table.to_parquet(tmp_path / "task" / "documents.parquet")
    stages.tune_lm({"lm": pretrained[0], "task": tmp_path / "task"}, spec, same)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (pretrained[0], one.out, same.out)]
    assert weights[0] != weights[1] == weights[2]
    small = new_run("three")
    inputs = {"lm": pretrained[0], "task": rooms / "task", "subset": rooms / "subset"}
    stages.tune_lm(inputs, spec, small)
    assert small.facts["tokens_seen"] == one.facts["tokens_seen"], "this subset holds all of train"


def test_a_folder_is_read_checked_and_named_by_its_weights(pretrained, rooms, new_run):
    from lowres.families.contract import Shared
    from lowres.fingerprint import file_sha256

    shared = Shared("eng", corpus=None, tokenizer=None, lm_seed=0, unlabelled="train")
    node = language_model(GptjMethod(family="gptj", init=str(pretrained[0])), shared).weights
    assert node.stage is READ_LM and not node.inputs
    run = new_run()
    stages.read_lm({}, node.spec, run)
    assert run.facts["origin"] == f"pretrained weights {file_sha256(pretrained[0] / 'model.safetensors')}"
    ours, theirs = load_lm(run.out)[0], load_lm(pretrained[0])[0]
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    changed = node.spec.model_copy(update={"files": node.spec.files | {"config.json": "0" * 64}})
    with pytest.raises(DataError, match="config.json"):
        stages.read_lm({}, changed, new_run())


def test_a_moved_folder_is_the_same_request(pretrained, tmp_path):
    from lowres.families.contract import Shared

    shared = Shared("eng", corpus=None, tokenizer=None, lm_seed=0, unlabelled="train")
    copy = tmp_path / "elsewhere"
    shutil.copytree(pretrained[0], copy)
    ids = {
        language_model(GptjMethod(family="gptj", init=str(path)), shared).weights.id for path in (pretrained[0], copy)
    }
    assert len(ids) == 1


def test_a_folder_of_another_model_is_refused(tmp_path):
    from lowres.families.contract import Shared

    shared = Shared("eng", corpus=None, tokenizer=None, lm_seed=0, unlabelled="train")
    with pytest.raises(RecipeError, match="config.json"):
        language_model(GptjMethod(family="gptj", init=str(tmp_path)), shared)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(RecipeError, match="gptj"):
        language_model(GptjMethod(family="gptj", init=str(tmp_path)), shared)


def test_a_model_goes_on_on_a_corpus_or_on_rows_that_others_packed(pretrained, rooms, new_run, tmp_path):
    from test_gptj_tfrecords import example, record

    settings = {"batch_size": 8, "epochs": 0.5, "lr": 1e-3, "seed": 0}
    on_corpus, on_texts, on_rows = (new_run(name) for name in ("one", "two", "three"))
    inputs = {"lm": pretrained[0], "packed": rooms / "packed"}
    stages.adapt_lm(inputs, AdaptSpec(**settings), on_corpus)
    stages.adapt_lm({"lm": pretrained[0], "corpus": rooms / "corpus"}, AdaptSpec(**settings), on_texts)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (pretrained[0], on_corpus.out, on_texts.out)]
    assert weights[0] != weights[1] == weights[2], "packed before or now, it is the same text"
    assert on_corpus.facts["architecture"].startswith("GPT-J") and on_corpus.facts["parameters"] > 0
    assert on_corpus.facts["bytes_seen"] == pytest.approx(on_texts.facts["bytes_seen"], rel=1e-3)
    rows = np.random.default_rng(0).integers(3, 300, (16, SIZES["n_ctx"] + 1)).tolist()
    path = tmp_path / "some.tfrecords"
    path.write_bytes(b"".join(record(example(row)) for row in rows))
    spec = AdaptSpec(**settings, path=str(path), files={path.name: file_sha256(path)})
    stages.adapt_lm({"lm": pretrained[0]}, spec, on_rows)
    assert on_rows.facts["tokens_seen"] == 8 * SIZES["n_ctx"] and on_rows.facts["train_loss"] > 3
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match="changed since"):
        stages.adapt_lm({"lm": pretrained[0]}, spec, new_run("four"))
