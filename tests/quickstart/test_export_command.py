"""export, predict FOLDER and model info, on what a run left behind."""

import json
from importlib.util import find_spec

import pytest

import lowres
from lowres.artifacts import read_json
from lowres.cards import read_toml
from lowres.experiment.keep import choose_classifier
from lowres.recipe import build_recipe

TEXTS = "Đội bóng ghi hai bàn trong hiệp hai.\n\nTòa án tuyên bị cáo bồi thường.\n"


@pytest.fixture(scope="module")
def exported(tiny):
    done = tiny.command("export", "tiny", "multifit", "--out", "out/multifit")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out/multifit   ") and "multifit on vi/mini_topics" in done.stderr
    return tiny.root / "out/multifit"


def test_an_exported_classifier_predicts_what_the_runs_own_does(tiny, exported):
    runs_own = tiny.command("predict", "tiny", "multifit", stdin=TEXTS)
    done = tiny.command("predict", exported, stdin=TEXTS)
    assert done.returncode == 0, done.stderr
    ours, theirs = ([line.split("\t") for line in out.splitlines()] for out in (done.stdout, runs_own.stdout))
    assert len(ours) == 3
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        assert float(one) == pytest.approx(float(other), abs=0.01), "the run's own predicts in bfloat16"


def test_the_folder_holds_what_a_hub_wants_and_no_place_of_this_machine(tiny, exported):
    names = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert names == {
        "README.md", "config.json", "manifest.json", "model.safetensors", "text_policy.json",
        "tokenizer/spm.model", "tokenizer/lowres_tokenizer.json",
    }  # fmt: skip
    manifest = read_json(exported / "manifest.json")
    assert set(manifest["files"]) == names - {"manifest.json"}
    assert manifest["origin"]["run"] == "tiny" and manifest["origin"]["cell"]["method"] == "multifit"
    for name in ("README.md", "manifest.json", "config.json"):
        assert str(tiny.root) not in (exported / name).read_text(encoding="utf-8")


def test_the_card_is_one_that_hugging_face_reads(tiny, exported):
    from huggingface_hub import ModelCard

    card = ModelCard((exported / "README.md").read_text(encoding="utf-8"))
    data = card.data.to_dict()
    assert (data["language"], data["license"], data["pipeline_tag"]) == (["vi"], "cc0-1.0", "text-classification")
    cell = choose_classifier(tiny.root / "runs/tiny", "multifit", None, None, None, None).cell
    results = card.data.eval_results
    own = {r.metric_name: r.metric_value for r in results}
    assert own["macro-F1, this model"] == pytest.approx(cell.scores["test"]["macro_f1"], abs=1e-4)
    assert any("95 % interval [" in name for name in own)
    for said in ("Composed by machine for this project", "## Limits", "khoa học", "expected calibration error"):
        assert said in card.text


def test_every_family_is_exported_and_8_bits_are_of_ulmfit_alone(tiny):
    for method in ("tfidf", "gptj-scratch"):
        assert tiny.command("export", "tiny", method).returncode == 0
        raw = lowres.load_classifier(choose_classifier(tiny.root / "runs/tiny", method, *[None] * 4).folder)
        packed = lowres.load_classifier(tiny.root / f"exports/tiny-{method}")
        assert (raw.predict_proba(TEXTS.splitlines()) == packed.predict_proba(TEXTS.splitlines())).all()
    done = tiny.command("export", "tiny", "tfidf", "--int8", "--out", "out/tfidf8")
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == (
        "lowres: tfidf: --int8 is for methods of the family ulmfit; leave it out"
    )
    assert not (tiny.root / "out/tfidf8").exists()


def test_a_language_model_is_exported_as_init_reads_it(tiny, monkeypatch):
    done = tiny.command("export", "tiny", "ulmfit", "--lm", "--out", "out/lm")
    assert done.returncode == 0, done.stderr
    shown = tiny.command("model", "info", "out/lm")
    assert shown.stdout.startswith("language-model, family ulmfit") and "model.safetensors" in shown.stdout
    assert lowres.load_generator(tiny.root / "out/lm").generate("Hà", 3, 0.0)
    monkeypatch.chdir(tiny.root)
    content = read_toml(tiny.root / "runs/tiny/recipe.toml")
    content["methods"] = {"again": {"family": "ulmfit", "init": "out/lm"}}
    reading = lowres.plan(build_recipe(content)).language_models["again"].weights
    store = lowres.open_store(tiny.root / "store")
    record = next(m for m in lowres.load_results(tiny.root / "runs/tiny").language_models if m.method == "ulmfit")
    assert (
        reading.spec.files["model.safetensors"]
        == read_json(store.path(record.id) / "manifest.json")["files"]["model.safetensors"]
    )


def test_what_cannot_be_is_one_line(tiny, exported):
    no_graph = "forward.onnx: is missing" if find_spec("onnxruntime") else "lowres[onnx]"
    (tiny.root / "broken").mkdir(exist_ok=True)
    (tiny.root / "broken/manifest.json").write_text(json.dumps({"format": "lowres-package"}))
    for words, said in {
        ("export", "tiny", "multifit", "--out", "out/multifit"): "out/multifit: exists already",
        ("export", "tiny", "tfidf", "--lm"): "no language model of a method 'tfidf'",
        ("export", "tiny", "multifit", "--lm", "--int8"): "--int8 and --onnx are for classifiers",
        ("predict", "tiny"): "not a folder of lowres export",
        ("predict", "broken"): "not the manifest of a package",
        ("predict", "out/multifit", "--onnx"): no_graph,
        ("model", "import", "runs", "out/x"): "runs: no known layout",
    }.items():
        done = tiny.command(*words, stdin="x\n")
        lines = [line for line in done.stderr.splitlines() if " on vi/" not in line]
        assert done.returncode == 1 and len(lines) == 1 and said in lines[0], (words, done.stderr)
