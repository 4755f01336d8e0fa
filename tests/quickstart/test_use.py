"""predict, generate, report and the Python face, on what a run left behind."""

import unicodedata

import pytest

import lowres
from lowres.errors import DataError
from lowres.experiment.keep import choose_classifier

TEXTS = ["Đội bóng ghi hai bàn trong hiệp hai và giành chức vô địch.", "Tòa án tuyên bị cáo bồi thường."]
LABELS = {"thể thao", "khoa học", "ẩm thực", "pháp luật"}


@pytest.mark.parametrize("method", ["tfidf", "multifit", "ulmfit", "gptj-scratch"])
def test_predict_labels_each_line_and_says_with_which_classifier(tiny, method):
    done = tiny.command("predict", "tiny", method, stdin="\n".join(TEXTS) + "\n")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == len(TEXTS)
    assert all(label in LABELS and 0.25 <= float(probability) <= 1 for label, probability in rows)
    assert f"{method} on vi/mini_topics: " in done.stderr


@pytest.mark.parametrize("method", ["tfidf", "multifit", "gptj-scratch"])
def test_a_loaded_classifier_takes_raw_text_of_any_kind(tiny, method):
    folder = choose_classifier(tiny.root / "runs/tiny", method, None, None, None, None).folder
    classifier = lowres.load_classifier(folder)
    texts = ["", " ", "a\u0301", "ไทย", "x" * 3000, TEXTS[0], TEXTS[0] + "  \n"]
    rows = classifier.predict_proba(texts)
    assert rows.shape == (len(texts), len(LABELS))
    assert abs(rows.sum(1) - 1).max() < 1e-5
    assert abs(rows[-1] - rows[-2]).max() < 1e-5
    assert classifier.predict([]) == []


@pytest.mark.parametrize("method", ["multifit", "ulmfit", "gptj-scratch"])
def test_generate_goes_on_from_a_prompt_and_a_seed_gives_the_same_again(tiny, method):
    prompt = "Nghề trồng lúa nước"
    words = ("generate", "tiny", method, "--tokens", "12", "--seed", "3", "--prompt")
    first, second = tiny.command(*words, prompt), tiny.command(*words, unicodedata.normalize("NFD", prompt))
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(prompt)
    assert first.stdout.count(prompt) == 1
    assert len(first.stdout) > len(prompt) + 1
    assert first.stdout == second.stdout
    assert "from scratch" in first.stderr


def test_generate_names_the_methods_that_can(tiny):
    done = tiny.command("generate", "tiny", "tfidf", "--prompt", "x")
    assert done.returncode == 1
    assert "multifit" in done.stderr and "Traceback" not in done.stderr


def test_predict_with_an_unknown_method_names_those_there_are(tiny):
    done = tiny.command("predict", "tiny", "bert", stdin="x\n")
    assert done.returncode == 1
    assert "tfidf" in done.stderr


def test_report_is_written_again_from_the_records(tiny):
    page = tiny.root / "runs/tiny/report.html"
    before = page.read_bytes()
    page.unlink()
    assert tiny.command("report", "tiny").returncode == 0
    assert len(page.read_bytes()) == len(before)


def test_a_language_model_is_no_classifier(tiny):
    store = lowres.open_store(tiny.root / "store")
    record = next(model for model in lowres.load_results(tiny.root / "runs/tiny").language_models)
    with pytest.raises(DataError, match="a classifier is needed"):
        lowres.load_classifier(store.path(record.id))
