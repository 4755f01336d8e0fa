"""Learners for notebooks: as the stage trains, lr_find, predictions, what is shown, saved and read back."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from fastai.metrics import Perplexity, accuracy
from torch.nn import functional as F

import lowres
from lowres.artifacts import Corpus, PackedTokens, Run, Subset, Task
from lowres.errors import DataError, RecipeError
from lowres.families.ulmfit import classifier_learner, fit_phase, lm_learner, phases, save_classifier, save_lm
from lowres.families.ulmfit.classify import load
from lowres.families.ulmfit.saved import read_lm
from lowres.families.ulmfit.spec import ClassifierSpec, PretrainSpec, TuneSpec, UlmfitMethod, _read
from lowres.families.ulmfit.stages import pretrain_lm, read_lm_folder, train_classifier, tune_lm
from lowres.tokenizers.base import load_tokenizer
from lowres.tokenizers.spec import Subword
from lowres.tokenizers.subword import train_subword

matplotlib.use("Agg")
SIZES = {"emb_size": 16, "n_hid": 24, "n_layers": 2}
TINY = {**SIZES, "batch_size": 8, "bptt": 40, "epochs": 2, "lr": 2e-2}
HEAD = {"subword_sampling": 0.2, "batch_size": 16, "min_steps": 8, "last_epochs": 1, "lr": 6e-2, "drop_mult": 0.1}
WEIGHTS = "model.safetensors"


def quiet(learn):
    """The Learner, without bars and lines of losses."""
    learn.remove_cb(learn.progress)
    learn.logger = lambda *_: None
    return learn


def fitted(learn):
    for phase in phases(quiet(learn)):
        fit_phase(learn, phase)
    return learn


@pytest.fixture(scope="module")
def lm(tmp_path_factory, packed, tokenizer):
    """The folder of a pretrained language model, by the stage."""
    run = Run(out=tmp_path_factory.mktemp("lm"), work=tmp_path_factory.mktemp("work"), seed=0)
    pretrain_lm({"packed": packed, "tokenizer": tokenizer}, PretrainSpec(**TINY, seed=0), run)
    return run.out


@pytest.fixture(scope="module")
def tokens(packed, tokenizer):
    """A language model's Learner, not fitted."""
    return quiet(lm_learner(packed, tokenizer, metrics=[accuracy, Perplexity()], **TINY))


@pytest.fixture(scope="module")
def labels(lm, task, subset):
    """A classifier's Learner, fitted."""
    return fitted(classifier_learner(lm, Task(task), Subset(subset), metrics=accuracy, **HEAD))


def test_importing_the_package_brings_no_framework():
    code = "import sys, lowres.families.ulmfit as u; print('torch' in sys.modules, dir(u)[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "classifier_learner"]


# --- as the stages ---------------------------------------------------------------------------------------------------


def test_a_fit_by_hand_gives_the_weights_of_the_stage(lm, corpus, packed, tokenizer, tmp_path):
    by_hand = quiet(lm_learner(PackedTokens(packed), load_tokenizer(tokenizer), **TINY))
    by_hand.lr_find(show_plot=False, num_it=20)
    by_hand.fit_one_cycle(2)
    saved = save_lm(by_hand, tmp_path / "hand")
    assert (saved / WEIGHTS).read_bytes() == (lm / WEIGHTS).read_bytes(), "a search for the rate leaves no trace"
    by_phases = fitted(lm_learner(corpus, tokenizer, **TINY))
    assert (save_lm(by_phases, tmp_path / "phases") / WEIGHTS).read_bytes() == (lm / WEIGHTS).read_bytes()
    other = fitted(lm_learner(corpus, tokenizer, **TINY, seed=1))
    assert (save_lm(other, tmp_path / "other") / WEIGHTS).read_bytes() != (lm / WEIGHTS).read_bytes()


@pytest.mark.parametrize("sampling", [0.0, 0.2])
def test_tuning_on_a_tasks_texts_gives_the_weights_of_the_stage(sampling, lm, task, new_run, tmp_path):
    settings = {"epochs": 1, "min_steps": 20, "batch_size": 4, "bptt": 30, "subword_sampling": sampling}
    run = new_run("tuned")
    tune_lm({"lm": lm, "task": task}, TuneSpec(**settings, seed=3), run)
    texts = [document.text for document in Task(task).split("train")]
    learn = fitted(lm_learner(texts, lm=lm, seed=3, **settings))
    assert (save_lm(learn, tmp_path / "tuned") / WEIGHTS).read_bytes() == (run.out / WEIGHTS).read_bytes()


def test_a_classifier_gives_the_predictions_of_the_stage(labels, lm, task, subset, new_run, tmp_path):
    run = new_run("classifier")
    train_classifier({"task": task, "subset": subset, "lm_forward": lm}, ClassifierSpec(**HEAD, seed=0), run)
    saved = save_classifier(labels, tmp_path / "saved")
    texts = [document.text for document in Task(task).split("test")]
    ours = lowres.load_classifier(saved)
    assert ours.policy.max_chars == 400, "the task's"
    assert np.allclose(ours.predict_proba(texts), load(run.out).predict_proba(texts), atol=1e-2)
    tensors = {name: tensor.detach() for name, tensor in labels.model.named_parameters()}
    stage = load(run.out).models[0][1]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in stage.named_parameters())


def test_a_search_leaves_no_trace_in_a_scaled_training(packed, tokenizer):
    learn = quiet(lm_learner(packed, tokenizer, precision="float16", **TINY))
    learn.lr_find(show_plot=False, num_it=30, end_lr=1e30)
    assert (learn.loss_scale.scale, learn.loss_scale.good_steps) == (2.0**16, 0)
    learn.fit_one_cycle(1)
    assert learn.loss_scale.good_steps > 10


# --- what fastai's own methods do ------------------------------------------------------------------------------------


def test_lr_find_suggests_a_rate_draws_its_plot_and_puts_the_weights_back(tokens, labels, tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    for learn in (tokens, labels):
        before = [parameter.detach().clone() for parameter in learn.model.parameters()]
        found = learn.lr_find(num_it=40, stop_div=False)  # other tests have trained it: its loss is near 0
        assert 1e-7 < found.valley < 10
        axes = plt.gcf().axes[0]
        assert len(axes.lines[0].get_xdata()) > 20 and axes.get_xlabel() == "Learning Rate"
        plt.close("all")
        assert all(torch.equal(a, b) for a, b in zip(before, learn.model.parameters(), strict=True))
    assert not list((tmp_path / "models").iterdir())


def test_a_language_model_predicts_probabilities_and_is_measured_by_them(tokens):
    loss, right, perplexity = tokens.validate()
    probabilities, targets, likeliest = tokens.get_preds(with_decoded=True)
    assert probabilities.shape == (*targets.shape, tokens.origin.tokenizer.vocab_size)
    assert torch.allclose(probabilities.sum(-1), torch.ones(targets.shape), atol=1e-5)
    nats = F.nll_loss(probabilities.log().flatten(0, 1), targets.flatten())
    assert float(nats) == pytest.approx(loss, abs=2e-2) and perplexity == pytest.approx(np.exp(loss), rel=1e-3)
    assert right == pytest.approx(float((likeliest == targets).float().mean()), abs=2e-2)


def test_a_classifiers_predictions_are_in_the_order_of_the_texts(labels, task, subset, tmp_path):
    probabilities, targets, likeliest = labels.get_preds(with_decoded=True)
    dev = Subset(subset).documents(Task(task), "dev")
    wanted = [labels.origin.shape.labels.index(document.label) for document in dev]
    assert targets.tolist() == wanted and torch.equal(likeliest, probabilities.argmax(1))
    loaded = lowres.load_classifier(save_classifier(labels, tmp_path / "saved"))
    assert np.allclose(probabilities, loaded.predict_proba([document.text for document in dev]), atol=2e-2)
    assert labels.validate()[1] == pytest.approx(float((likeliest == targets).float().mean()))
    train = labels.get_preds(dl=labels.dls.train)[1]
    assert train.tolist() == labels.dls.train.labels.tolist()


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_texts_and_predictions_are_shown_in_words(direction, task, tokenizer, capsys):
    texts = [document.text for document in Task(task).split("train")]
    learn = quiet(lm_learner(texts, tokenizer, direction=direction, **TINY))
    learn.dls.show_batch(max_n=2)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["text", "next"] and len(rows) == 2
    first = rows[0].split("  ")
    assert any(text[:12] in rows[0] or text[-12:] in rows[0] for text in texts if len(text) > 12), first
    learn.show_results(max_n=3)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["text", "next", "predicted"] and len(rows) == 3


def test_labels_are_shown_beside_what_was_predicted(labels, task, capsys):
    labels.show_results(max_n=4)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["text", "label", "predicted"] and len(rows) == 4
    texts = {document.text: document.label for document in Task(task).documents}
    for row in rows:
        shown = [text for text in texts if f" {text}  " in row]
        assert any(row.count(texts[text]) for text in shown), row


# --- saving ----------------------------------------------------------------------------------------------------------


def test_a_saved_language_model_is_an_init_and_generates(tokens, tmp_path, new_run):
    folder = save_lm(tokens, tmp_path / "lm")
    UlmfitMethod(family="ulmfit", init=str(folder))
    run = new_run("read")
    read_lm_folder({}, _read(folder).spec, run)
    assert (run.out / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    assert lowres.load_generator(folder).generate("Hà Nội", 3).startswith("Hà Nội")
    with pytest.raises(DataError, match="exists already"):
        save_lm(tokens, folder)
    with (folder / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(DataError, match="sha256"):
        lm_learner(["a"], lm=folder)


def test_two_directions_are_saved_and_read_as_one(task, corpus, tokenizer, tmp_path):
    fewer = train_subword(Corpus(corpus).texts("train"), Subword(vocab_size=400), "vie")
    texts = [document.text for document in Task(task).split("train")]
    pairs = [(document.text, document.label) for document in Task(task).split("train")[:24]]
    ways = ("forward", "backward")
    lms = save_lm([lm_learner(texts, tokenizer, direction=way, **TINY) for way in ways], tmp_path / "lms")
    assert [read_lm(lms / way)[1].direction for way in ways] == [*ways]
    with pytest.raises(DataError, match="say direction"):
        classifier_learner(lms, pairs)
    made = [classifier_learner(lms, pairs, pairs, direction=way, calibration="temperature") for way in ways]
    both = lowres.load_classifier(save_classifier(made, tmp_path / "both"))
    assert both.labels == ("tiêu cực", "tích cực") and both.model.shape.temperature != 1.0
    with pytest.raises(DataError, match="one Learner, or a forward and a backward"):
        save_classifier([made[0], made[0]], tmp_path / "twice")
    other = save_lm(lm_learner(texts, fewer, direction="backward", **TINY), tmp_path / "other")
    for stranger in (
        classifier_learner(lms, pairs, pairs, direction="backward", max_len=7),
        classifier_learner(other, pairs, calibration="temperature"),
    ):
        with pytest.raises(DataError, match="differ in labels, settings, text policy or tokenizer"):
            save_classifier([made[0], stranger], tmp_path / "differ")
    assert not (tmp_path / "differ").exists() and not (tmp_path / "twice").exists()


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_mistakes_are_one_line(lm, tokenizer, task, subset, labels, tmp_path):
    pairs = [("tốt", "a"), ("xấu", "b")]
    with pytest.raises(RecipeError, match="lm_learner: n_layer: unknown key; did you mean n_layers?"):
        lm_learner(["một hai"], tokenizer, n_layer=2)
    with pytest.raises(RecipeError, match="lm_learner with lm: n_hid: unknown key"):
        lm_learner(["một hai"], lm=lm, n_hid=2)
    with pytest.raises(RecipeError, match="EarlyStoppingCallback"):
        classifier_learner(lm, pairs, early_stopping=1)
    with pytest.raises(RecipeError, match="give a tokenizer, or lm"):
        lm_learner(["một hai"])
    with pytest.raises(DataError, match="too few"):
        lm_learner(["một hai"], tokenizer)
    with pytest.raises(DataError, match="cannot be cut anew"):
        lm_learner(PackedTokens(tmp_path), lm=lm, subword_sampling=0.1)
    with pytest.raises(DataError, match="neither a corpus"):
        lm_learner(tmp_path, tokenizer)
    with pytest.raises(DataError, match="a forward language model"):
        lm_learner(["một hai"], lm=lm, direction="backward")
    with pytest.raises(DataError, match="dev has the label 'c'"):
        classifier_learner(lm, pairs, [("gì", "c")])
    with pytest.raises(DataError, match="no texts"):
        classifier_learner(lm, [])
    with pytest.raises(DataError, match="goes with its Task"):
        classifier_learner(lm, pairs, Subset(subset))
    with pytest.raises(DataError, match="beside it goes a Subset"):
        classifier_learner(lm, Task(task), pairs)
    with pytest.raises(DataError, match="what lm_learner made"):
        save_lm(labels, tmp_path / "lm")


def test_a_corpus_by_its_folder_and_texts_of_ones_own(corpus, packed, tokenizer):
    by_folder = lm_learner(str(corpus), tokenizer, **TINY)
    by_view = lm_learner(Corpus(corpus), tokenizer, ["Một câu để xem, và một câu nữa để xem."], **TINY)
    ids = [learn.dls.train.documents.ids for learn in (by_folder, by_view, lm_learner(packed, tokenizer, **TINY))]
    assert np.array_equal(ids[0], ids[1]) and np.array_equal(ids[0], ids[2])
    assert len(by_view.dls.valid.documents) == 1 and len(by_folder.dls.valid.documents) == 2
