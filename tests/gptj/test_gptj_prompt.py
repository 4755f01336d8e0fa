from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from lowres.artifacts import Document, Predictions, Task
from lowres.errors import DataError, RecipeError
from lowres.families.contract import PredictSpec
from lowres.families.gptj import choose, stages
from lowres.families.gptj.huggingface import save_lm
from lowres.families.gptj.loading import load
from lowres.families.gptj.model import Config, hidden, init, logits
from lowres.families.gptj.prompt import PromptClassifier
from lowres.families.gptj.settings import PromptSpec
from lowres.prompts import Prompt
from lowres.text.normalise import Normalisation
from lowres.tokenizers.base import load_tokenizer
from lowres.training.classifier import TextPolicy
from lowres.training.head import softmax

PLAIN = Prompt(
    name="plain",
    language="eng",
    template="{text}\nIt is {label}.",
    labels={"good": ("lovely", "fine"), "bad": "dreadful"},
)
SHORT = PLAIN.model_copy(update={"name": "short", "template": "{text} {label}"})  # the same words: compiled once
EXAMPLES = [("A fine day in Balvi", "good"), ("A bad lake", "bad")]
TEXTS = ["The river of Riga is", "The old bridge", "Ludza"]


@pytest.fixture(scope="module")
def classifier(rooms):
    """Random weights, larger than usual so that probabilities differ, with 20 rows beyond the tokenizer."""
    tokenizer = load_tokenizer(rooms / "tokenizer")
    config = Config(tokenizer.vocab_size + 20, 256, 1, 32, 2, 8)
    params = {name: 3 * array if name in ("wte", "head") else array for name, array in init(config, 4).items()}
    policy = TextPolicy(normalisation=Normalisation(), max_chars=500)
    return PromptClassifier(("bad", "good"), params, config, tokenizer, PLAIN, policy)


def with_shots(classifier, *examples):
    return replace(classifier, shots=tuple(classifier.write_out(text, label) for text, label in examples))


@partial(jax.jit, static_argnames=("config",))
def whole_row(params, row, config):
    return logits(params, hidden(params, row, config))[0]


def in_one_go(classifier, text, word):
    """-log p of a word behind a text for a byte, by the whole row without a cache, as the tokenizer cuts it."""
    tokenizer = classifier.tokenizer
    start = "".join(f"{shot}\n" for shot in classifier.shots) + f"{text}\nIt is"
    read, whole = ([tokenizer.bos_id, *ids] for ids in tokenizer.encode([start, f"{start} {word}"]))
    assert whole[: len(read)] == read
    row = np.zeros((1, classifier.config.n_ctx), np.int32)
    row[0, : len(whole)] = whole
    scores = np.array(whole_row(classifier.params, row, classifier.config))[:, : tokenizer.vocab_size]
    scores[:, tokenizer.pad_id] = -np.inf
    log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return sum(log_p[place - 1, whole[place]] for place in range(len(read), len(whole))) / len(word)


def test_label_words_score_as_if_each_row_were_read_whole(classifier):
    ready = with_shots(classifier, *EXAMPLES)
    asked = ready.ask(TEXTS)
    assert min(len(word) for one in asked for word in one.words) < max(len(word) for one in asked for word in one.words)
    expected = [
        [
            in_one_go(ready, text, "dreadful"),
            np.log(np.mean(np.exp([in_one_go(ready, text, w) for w in PLAIN.words("good")]))),
        ]
        for text in TEXTS
    ]
    np.testing.assert_allclose(ready.label_scores(asked), expected, rtol=1e-5, atol=1e-6)


def test_calibration_divides_by_what_is_said_without_content(classifier):
    shown = with_shots(classifier, *EXAMPLES)
    free = softmax(shown.label_scores(shown.ask(["N/A", "[MASK]", ""]))).mean(axis=0)
    plain, ready = shown.predict_proba(TEXTS), shown.calibrated().predict_proba(TEXTS)
    divided = plain / free
    np.testing.assert_allclose(ready, divided / divided.sum(axis=1, keepdims=True), rtol=1e-4)
    assert abs(plain - ready).max() > 1e-3


def test_a_long_text_loses_its_end_and_not_its_label(classifier):
    (whole,), (cut,) = classifier.ask(["The lake"]), classifier.ask(["The lake " * 400])
    longest = len(cut.prefix) + max(map(len, cut.words))
    assert classifier.config.n_ctx - 16 <= longest <= classifier.config.n_ctx
    assert cut.cut > 300 and whole.cut == 0 and cut.words == whole.words
    assert cut.prefix[-2:] == whole.prefix[-2:]
    with pytest.raises(DataError, match="alone takes .* tokens, and the model looks back 256"):
        with_shots(classifier, *[("A long way to the river", "good")] * 20).ask(["x"])


def test_examples_are_balanced_drawn_by_seed_and_fit(classifier):
    train = [
        Document(f"d{k}", "train", ("good", "bad")[k % 2], f"Lake {k} near the old market of Riga") for k in range(20)
    ]
    train.append(Document("long", "train", "good", "The lake " * 400))
    two, again, other = (choose.draw_shots(classifier, train, 2, seed) for seed in (0, 0, 1))
    assert two == again != other and {one.label for one in two} == {"good", "bad"}
    many = choose.draw_shots(classifier, train, 18, 0)
    labels = [one.label for one in many]
    assert many[:2] == two and 2 < len(many) < 18 and abs(labels.count("good") - labels.count("bad")) <= 1
    assert "long" not in {one.id for one in many}
    ready = with_shots(classifier, *((one.text, str(one.label)) for one in many))
    assert not any(one.cut for one in ready.ask([one.text for one in train[:20]]))


def test_the_prompt_is_chosen_on_dev_and_predicts_alike_when_read_again(rooms, classifier, new_run, tmp_path):
    save_lm(tmp_path, classifier.params, classifier.config, classifier.tokenizer)
    run, spec = new_run(), PromptSpec(prompts=(PLAIN, SHORT), shots=0, calibrate=True, seed=0)
    choose.choose_prompt({"lm": tmp_path, "task": rooms / "task", "subset": rooms / "subset"}, spec, run)
    scores = run.facts["prompts"]
    assert set(scores) == {"plain", "short"} and run.facts["prompt"] == max(scores, key=scores.__getitem__)
    assert run.facts["shots"] == [] and run.facts["parameters_trained"] == 0 < run.facts["tokens_seen"]
    predicted = new_run()
    stages.predict({"classifier": run.out, "task": rooms / "task"}, PredictSpec(), predicted)
    rows = Predictions(predicted.out).table().to_pylist()
    dev = [row for row in rows if row["split"] == "dev"]
    from lowres.metrics.classification import macro_f1

    gold, said = (np.array([["bad", "good"].index(row[key]) for row in dev]) for key in ("label", "predicted"))
    assert macro_f1(gold, said, 2) == pytest.approx(scores[run.facts["prompt"]])
    texts = [document.text for document in Task(rooms / "task").split("test")][:3]
    alone = load(run.out).predict_proba(texts)
    stored = [row["probabilities"] for row in rows if row["split"] == "test"][:3]
    np.testing.assert_allclose(alone, stored, atol=1e-5)
    missing = spec.model_copy(update={"prompts": (SHORT.model_copy(update={"labels": {"good": "a", "ill": "b"}}),)})
    with pytest.raises(DataError, match="'short' has no word for the label 'bad'"):
        choose.choose_prompt({"lm": tmp_path, "task": rooms / "task", "subset": rooms / "subset"}, missing, new_run())


def test_prompts_stand_in_the_classifiers_name_and_not_in_the_tasks():
    from test_gptj_spec import FAMILY, SUBSET, chain, method, shared

    from lowres.artifacts import Node
    from lowres.cards import TaskCard, read_card
    from lowres.tasks.spec import READ_TASK, SourceFile, TaskSpec

    card, _ = read_card("vi/mini_topics", TaskCard)
    files = tuple(SourceFile(role=file.role, sha256=file.pinned) for file in card.files)
    task = Node(READ_TASK, TaskSpec(name=card.name, language="vie", files=files, layout=card.layout))
    have = shared(prompts={card.name: card.prompts})
    node = FAMILY.classifier(method(classifier={"arm": "prompt"}), have, task, SUBSET, 5)
    assert chain(node) == ["gptj.choose_prompt", "gptj.tune_lm", "gptj.pretrain_lm"]
    assert node.spec.prompts == card.prompts and node.inputs["task"] is task
    same = FAMILY.classifier(method(classifier={"arm": "prompt"}), have, task, SUBSET, 6)
    shots = [FAMILY.classifier(method(classifier={"arm": "prompt", "shots": 2}), have, task, SUBSET, s) for s in (5, 6)]
    assert same.id == node.id and len({one.id for one in (node, *shots)}) == 3, "without examples seeds are equal"
    one = FAMILY.classifier(method(classifier={"arm": "prompt", "prompt": "english"}), have, task, SUBSET, 5)
    assert [prompt.language for prompt in one.spec.prompts] == ["eng"]
    trained = [FAMILY.classifier(method(), s, task, SUBSET, 5).id for s in (have, shared())]
    assert trained[0] == trained[1]
    with pytest.raises(RecipeError, match=r"vi/mini_topics: its card has no \[\[prompts\]\]"):
        FAMILY.classifier(method(classifier={"arm": "prompt"}), replace(have, prompts={}), task, SUBSET, 5)
    with pytest.raises(RecipeError, match="'chu-đề'; the card of vi/mini_topics has noi-ve, chu-de, english"):
        FAMILY.classifier(method(classifier={"arm": "prompt", "prompt": "chu-đề"}), have, task, SUBSET, 5)
    for settings in ({"arm": "prompt", "epochs": 2}, {"shots": 2}, {"arm": "lora", "prompt": "english"}):
        with pytest.raises(ValueError, match=r"classifier\.\w+ has no effect where classifier\.arm is"):
            method(classifier=settings)
