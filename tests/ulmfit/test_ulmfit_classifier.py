"""Classifiers: trained, stopped and gone on with, read back, both directions; and generation."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lowres.artifacts import Predictions, Run, Task
from lowres.errors import DataError, Stopped
from lowres.families.contract import PredictSpec
from lowres.families.ulmfit.classify import load
from lowres.families.ulmfit.data import pad_chunks
from lowres.families.ulmfit.generate import load as load_generator
from lowres.families.ulmfit.generate import pick
from lowres.families.ulmfit.learning import Phase, fit_phases
from lowres.families.ulmfit.saved import read_lm
from lowres.families.ulmfit.spec import ClassifierSpec, InitSpec
from lowres.families.ulmfit.stages import classifier_phases, init_lm, predict, train_classifier
from lowres.training.classifier import TextPolicy

SPEC = ClassifierSpec(
    seed=0, unfreezing="layered", rate_factor=2.6, batch_size=16, min_steps=20, lr=6e-2, drop_mult=0.1
)


@pytest.fixture(scope="module")
def lms(tmp_path_factory, tokenizer):
    made = {}
    for way in ("forward", "backward"):
        made[f"lm_{way}"] = tmp_path_factory.mktemp(way)
        run = Run(out=made[f"lm_{way}"], work=made[f"lm_{way}"], seed=0)
        init_lm({"tokenizer": tokenizer}, InitSpec(emb_size=16, n_hid=24, n_layers=2, seed=0, direction=way), run)
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory, lms, task, subset):
    run = Run(out=tmp_path_factory.mktemp("classifier"), work=tmp_path_factory.mktemp("work"), seed=0)
    inputs = {"lm_forward": lms["lm_forward"], "task": task, "subset": subset}
    train_classifier(inputs, SPEC, run)
    return run.out, run.facts


def _accuracy(folder) -> float:
    table = Predictions(folder).table().to_pydict()
    rows = [k for k, split in enumerate(table["split"]) if split == "test"]
    return float(np.mean([table["label"][k] == table["predicted"][k] for k in rows]))


def test_a_separable_task_is_learnt(trained, task, new_run):
    folder, facts = trained
    run = new_run("predictions")
    predict({"classifier": folder, "task": task}, PredictSpec(), run)
    assert _accuracy(run.out) >= 0.95
    assert facts["labels_used"] == 64 and facts["parameters"] > 10_000
    assert len(pq.read_table(run.out / "predictions.parquet")) == 48


def test_the_folder_alone_gives_the_same_predictions(trained, task, tmp_path):
    import shutil

    folder, _ = trained
    shutil.copytree(folder, tmp_path / "moved")
    texts = [document.text for document in Task(task).split("test")]
    here, there = load(folder), load(tmp_path / "moved")
    first = here.predict_proba(texts)
    assert np.array_equal(first, there.predict_proba(texts))
    assert here.labels == Task(task).labels and first.dtype == np.float32
    assert np.allclose(first.sum(1), 1, atol=1e-6)
    assert TextPolicy.read(folder).max_chars == 400
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = here.predict_proba([texts[k] for k in order])
    assert np.allclose(shuffled, first[order], atol=2e-2), "a text's row does not depend on its neighbours"
    assert here.predict_proba([]).shape == (0, 2)
    assert here.predict_proba([""]).shape == (1, 2)


def test_stopped_and_run_again_gives_the_same_bytes(trained, lms, task, subset, new_run):
    folder, _ = trained
    inputs = {"lm_forward": lms["lm_forward"], "task": task, "subset": subset}
    stops = 0
    while True:
        run = new_run("pieces", 25)
        try:
            train_classifier(inputs, SPEC, run)
            break
        except Stopped:
            stops += 1
    assert 5 <= stops < 50, "stopped in every cycle"
    name = "forward/model.safetensors"
    assert (run.out / name).read_bytes() == (folder / name).read_bytes()


def test_both_directions_are_averaged(lms, task, subset, new_run, trained):
    run = new_run("both")
    train_classifier({**lms, "task": task, "subset": subset}, SPEC, run)
    assert (run.out / "forward/model.safetensors").read_bytes() == (
        trained[0] / "forward/model.safetensors"
    ).read_bytes()
    texts = [document.text for document in Task(task).split("dev")]
    both = load(run.out)
    forward, backward = (type(both)([model], both.tokenizer, both.shape) for model in both.models)
    parts = [model.predict_proba(texts) for model in (forward, backward)]
    assert not np.allclose(parts[0], parts[1], atol=1e-4)
    assert np.allclose(both.predict_proba(texts), (parts[0] + parts[1]) / 2, atol=1e-6)


@pytest.mark.parametrize("lengths", [(150, 80, 77, 30), (300, 149, 73, 72, 1), (72, 72), (220, 5)])
def test_a_text_is_read_whole_whatever_stands_beside_it(trained, lengths):
    ((config, model),) = load(trained[0]).models
    chunk = model[0].bptt
    rng = np.random.default_rng(0)
    texts = [rng.integers(6, config.vocab_size, length * chunk // 72).tolist() or [7] for length in lengths]
    with torch.no_grad():
        together = model(pad_chunks(texts, config.pad_id, chunk))[0]
        alone = torch.cat([model(pad_chunks([text], config.pad_id, chunk))[0] for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)


def test_layered_unfreezing_opens_one_group_a_cycle():
    spec = ClassifierSpec(seed=0, unfreezing="layered", lr=0.08, rate_factor=2.0, epochs=1, last_epochs=2, min_steps=30)
    phases = classifier_phases(spec, groups=5, steps_per_epoch=4)
    assert [phase.freeze_to for phase in phases] == [-1, -2, -3, 0]
    assert [phase.epochs for phase in phases] == [8, 8, 8, 30]
    assert phases[0].rates == (0.005, 0.01, 0.02, 0.04, 0.08)
    assert [phase.rates[-1] for phase in phases] == [0.08, 0.04, 0.02, 0.01]
    many = classifier_phases(spec, groups=5, steps_per_epoch=400)
    assert [phase.epochs for phase in many] == [1, 1, 1, 2]
    assert [p.freeze_to for p in classifier_phases(spec.model_copy(update={"unfreezing": "all"}), 5, 4)] == [0]


def test_chain_thaw_trains_the_head_then_each_group_alone_then_all(lms, task, subset, new_run):
    spec = SPEC.model_copy(update={"unfreezing": "chain-thaw"})
    phases = classifier_phases(spec, groups=4, steps_per_epoch=10)
    assert [(phase.freeze_to, phase.alone) for phase in phases] == [
        (-1, True), (-4, True), (-3, True), (-2, True), (0, False),
    ]  # fmt: skip
    assert len({phase.rates for phase in phases}) == 1
    quick = spec.model_copy(update={"min_steps": 1, "last_epochs": 1})
    run = new_run("thawed")
    train_classifier({"lm_forward": lms["lm_forward"], "task": task, "subset": subset}, quick, run)
    assert len(run.facts["history_forward"]) == 5
    assert (run.out / "training-forward.jsonl").is_file()


def test_a_group_that_is_alone_is_the_only_one_that_moves(lms, task, subset, new_run, monkeypatch):
    for group, names in ((-1, ("1.",)), (-4, ("0.module.encoder.",)), (-2, ("0.module.rnns.1.",))):
        one = Phase(group, 1, (1e-2,) * 4, alone=True)
        monkeypatch.setattr("lowres.families.ulmfit.stages.classifier_phases", lambda *_, one=one: [one])
        run = new_run("alone")
        moved = _moved(lms, task, subset, run, monkeypatch)
        assert moved and all(name.startswith((*names, "1.layers.0.0", "1.layers.1.0")) for name in moved), moved
        assert any(name.startswith(names) for name in moved)


def _moved(lms, task, subset, run, monkeypatch) -> list[str]:
    """The parameters that a training changed."""
    before = {}

    def remember(learn, *_):
        before.update({name: p.detach().clone() for name, p in learn.model.named_parameters()})
        fit_phases(learn, *_)

    monkeypatch.setattr("lowres.families.ulmfit.stages.fit_phases", remember)
    train_classifier({"lm_forward": lms["lm_forward"], "task": task, "subset": subset}, SPEC, run)
    after = dict(load(run.out).models[0][1].named_parameters())
    return [name for name, p in before.items() if not torch.equal(p, after[name])]


def test_generation_is_seeded_and_refuses_a_backward_model(lms):
    generator = load_generator(lms["lm_forward"])
    first = generator.generate("Hà Nội", 20, 1.0, 0, 1.0, 1)
    assert first == generator.generate("Hà Nội", 20, 1.0, 0, 1.0, 1)
    assert first.startswith("Hà Nội") and first != generator.generate("Hà Nội", 20, 1.0, 0, 1.0, 2)
    assert generator.generate("", 5, 0.0, 0, 1.0, 1) == generator.generate("", 5, 0.0, 0, 1.0, 9)
    with pytest.raises(DataError, match="backward"):
        load_generator(lms["lm_backward"])


def test_generation_follows_the_network_and_in_8_bits_nearly(lms):
    model, _, tokenizer = read_lm(lms["lm_forward"])
    model.products = torch.float32
    ids = tokenizer.encode(["Hà Nội"])[0]
    with torch.no_grad():
        for _ in range(12):
            model.reset()
            scores = model.decoder.scores(model(torch.tensor([[tokenizer.bos_id, *ids]]))[0][0, -1])
            scores[[tokenizer.pad_id, tokenizer.unk_id]] = -torch.inf
            ids.append(int(scores.argmax()))
    exact, small = load_generator(lms["lm_forward"]), load_generator(lms["lm_forward"], int8=True)
    assert exact.generate("Hà Nội", 12, 0.0) == tokenizer.decode(ids)
    read = torch.tensor([[tokenizer.bos_id, *ids]])
    near = [each.scores(each.encoder.read(read, each.encoder.start(1))[0][:, -1]) for each in (exact, small)]
    shown = near[0].isfinite()
    assert (near[0] - near[1])[shown].abs().max() < 0.05 * near[0][shown].std()


def test_pick_keeps_to_top_k_and_top_p():
    scores = torch.log(torch.tensor([0.5, 0.1, 0.3, 0.1]))
    draws = torch.Generator().manual_seed(0)

    def drawn(**settings):
        return {
            pick(scores, draws=draws, **{"temperature": 1.0, "top_k": 0, "top_p": 1.0, **settings}) for _ in range(200)
        }

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {0, 2}
    assert drawn(top_p=0.5) == {0} and drawn(top_p=0.6) == {0, 2}
    assert drawn(temperature=0.0) == {0}
