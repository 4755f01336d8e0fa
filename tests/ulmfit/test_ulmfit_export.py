"""Exported classifiers: the network's own numbers in float32, near them in 8 bits, equal by ONNX; without fastai."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lowres import load_classifier
from lowres.artifacts import Run, Task
from lowres.errors import DataError
from lowres.families.contract import Packing
from lowres.families.ulmfit import inference, onnx_inference
from lowres.families.ulmfit.classify import load
from lowres.families.ulmfit.export import export_classifier
from lowres.families.ulmfit.quantised import Int8Product, Int8Rows, TorchRows, quantise
from lowres.families.ulmfit.spec import ClassifierSpec, InitSpec
from lowres.families.ulmfit.stages import init_lm, train_classifier
from lowres.packages import open_package, write_manifest
from lowres.training.classifier import TextPolicy

TEXTS = ["", "x", "giảng viên rất hay", "ไทย 漢字 🙂", "buổi học nhàm chán và dễ hiểu " * 40, "\u0000\ufdd0 xxmaj"]
SPEC = ClassifierSpec(seed=0, batch_size=16, min_steps=3, lr=3e-2, bptt=20, max_len=70)


def _trained(tmp_path_factory, inputs: dict[str, Path], tokenizer: Path, **network) -> Path:
    """Both directions, float32; its longest text is over max_len, so that pieces in front are read and not pooled."""
    inputs = dict(inputs)
    for way in ("forward", "backward"):
        out = inputs[f"lm_{way}"] = tmp_path_factory.mktemp(way)
        spec = InitSpec(emb_size=16, n_hid=24, n_layers=3, precision="float32", seed=0, direction=way, **network)
        init_lm({"tokenizer": tokenizer}, spec, Run(out, out, 0))
    run = Run(out=tmp_path_factory.mktemp("classifier"), work=tmp_path_factory.mktemp("work"), seed=0)
    train_classifier(inputs, SPEC, run)
    return run.out


@pytest.fixture(scope="module", params=["qrnn", "awd-lstm"])
def trained(request, tmp_path_factory, tokenizer, task, subset) -> Path:
    return _trained(tmp_path_factory, {"task": task, "subset": subset}, tokenizer, cell=request.param)


@pytest.fixture
def exported(trained, tmp_path):
    def make(**packing: bool) -> Path:
        out = tmp_path / f"export{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        export_classifier(trained, out, Packing(**packing))
        (out / "README.md").write_text("# A card\n")
        write_manifest(out, "classifier", "ulmfit", {})
        return out

    return make


def _alone(folder: Path) -> np.ndarray:
    """Probabilities of the trained classifier itself, a text at a time."""
    model = load(folder)
    return np.concatenate([model.predict_proba([text]) for text in TEXTS])


def test_float32_gives_the_networks_own_probabilities(trained, exported):
    own, classifier = _alone(trained), inference.load(exported())
    assert np.ptp(own[:, 0]) > 1e-3, "the texts are told apart"
    got = classifier.predict_proba(TEXTS)
    assert got.dtype == np.float32 and np.abs(got - own).max() < 2e-6
    assert np.abs(np.concatenate([classifier.predict_proba([text]) for text in TEXTS]) - own).max() < 2e-6
    assert classifier.predict_proba([]).shape == (0, 2)
    assert classifier.labels == load(trained).labels


def test_zoneout_is_its_mean_in_every_form(tmp_path_factory, tmp_path, tokenizer, task, subset):
    folder = _trained(tmp_path_factory, {"task": task, "subset": subset}, tokenizer, cell="qrnn", zoneout=0.3)
    own = _alone(folder)
    export_classifier(folder, tmp_path, Packing(onnx=importlib.util.find_spec("onnx") is not None))
    assert np.abs(inference.load(tmp_path).predict_proba(TEXTS) - own).max() < 2e-6
    pytest.importorskip("onnxruntime")
    assert np.abs(onnx_inference.load(tmp_path).predict_proba(TEXTS) - own).max() < 1e-4


def test_eight_bits_are_near_and_a_quarter_of_the_size(trained, exported):
    folder, whole = exported(int8=True), exported()
    assert np.abs(inference.load(folder).predict_proba(TEXTS) - _alone(trained)).max() < 0.02
    size, full = ((path / "model.safetensors").stat().st_size for path in (folder, whole))
    assert size < 0.5 * full, "the head, biases and names stay as they are"


def test_onnx_is_equal_to_1e_4(trained, exported):
    pytest.importorskip("onnxruntime")
    classifier = load_classifier(exported(onnx=True), onnx=True)
    assert np.abs(classifier.model.predict_proba(TEXTS) - _alone(trained)).max() < 1e-4


def test_onnx_is_refused_where_there_is_none(trained, exported):
    pytest.importorskip("onnxruntime")
    with pytest.raises(DataError, match="forward.onnx: is missing; export the classifier with --onnx"):
        load_classifier(exported(), onnx=True)
    with pytest.raises(DataError, match="holds no ONNX graphs"):
        load_classifier(trained, onnx=True)


@pytest.mark.parametrize("form", ["int8", "onnx"])
def test_prediction_imports_no_fastai(form, exported):
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    folder = exported(**{form: True})
    absent = {"fastai", "fastcore", "pandas", *(["torch"] if form == "onnx" else [])}
    code = (
        "import sys, lowres\n"
        f"model = lowres.load_classifier({str(folder)!r}, onnx={form == 'onnx'})\n"
        "print(model.predict(['giảng viên rất hay'])[0].label)\n"
        f"print(sorted({absent!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    label, found = done.stdout.splitlines()
    assert label in ("tích cực", "tiêu cực") and found == "[]"


def test_a_text_of_200_000_characters_takes_the_memory_of_a_piece(exported, monkeypatch):
    """The longest piece that the encoder is ever given is bptt tokens, whatever the text."""
    folder = exported()
    TextPolicy(max_chars=200_000).write(folder)
    write_manifest(folder, "classifier", "ulmfit", {})
    widest, read = [], inference.TorchEncoder.read

    def watched(self, ids, states):
        widest.append(ids.shape)
        return read(self, ids, states)

    monkeypatch.setattr(inference.TorchEncoder, "read", watched)
    text = "giảng viên dạy hay và dễ hiểu, " * 6452
    assert len(text) > 200_000
    long, short = load_classifier(folder).predict_proba([text, "hay"])
    assert abs(long.sum() - 1) < 1e-5 and abs(short.sum() - 1) < 1e-5
    assert max(width for _, width in widest) == SPEC.bptt
    assert max(rows for rows, _ in widest[1:]) <= 2


# --- checksums -------------------------------------------------------------------------------------------------------


def test_a_changed_or_missing_file_is_refused_and_the_card_may_be_edited(exported):
    folder = exported()
    (folder / "README.md").write_text("# A better card\n")
    assert load_classifier(folder).predict(["hay"])
    for name in ("config.json", "model.safetensors", "tokenizer/spm.model", "text_policy.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(DataError, match=f"{name}: its sha256 is not the one in manifest.json"):
            load_classifier(folder)
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name}: is missing"):
            load_classifier(folder)
        (folder / name).write_bytes(content)


def test_a_manifest_that_names_files_outside_is_refused(exported, tmp_path):
    folder = exported()
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("../secret", str(tmp_path / "secret")):
        (folder / "manifest.json").write_text(json.dumps({**manifest, "files": {name: "0" * 64}}))
        with pytest.raises(DataError, match="which is outside the folder"):
            open_package(folder)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 9}))
    with pytest.raises(DataError, match="not the manifest of a package of this version"):
        load_classifier(folder)


def test_weights_of_another_model_are_refused(exported, tmp_path):
    folder = exported()
    shutil.copytree(folder, tmp_path / "mixed")
    config = json.loads((folder / "config.json").read_text())
    config["directions"][0]["n_layers"] = 4
    (tmp_path / "mixed/config.json").write_text(json.dumps(config))
    write_manifest(tmp_path / "mixed", "classifier", "ulmfit", {})
    with pytest.raises(DataError, match="model.safetensors: lacks 'rnns.3"):
        load_classifier(tmp_path / "mixed")


# --- eight bits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(1, 8, 3), (1, 33, 17), (5, 800, 96), (70, 16, 48), (2, 1, 1), (3, 64, 130)]
)
def test_the_integer_product_is_exact(rows, inner, columns):
    torch.manual_seed(rows)
    weight, scale = quantise(torch.randn(columns, inner))
    bias, x = torch.randn(columns), torch.randn(rows, 2, inner) * 100
    got = Int8Product(weight, scale, bias)(x)
    by_torch = TorchRows(weight, scale, bias)(x.view(-1, inner)).view_as(got)
    assert torch.allclose(got, by_torch, rtol=1e-6, atol=1e-6 * float(by_torch.abs().max()))
    without = Int8Product(weight, scale, None)(x)
    assert torch.allclose(without + bias, got, rtol=1e-5, atol=1e-5 * float(got.abs().max()))
    size = x.abs().amax(-1, keepdim=True) / 127
    rounded = (x / size).round().double()
    exact = (rounded @ weight.double().t()) * scale.double() * size.double() + bias.double()
    assert got.shape == (rows, 2, columns)
    assert torch.allclose(got.double(), exact, rtol=1e-6, atol=1e-6 * float(exact.abs().max()))


def test_extreme_weights_and_inputs_keep_their_size():
    weight, scale = quantise(torch.tensor([[1e30, -1e30], [0.0, 0.0], [1e-30, 1e-30]]))
    assert weight.tolist() == [[127, -127], [0, 0], [127, 127]]
    out = Int8Product(weight, scale, None)(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    assert out[0, 0] == pytest.approx(2e30, rel=1e-5) and out[0, 1] == 0 and not out[1].any()
    table = torch.randn(30, 7)
    looked = Int8Rows(*quantise(table))(torch.tensor([[3, 29], [0, 3]]))
    assert looked.shape == (2, 2, 7) and torch.allclose(looked[0, 1], table[29], atol=float(table.abs().max()) / 250)


# --- calibration -----------------------------------------------------------------------------------------------------


def test_a_temperature_fitted_on_dev_moves_probabilities_and_no_label(lms_of, task, subset, tmp_path):
    dev = [document.text for document in Task(task).split("dev")]
    found = {}
    for calibration in ("none", "temperature"):
        run = Run(out=tmp_path / calibration, work=tmp_path / f"{calibration}-work", seed=0)
        run.out.mkdir()
        run.work.mkdir()
        spec = SPEC.model_copy(update={"calibration": calibration, "min_steps": 20})
        train_classifier({"lm_forward": lms_of, "task": task, "subset": subset}, spec, run)
        found[calibration] = load(run.out).predict_proba(dev)
        temperature = run.facts.get("temperature", 1.0)
    assert abs(temperature - 1) > 0.02
    raw, scaled = found["none"], found["temperature"]
    assert (raw.argmax(1) == scaled.argmax(1)).all() and not np.allclose(raw, scaled)
    odds = np.log(raw[:, 0] / raw[:, 1]) / np.log(scaled[:, 0] / scaled[:, 1])
    assert np.allclose(odds[np.isfinite(odds)], temperature, rtol=1e-2)
    out = tmp_path / "out"
    out.mkdir()
    export_classifier(tmp_path / "temperature", out, Packing())
    own = load(tmp_path / "temperature")
    alone = np.concatenate([own.predict_proba([text]) for text in dev])
    assert np.abs(inference.load(out).predict_proba(dev) - alone).max() < 2e-6


@pytest.fixture(scope="module")
def lms_of(tmp_path_factory, tokenizer):
    out = tmp_path_factory.mktemp("lm")
    spec = InitSpec(emb_size=16, n_hid=24, n_layers=2, seed=0, precision="float32")
    init_lm({"tokenizer": tokenizer}, spec, Run(out, out, 0))
    return out


def test_the_setting_moves_no_older_name():
    assert ClassifierSpec(seed=0).hashed() == ClassifierSpec(seed=0, calibration="none").hashed()
    assert "calibration" not in ClassifierSpec(seed=0).hashed()
    assert "calibration" in ClassifierSpec(seed=0, calibration="temperature").hashed()
