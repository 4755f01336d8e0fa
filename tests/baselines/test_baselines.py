import json
import shutil

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_union

from lowres.artifacts import Node, Run, Task
from lowres.errors import DataError, Stopped
from lowres.families import family
from lowres.families.baselines import models
from lowres.families.baselines.features import WORD, learn_blocks
from lowres.families.baselines.models import fit_majority, fit_nb_svm, fit_tfidf_lr, load_model, prepare
from lowres.families.baselines.spec import BaselineMethod, BaselineSpec, Features
from lowres.families.baselines.stages import GRID, load, predict, train_classifier
from lowres.families.contract import PredictSpec, Shared
from lowres.fingerprint import file_sha256
from lowres.metrics.classification import macro_f1
from lowres.tasks.spec import DRAW_SUBSET, READ_TASK, AuditSpec, Layout, SourceFile, SubsetSpec, TaskSpec
from lowres.tasks.stages import draw_subset, read_task

MODELS = ("majority", "tfidf-lr", "nb-svm")
LABELS = ("bóng đá", "nấu ăn", "sông hồ")
WORDS = {
    "bóng đá": "đội bóng ghi bàn trận đấu cầu thủ sân cỏ trọng tài huấn luyện viên giải vô địch".split(),
    "nấu ăn": "nước mắm gạo nấu canh rau thơm chảo dầu hành tỏi món ngon bếp lửa muối".split(),
    "sông hồ": "dòng sông chảy hồ nước phù sa bờ đê thuyền cá lũ lụt cửa biển đầm lầy".split(),
}
COMMON = "hôm nay một người ở đây rất thích và nói về những điều đó với bạn bè".split()


def sentences(n, seed):
    """(texts, label indices): half of the words of a sentence tell its label."""
    rng = np.random.default_rng(seed)
    gold = rng.permutation(np.arange(n) % 3)
    texts = [" ".join(rng.permutation([*rng.choice(WORDS[LABELS[k]], 4), *rng.choice(COMMON, 5)])) for k in gold]
    return texts, gold


TRAIN, GOLD = sentences(90, 0)
TEST, TEST_GOLD = sentences(60, 1)


def fitted(model, c=1.0, gold=GOLD, texts=TRAIN, labels=LABELS, beta=1.0):
    if model == "majority":
        return fit_majority(gold, labels)
    train = prepare(texts, Features(), binary=model == "nb-svm")
    return fit_tfidf_lr(train, gold, labels, c) if model == "tfidf-lr" else fit_nb_svm(train, gold, labels, c, beta)


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("balance", "weights"), [(0.0, None), (1.0, "balanced")])
def test_tfidf_lr_is_scikit_learns_pipeline(balance, weights):
    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    few = np.flatnonzero((GOLD != 2) | (np.arange(len(GOLD)) < 20))  # one label is rarer
    texts, gold = [TRAIN[k] for k in few], GOLD[few]
    reference = LogisticRegression(C=10, max_iter=5000, tol=1e-7, class_weight=weights)
    expected = reference.fit(union.fit_transform(texts), gold).predict_proba(union.transform(TEST))
    made = fit_tfidf_lr(prepare(texts, Features(), binary=False), gold, LABELS, 10.0, balance=balance)
    assert np.abs(made.predict_proba(TEST) - expected).max() < 2e-3


def test_a_balanced_nb_svm_gives_a_rare_label_more():
    few = np.flatnonzero((GOLD != 2) | (np.arange(len(GOLD)) < 20))
    train, gold = prepare([TRAIN[k] for k in few], Features(), binary=True), GOLD[few]
    plain, balanced = (
        fit_nb_svm(train, gold, LABELS, 1.0, 1.0, balance=balance).predict_proba(TEST) for balance in (0.0, 1.0)
    )
    assert balanced[:, 2].mean() > 1.05 * plain[:, 2].mean()


@pytest.mark.parametrize("labels", [2, 3])
def test_fitting_in_the_space_of_the_texts_changes_nothing(monkeypatch, labels):
    texts, gold = zip(*[(t, k) for t, k in zip(TRAIN, GOLD, strict=True) if k < labels], strict=True)
    gold = np.array(gold)
    rotated = fitted("tfidf-lr", gold=gold, texts=texts).predict_proba(TEST)
    monkeypatch.setattr(models, "_MOST_TEXTS_ROTATED", 0)
    plain = fitted("tfidf-lr", gold=gold, texts=texts).predict_proba(TEST)
    assert np.abs(rotated - plain).max() < 2e-3


@pytest.mark.parametrize("model", ["tfidf-lr", "nb-svm"])
def test_models_learn_and_give_probabilities(model):
    probabilities = fitted(model).predict_proba(TEST)
    assert probabilities.dtype == np.float32 and probabilities.shape == (60, 3)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-6)
    assert macro_f1(TEST_GOLD, probabilities.argmax(1), 3) > 0.9


def test_majority_gives_the_frequencies():
    gold = np.array([1, 1, 1, 2])
    assert fit_majority(gold, LABELS).predict_proba(["a", ""]) == pytest.approx(np.array([[1, 4, 2]] * 2) / 7)


def test_nb_svm_without_training_is_naive_bayes_scaled():
    """beta = 0: weights are the log-count ratio times one positive number a label (Wang and Manning 2012, eq. 3)."""
    train = prepare(TRAIN, Features(characters=None), binary=True)
    model = fit_nb_svm(train, GOLD, LABELS, 1.0, beta=0.0)
    counts = train.matrix.toarray()
    for k in range(3):
        p, q = 1 + counts[k == GOLD].sum(0), 1 + counts[k != GOLD].sum(0)
        ratio = np.log(p / p.sum()) - np.log(q / q.sum())
        scale = model.weights[k] / ratio
        assert scale.min() > 0 and scale.max() / scale.min() < 1 + 1e-4


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("gold", "likely"), [([1, 1, 1, 1], {1}), ([0, 2, 0, 2], {0, 2})])
def test_labels_that_the_subset_lacks_are_never_predicted(model, gold, likely):
    probabilities = fitted(model, gold=np.array(gold), texts=TRAIN[:4]).predict_proba(TEST)
    assert set(probabilities.argmax(1)) <= likely and np.isfinite(probabilities).all()


@pytest.mark.parametrize("model", ["tfidf-lr", "nb-svm"])
@pytest.mark.parametrize("texts", [["", " ", "..."], ["", "một", "hai ba"]])
def test_empty_texts_are_no_accident(model, texts):
    probabilities = fitted(model, gold=np.array([0, 1, 1]), texts=texts).predict_proba(["", "một", "!"])
    assert np.isfinite(probabilities).all() and np.allclose(probabilities.sum(1), 1)


def test_words_keep_their_marks_and_lose_punctuation():
    (found,) = learn_blocks(["ភាសាខ្មែរ។ हिन्दी, à! a-b"], Features(words=(1, 1), characters=None))
    assert set(found.block.terms) == {"ភាសាខ្មែរ", "हिन्दी", "à", "a", "b"}


def test_rare_ngrams_are_left_out():
    (found,) = learn_blocks(["a b", "a c", "a b"], Features(words=(1, 1), characters=None, min_count=2))
    assert found.block.terms == ("a", "b") and found.counts.toarray().tolist() == [[1, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("model", MODELS)
def test_a_classifier_is_the_same_after_a_round_trip_and_holds_no_pickle(tmp_path, model):
    made = fitted(model)
    made.save(tmp_path)
    moved = shutil.copytree(tmp_path, tmp_path / "moved")
    assert np.array_equal(load_model(moved).predict_proba(TEST), made.predict_proba(TEST))
    assert {path.suffix for path in moved.iterdir()} <= {".json", ".safetensors"}


# --- the family ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [
        {"model": "svm"},
        {"model": "tfidf-lr", "C": 0},
        {"model": "tfidf-lr", "C": "test"},
        {"model": "nb-svm", "features": {"words": [3, 2]}},
        {"model": "majority", "n_grams": 3},
    ],
)
def test_bad_blocks_are_refused(block):
    with pytest.raises(ValidationError):
        BaselineMethod.model_validate({"family": "baselines", **block})


def test_a_cell_is_the_same_request_for_every_seed():
    baselines = family("baselines")
    method = baselines.method.model_validate({"family": "baselines", "model": "nb-svm", "C": "dev"})
    task = Node(READ_TASK, AuditSpec())
    subset = Node(DRAW_SUBSET, SubsetSpec(train_size=10), {"task": task})
    shared = Shared("vie", None, None, 0, "train")
    first, second = (baselines.classifier(method, shared, task, subset, seed) for seed in (0, 1))
    assert first.id == second.id and set(first.inputs) == {"task", "subset"}
    assert first.spec == BaselineSpec(model="nb-svm", C="dev")
    assert baselines.language_model(method, shared) is None


# --- stages ----------------------------------------------------------------------------------------------------------


def run_in(folder, **options):
    folder.mkdir(parents=True)
    return Run(out=folder, work=folder, seed=0, **options)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A task of 120 sentences and a subset of 24 train and 24 dev labels."""
    folder = tmp_path_factory.mktemp("task")
    texts, gold = sentences(180, 3)
    path = folder / "all.jsonl"
    path.write_text(
        "".join(json.dumps({"text": t, "label": LABELS[k]}) + "\n" for t, k in zip(texts, gold, strict=True))
    )
    sha = file_sha256(path)
    spec = TaskSpec(
        name="t", language="vie", files=(SourceFile(role="all", sha256=sha),), layout=Layout(format="jsonl")
    )
    task, subset = run_in(folder / "task", files={sha: path}), run_in(folder / "subset")
    read_task({}, spec, task)
    draw_subset({"task": task.out}, SubsetSpec(train_size=24), subset)
    return {"task": task.out, "subset": subset.out}


@pytest.mark.parametrize("model", MODELS)
def test_training_and_prediction_are_deterministic(inputs, tmp_path, model):
    outs = []
    for name in "ab":
        classifier, predictions = run_in(tmp_path / name / "c"), run_in(tmp_path / name / "p")
        train_classifier(inputs, BaselineSpec(model=model), classifier)
        predict({"task": inputs["task"], "classifier": classifier.out}, PredictSpec(), predictions)
        outs.append({p.name: p.read_bytes() for run in (classifier, predictions) for p in run.out.iterdir()})
    assert outs[0] == outs[1]
    assert {"predictions.parquet", "labels.json", "text_policy.json", "model.json"} <= outs[0].keys()
    train = Task(inputs["task"]).documents
    assert classifier.facts["bytes_seen"] < sum(len(document.text.encode()) for document in train)
    assert classifier.facts["parameters"] == load(classifier.out).parameters
    assert load(classifier.out).labels == Task(inputs["task"]).labels


def test_c_is_chosen_on_the_subsets_dev_labels_and_every_trial_is_recorded(inputs, tmp_path):
    run = run_in(tmp_path / "c")
    train_classifier(inputs, BaselineSpec(model="tfidf-lr", C="dev"), run)
    trials = run.facts["trials"]
    assert [trial["C"] for trial in trials] == list(GRID) and run.facts["dev_labels_used"] == 18
    best = max(trial["macro_f1"] for trial in trials)
    assert run.facts["C"] == next(trial["C"] for trial in trials if trial["macro_f1"] == best)
    fixed = run_in(tmp_path / "f")
    train_classifier(inputs, BaselineSpec(model="tfidf-lr", C=run.facts["C"]), fixed)
    assert (fixed.out / "weights.safetensors").read_bytes() == (run.out / "weights.safetensors").read_bytes()


def test_published_strengths_stand_where_none_is_given(inputs, tmp_path):
    for model, c in (("tfidf-lr", 10), ("nb-svm", 1)):
        run = run_in(tmp_path / model)
        train_classifier(inputs, BaselineSpec(model=model), run)
        assert run.facts["C"] == c and run.facts["dev_labels_used"] == 0


def test_choosing_c_without_dev_labels_is_an_error(inputs, tmp_path):
    import pyarrow.parquet as pq

    rows = pq.read_table(inputs["subset"] / "subset.parquet")
    alone = tmp_path / "subset"
    alone.mkdir()
    pq.write_table(
        rows.filter([split == "train" for split in rows.column("split").to_pylist()]), alone / "subset.parquet"
    )
    with pytest.raises(DataError, match='C = "dev" needs dev labels'):
        train_classifier({**inputs, "subset": alone}, BaselineSpec(model="nb-svm", C="dev"), run_in(tmp_path / "c"))


def test_training_can_be_stopped(inputs, tmp_path):
    with pytest.raises(Stopped):
        train_classifier(inputs, BaselineSpec(model="tfidf-lr"), run_in(tmp_path / "c", stop_requested=lambda: True))


# --- sets of labels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tfidf-lr", "nb-svm"])
def test_labels_of_a_set_are_learnt_each_by_itself_and_come_back_from_the_folder(model, tmp_path):
    """A text of two sentences has both labels; a label that all texts or none have is certain."""
    pairs = list(range(0, 88, 2))
    texts = [f"{TRAIN[k]} {TRAIN[k + 1]}" for k in pairs] + TRAIN[:30] + ["hôm nay một người"] * 4
    gold = np.zeros((len(texts), 5), int)
    for row, k in enumerate(pairs):
        gold[row, [GOLD[k], GOLD[k + 1]]] = 1
    gold[len(pairs) + np.arange(30), GOLD[:30]] = 1
    gold[:, 4] = 1
    train = prepare(texts, Features(), binary=model == "nb-svm")
    names = (*LABELS, "không", "mọi")
    if model == "tfidf-lr":
        made = fit_tfidf_lr(train, gold, names, 10.0, "multi-label")
    else:
        made = fit_nb_svm(train, gold, names, 1.0, 1.0, "multi-label")
    probabilities = made.predict_proba([*TEST, "một người ở đây"])
    assert (probabilities[:-1, :3].argmax(1) == TEST_GOLD).mean() > 0.9 and probabilities[-1, :3].max() < 0.5
    assert probabilities[:, 3].max() < 1e-6 and probabilities[:, 4].min() > 1 - 1e-6
    made.save(tmp_path)
    again = load_model(tmp_path)
    assert again.kind == "multi-label" and (again.predict_proba(TEST) == made.predict_proba(TEST)).all()
    if model == "tfidf-lr":
        alone = LogisticRegression(C=10, max_iter=5000, tol=1e-7).fit(train.matrix, gold[:, 0])
        expected = alone.predict_proba(models.features_of(TEST, train.blocks, train.idf))[:, 1]
        assert np.abs(probabilities[:-1, 0] - expected).max() < 2e-3


def test_the_majority_of_sets_is_each_labels_frequency(tmp_path):
    made = fit_majority(np.array([[1, 0], [1, 0], [1, 1]]), ("a", "b"), "multi-label")
    assert made.frequencies.tolist() == pytest.approx([4 / 5, 2 / 5])
    made.save(tmp_path)
    assert load_model(tmp_path).kind == "multi-label"
