"""Language models: trained, stopped and gone on with, tuned, scored, read from a folder."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from lowres.artifacts import Corpus, Stage, Task
from lowres.errors import DataError, NotFinite, Stopped
from lowres.families.contract import EvaluateSpec, ReadSpec
from lowres.families.ulmfit.evaluate import held_out_loss
from lowres.families.ulmfit.saved import read_lm
from lowres.families.ulmfit.spec import (
    InitSpec,
    PretrainSpec,
    TuneSpec,
)
from lowres.families.ulmfit.stages import evaluate_lm, init_lm, pretrain_lm, read_lm_folder, tune_lm
from lowres.fingerprint import file_sha256
from lowres.training.log import read_log

TINY = {"emb_size": 16, "n_hid": 24, "n_layers": 2, "batch_size": 8, "bptt": 40, "seed": 0}


def _until_done(stage, inputs, spec, new_run, name: str, stop_after: int) -> tuple[Path, int]:
    """Runs a stage that is stopped after so many reports, again and again. Returns its folder and the stops."""
    for stops in range(50):
        run = new_run(name, stop_after)
        try:
            stage(inputs, spec, run)
        except Stopped:
            continue
        return run.out, stops
    raise AssertionError("never done")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, packed, tokenizer):
    from lowres.artifacts import Run

    folder = tmp_path_factory.mktemp("lm")
    run = Run(out=folder, work=tmp_path_factory.mktemp("work"), seed=0)
    pretrain_lm({"packed": packed, "tokenizer": tokenizer}, PretrainSpec(**TINY, epochs=3, lr=2e-2), run)
    return folder, run.facts


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "qrnn", "zoneout": 0.2, "label_smoothing": 0.1},
        {"cell": "awd-lstm", "precision": "float32", "schedule": "slanted-triangular"},
        {"cell": "qrnn", "precision": "float16"},
    ],
    ids=["qrnn", "awd-lstm", "float16"],
)
def test_stopped_and_run_again_gives_the_same_bytes(settings, packed, tokenizer, new_run):
    inputs = {"packed": packed, "tokenizer": tokenizer}
    spec = PretrainSpec(**TINY, epochs=2, lr=1e-2, **settings)
    whole = new_run("whole")
    pretrain_lm(inputs, spec, whole)
    pieces, stops = _until_done(pretrain_lm, inputs, spec, new_run, "pieces", 11)
    assert stops >= 4, "stopped within both epochs"
    assert (pieces / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()
    assert (pieces / "training.jsonl").read_bytes() == (whole.out / "training.jsonl").read_bytes()


def test_training_ends_early_and_keeps_the_best_epoch(packed, tokenizer, new_run):
    """At so high a rate the loss on held-back text is best in the middle; a stop and a resume change nothing."""
    inputs = {"packed": packed, "tokenizer": tokenizer}
    settings = {**TINY, "lr": 0.3, "drop_mult": 0.0}
    whole = new_run("whole")
    pretrain_lm(inputs, PretrainSpec(**settings, epochs=9, early_stopping=2), whole)
    losses = [epoch["valid_loss"] for epoch in whole.facts["history"]]
    assert len(losses) < 9 and losses.index(min(losses)) == len(losses) - 3
    assert whole.facts["valid_loss"] == min(losses)
    pieces, stops = _until_done(
        pretrain_lm, inputs, PretrainSpec(**settings, epochs=9, early_stopping=2), new_run, "pieces", 17
    )
    assert stops > 2
    assert (pieces / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()
    endless = new_run("endless")
    pretrain_lm(inputs, PretrainSpec(**settings, epochs=9), endless)
    assert [epoch["valid_loss"] for epoch in endless.facts["history"]][: len(losses)] == losses
    assert endless.facts["valid_loss"] == endless.facts["history"][-1]["valid_loss"]


def test_the_log_has_a_line_every_ten_steps_and_every_epoch(trained):
    lines = list(read_log(trained[0] / "training.jsonl"))
    epochs = [line for line in lines if "epoch" in line]
    assert [line["valid_loss"] for line in epochs] == [epoch["valid_loss"] for epoch in trained[1]["history"]]
    steps = [line["step"] for line in lines if "lr" in line]
    assert steps == list(range(10, epochs[-1]["step"] + 1, 10))
    assert max(line["lr"] for line in lines if "lr" in line) <= 2e-2
    assert all(line["grad_norm"] > 0 for line in lines if "loss" in line)


def test_a_kill_loses_the_steps_since_the_checkpoint_and_nothing_else(packed, tokenizer, new_run, monkeypatch):
    monkeypatch.setattr("lowres.training.checkpoint.SECONDS_BETWEEN", 0.0)
    inputs, spec = {"packed": packed, "tokenizer": tokenizer}, PretrainSpec(**TINY, epochs=1, lr=1e-2)
    whole = new_run("whole")
    pretrain_lm(inputs, spec, whole)

    class Killed(Exception):
        pass

    killed = new_run("killed")
    counts = iter(range(13))

    def die(*_):
        if next(counts, None) is None:
            raise Killed("killed")

    killed.on_progress = die
    with pytest.raises(Killed):
        pretrain_lm(inputs, spec, killed)
    again = new_run("killed")
    pretrain_lm(inputs, spec, again)
    assert (again.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()


def test_training_learns_and_notes_its_facts(trained, packed, tokenizer, corpus, new_run):
    folder, facts = trained
    assert facts["architecture"] == "QRNN, 2 layers of 24" and facts["origin"] == "from scratch"
    model, config, _ = read_lm(folder)
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert facts["tokens_seen"] > 5000 and len(facts["history"]) == 3
    assert facts["valid_loss"] < math.log(config.vocab_size) - 0.7
    scored, random = new_run("scored"), new_run("random")
    evaluate_lm({"lm": folder, "corpus": corpus}, EvaluateSpec(), scored)
    init_lm({"tokenizer": tokenizer}, InitSpec(emb_size=16, n_hid=24, n_layers=2, seed=0), random)
    untrained = new_run("untrained")
    evaluate_lm({"lm": random.out, "corpus": corpus}, EvaluateSpec(), untrained)
    assert scored.facts["bits_per_byte"] < untrained.facts["bits_per_byte"] - 0.3
    assert random.facts["origin"] == "random initialisation" and random.facts["tokens_seen"] == 0


def test_the_held_out_loss_is_a_document_at_a_time(trained, corpus, new_run):
    folder, _ = trained
    model, _, tokenizer = read_lm(folder)
    model.products = torch.float32
    nats = 0.0
    with torch.no_grad():
        for ids in tokenizer.encode(list(Corpus(corpus).texts("test"))):
            model.reset()
            scores = model.decoder.scores(model(torch.tensor([[tokenizer.bos_id, *ids[:-1]]]))[0][0])
            nats += float(F.cross_entropy(scores, torch.tensor(ids), reduction="sum"))
    run = new_run("scored")
    evaluate_lm({"lm": folder, "corpus": corpus}, EvaluateSpec(), run)
    got = run.facts["nats_per_token"] * run.facts["tokens_per_byte"] * run.facts["held_out_bytes"]
    assert got == pytest.approx(nats, rel=2e-3)


def test_tuning_reads_training_texts_alone(trained, task, subset, new_run):
    folder, _ = trained
    run, narrow = new_run("tuned"), new_run("narrow")
    spec = TuneSpec(epochs=2, min_steps=40, batch_size=4, bptt=30, lr=1e-2, seed=0)
    tune_lm({"lm": folder, "task": task}, spec, run)
    assert run.facts["history"][-1]["steps"] >= 40
    texts = [document.text for document in Task(task).split("dev")]
    losses = []
    for lm in (folder, run.out):
        model, _, tokenizer = read_lm(lm)
        losses.append(held_out_loss(model, tokenizer, texts, new_run("scored"), backward=False).bits_per_byte)
    assert losses[1] < losses[0] - 0.5
    tune_lm({"lm": folder, "task": task, "subset": subset}, spec, narrow)
    per_pass = [r.facts["bytes_seen"] / len(r.facts["history"]) for r in (run, narrow)]
    assert per_pass[1] == pytest.approx(per_pass[0] * 64 / 96, rel=0.1)


def test_a_diverging_loss_is_not_finite(packed, tokenizer, new_run):
    spec = PretrainSpec(**TINY, epochs=1, lr=1e30, clip=1e30)
    with pytest.raises(NotFinite, match="lower the learning rate"):
        pretrain_lm({"packed": packed, "tokenizer": tokenizer}, spec, new_run("wild"))


def test_a_folder_is_read_as_it_was_planned(trained, new_run):
    folder, facts = trained
    names = ["config.json", "model.safetensors", *(f"tokenizer/{p.name}" for p in (folder / "tokenizer").iterdir())]
    files = {name: file_sha256(folder / name) for name in names}
    run = new_run("read")
    read_lm_folder({}, ReadSpec(path=str(folder), files=files), run)
    assert run.facts["origin"] == f"pretrained weights {files['model.safetensors']}"
    assert run.facts["parameters"] == facts["parameters"]
    with pytest.raises(DataError, match="changed since"):
        read_lm_folder({}, ReadSpec(path=str(folder), files=files | {"config.json": "0" * 64}), new_run("changed"))


def test_weights_of_another_size_are_named(trained, new_run, tmp_path):
    import shutil

    folder, _ = trained
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    text = (broken / "config.json").read_text(encoding="utf-8")
    (broken / "config.json").write_text(text.replace('"n_hid": 24', '"n_hid": 32'), encoding="utf-8")
    with pytest.raises(DataError, match="different models"):
        read_lm(broken)
    (broken / "model.safetensors").write_bytes(b"short")
    with pytest.raises(DataError, match="safetensors"):
        read_lm(broken)


def test_every_stage_names_a_function_that_is_there():
    from importlib import import_module

    from lowres.families.ulmfit import spec

    stages = [value for value in vars(spec).values() if isinstance(value, Stage)]
    assert len(stages) == 7
    for stage in stages:
        module, _, function = stage.target.partition(":")
        assert callable(getattr(import_module(module), function)), stage.target
