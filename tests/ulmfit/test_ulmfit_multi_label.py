"""Sets of labels, from a card to the report, the model card and what is exported; without workers, in this process."""

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lowres import load_classifier
from lowres.artifacts import Predictions, Run, read_json
from lowres.cli import app
from lowres.errors import DataError, RecipeError
from lowres.experiment.drive import Driver
from lowres.experiment.keep import choose_classifier
from lowres.experiment.plan import make_plan
from lowres.experiment.results import RunFolder
from lowres.experiment.worker import build
from lowres.export import export_classifier
from lowres.families.contract import Packing
from lowres.families.ulmfit import classifier_learner, inference, onnx_inference, save_classifier
from lowres.families.ulmfit.classify import load
from lowres.families.ulmfit.outputs import output
from lowres.families.ulmfit.spec import ClassifierSpec, InitSpec
from lowres.families.ulmfit.stages import init_lm
from lowres.fetch import Finder
from lowres.recipe import build_recipe
from lowres.report.page import write_report
from lowres.report.results import load_results
from lowres.report.summary import summarise
from lowres.store import Store

WORDS = {"giá": "rẻ đắt tiền giảm".split(), "món": "ngon dở mặn ngọt".split(), "phục vụ": "nhanh chậm vui lạnh".split()}
LABELS = tuple(sorted(WORDS))
FILLERS = "hôm nay quán này tôi đến với bạn bè một lần nữa".split()


def reviews(count: int) -> list[tuple[str, list[str]]]:
    """Texts with the words of their labels: each label is there in two of five texts; a fifth has none."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(count):
        names = [name for name in LABELS if draw.random() < 0.42]
        words = [draw.choice(WORDS[name]) for name in names for _ in range(2)]
        made.append((" ".join(draw.permutation([*words, *draw.choice(FILLERS, 4)])), names))
    return made


class Here:
    """An executor that builds in this process, one job at a time."""

    def __init__(self, store: Store):
        self.store, self.stop = store, self
        self.running = []

    def is_set(self) -> bool:
        return False

    def send(self, **message) -> None:
        pass

    def has_room(self) -> bool:
        return not self.running

    def warm(self, kind: str) -> bool:
        return False

    def start(self, job) -> None:
        self.running.append(job)

    def events(self, wait_s: float):
        for job in self.running:
            yield job, {"type": build(job, self.store, self)}
        self.running = []

    def close(self) -> None:
        pass


class Silent:
    def planned(self, *_): ...
    def started(self, *_): ...
    def progressed(self, *_): ...
    def finished(self, *_): ...
    def failed(self, node, label, error):
        raise AssertionError(error)


@pytest.fixture(scope="module")
def card(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    lines = [f"{text},{'|'.join(names)}" for text, names in reviews(150)]
    data = ("text,topics\n" + "\n".join(lines) + "\n").encode()
    (folder / "reviews.csv").write_bytes(data)
    card = folder / "reviews.toml"
    card.write_text(
        'card = "task"\nname = "vi/reviews"\nkind = "multi-label"\nlanguage = "vie"\nscript = "Latn"\n'
        'licence = "not published"\nstatement = "Sentences put together for the tests from a few words."\n'
        '[layout]\nformat = "csv"\nlabel = "topics"\nlabel_separator = "|"\n'
        f'[[files]]\nrole = "all"\npath = "reviews.csv"\nbytes = {len(data)}\n'
        f'sha256 = "{hashlib.sha256(data).hexdigest()}"\n',
        encoding="utf-8",
    )
    return card


@pytest.fixture(scope="module")
def lms(tmp_path_factory, tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("lms")
    for way in ("forward", "backward"):
        (folder / way).mkdir()
        spec = InitSpec(emb_size=16, n_hid=24, n_layers=2, precision="float32", seed=0, direction=way)
        init_lm({"tokenizer": tokenizer}, spec, Run(folder / way, folder / way, 0))
    return folder


def content(card: Path, lms: Path) -> dict:
    classifier = {"direction": "both", "min_steps": 20, "last_epochs": 1, "lr": 3e-2, "calibration": "temperature"}
    return {
        "name": "sets",
        "language": "vie",
        "tasks": [str(card)],
        "train_sizes": [40],
        "methods": {
            "majority": {"family": "baselines", "model": "majority"},
            "tfidf": {"family": "baselines", "model": "tfidf-lr"},
            "nb-svm": {"family": "baselines", "model": "nb-svm", "C": "dev"},
            "ulmfit": {"family": "ulmfit", "init": str(lms), "tune": {"epochs": 0}, "classifier": classifier},
        },
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory, card, lms) -> Path:
    """The folder of a run."""
    root = tmp_path_factory.mktemp("run")
    plan, store = make_plan(build_recipe(content(card, lms))), Store(root / "store")
    folder = RunFolder(root / "runs/sets", plan, store)
    outcome = Driver(plan, store, Finder(store, [], True), folder, Here(store), Silent()).run()
    assert outcome.ok == 8 and outcome.failed == 0
    return folder.root


def test_every_method_stands_in_the_tables_of_the_report(run):
    page = write_report(run).read_text(encoding="utf-8")
    summary = summarise(load_results(run))
    assert summary.metrics("vi/reviews") == ("macro_f1", "micro_f1", "subset_accuracy")
    for metric in summary.metrics("vi/reviews"):
        means = {m: summary.score("vi/reviews", "full", m, metric).mean.mean for m in summary.results.methods}
        assert means["tfidf"] > 0.7 and means["nb-svm"] > 0.7 and means["ulmfit"] > means["majority"], metric
    for cell in summary.results.cells:
        for metric in summary.metrics(cell.task):
            interval = summary.score(cell.task, cell.train_size, cell.method, metric).mean
            assert interval.mean == pytest.approx(cell.scores["test"][metric], abs=1e-6)
    assert {d.method for d in summary.of_kind("baseline", "vi/reviews")} == {"ulmfit"}
    assert "Subset accuracy on the test set of vi/reviews" in page and "labels a text" in page
    frame = summary.results.frame()
    assert {"test_hamming_loss", "test_jaccard", "dev_samples_f1"} <= set(frame.columns)
    record = summary.results.tasks[0]
    assert record.kind == "multi-label" and sum(record.documents.values()) == 150
    assert sum(record.without_labels.values()) == sum(not names for _, names in reviews(150))


def test_predictions_keep_every_probability_and_the_labels_of_half_or_more(run):
    folders = [Predictions(path) for path in (run / "predictions").iterdir()]
    assert len(folders) == 8
    for predictions in folders:
        assert predictions.kind == "multi-label" and predictions.labels == LABELS
        for row in predictions.table().to_pylist():
            wanted = [label for label, p in zip(LABELS, row["probabilities"], strict=True) if p >= 0.5]
            assert json.loads(row["predicted"]) == wanted
    sums = {round(sum(row["probabilities"]), 3) for p in folders for row in p.table().to_pylist()}
    assert len(sums) > 20


def test_exports_give_the_same_probabilities(run, tmp_path):
    if importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed")
    chosen = choose_classifier(run, "ulmfit", None, None, None, None)
    packed = {name: tmp_path / name for name in ("float", "int8")}
    export_classifier(run, chosen, packed["float"], Packing(onnx=True))
    export_classifier(run, chosen, packed["int8"], Packing(int8=True))
    texts = [text for text, _ in reviews(150)[:20]] + ["", "món ngon " * 300]
    wanted = load(chosen.folder).predict_proba(texts)
    assert np.ptp(wanted.sum(1)) > 0.5
    assert np.abs(inference.load(packed["float"]).predict_proba(texts) - wanted).max() < 1e-5
    assert np.abs(onnx_inference.load(packed["float"]).predict_proba(texts) - wanted).max() < 1e-5
    assert np.abs(inference.load(packed["int8"]).predict_proba(texts) - wanted).max() < 0.05
    assert read_json(chosen.folder / "classifier.json")["temperature"] != 1
    card = (packed["float"] / "README.md").read_text(encoding="utf-8")
    assert "multi-label text classifier" in card and "Hamming loss" in card and "0.5 or more" in card


def test_predict_prints_sets(run):
    texts = ["ngon ngon rẻ rẻ", "tôi đến với bạn bè", "nhanh chậm mặn dở"]
    lines, found = (
        CliRunner()
        .invoke(app, ["predict", str(run), "tfidf", *options], input="\n".join(texts))
        .stdout.splitlines()[-3:]
        for options in ([], ["--json"])
    )
    classifier = load_classifier(choose_classifier(run, "tfidf", None, None, None, None).folder)
    sets = [[prediction.label for prediction in chosen] for chosen in classifier.predict_sets(texts)]
    assert set(sets[0]) == {"giá", "món"} and sets[1] == []
    assert [json.loads(line)["labels"] for line in found] == sets
    assert set(json.loads(found[0])["probabilities"]) == set(LABELS)
    assert [line.split("\t")[::2] for line in lines] == [labels or [""] for labels in sets]
    with pytest.raises(DataError, match="call predict_sets"):
        classifier.predict(texts)


def test_a_family_without_such_classifiers_is_refused_before_anything_runs(card, lms):
    methods = {**content(card, lms)["methods"], "gptj": {"family": "gptj", "init": "random"}}
    with pytest.raises(RecipeError) as raised:
        build_recipe({**content(card, lms), "corpus": "vi/mini", "methods": methods})
    (fault,) = raised.value.faults
    assert "methods.gptj: the family gptj has no classifier for kind = 'multi-label', which vi/reviews is" in fault


def test_a_learner_takes_lists_of_labels_and_nothing_is_guessed(lms, tmp_path):
    made = reviews(60)
    settings = {"direction": "forward", "batch_size": 16, "label_smoothing": 0.1, "balance": 0.5}
    learn = classifier_learner(lms, made[:40], made[40:], kind="multi-label", **settings)
    learn.fit(1, 1e-2)
    inputs, targets = learn.dls.train.one_batch()
    assert targets.shape == (len(inputs), 3) and set(targets.unique().tolist()) == {0, 1}
    probabilities, gold = learn.get_preds()
    assert probabilities.shape == gold.shape == (20, 3) and probabilities.max() <= 1
    save_classifier(learn, tmp_path / "saved")
    classifier = load_classifier(tmp_path / "saved")
    shown = classifier.predict_proba([text for text, _ in made[40:]])
    assert classifier.kind == "multi-label" and np.abs(shown - probabilities.numpy()).max() < 1e-4
    with pytest.raises(DataError, match='several labels a text are kind="multi-label"'):
        classifier_learner(lms, made, direction="forward")
    with pytest.raises(DataError, match="give each text a list of labels"):
        classifier_learner(lms, [("x", "giá")], kind="multi-label", direction="forward")


def test_the_loss_is_the_one_worked_out_by_hand():
    targets = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    scores = torch.tensor([[0.3, -1.2], [2.0, 0.1]])
    gold = torch.tensor([[1, 0], [0, 1]])
    spec = ClassifierSpec(seed=0, balance=1.0, label_smoothing=0.2)
    weight = np.array([1 / 3, 3.0])  # texts without the label over texts with it
    soft = gold.numpy() * 0.8 + 0.1
    p = 1 / (1 + np.exp(-scores.numpy()))
    wanted = -(weight * soft * np.log(p) + (1 - soft) * np.log(1 - p)).sum(1).mean()
    loss = output("multi-label").loss(targets, 2, spec)
    assert loss(scores, gold).item() == pytest.approx(wanted, rel=1e-5)
    plain = output("multi-label").loss(targets, 2, ClassifierSpec(seed=0))
    halves = torch.nn.functional.binary_cross_entropy_with_logits(scores, gold.float(), reduction="sum") / 2
    assert plain(scores, gold).item() == pytest.approx(halves.item(), rel=1e-6)
    assert plain.decodes(torch.tensor([[0.5, 0.49]])).tolist() == [[1, 0]]
