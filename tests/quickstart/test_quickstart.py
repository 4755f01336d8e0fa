"""The README's first command, and the notebook on the same store."""

import nbformat
import pandas as pd
from nbclient import NotebookClient

from lowres.report.results import load_results

METHODS = {"majority", "tfidf-lr", "nb-svm", "multifit", "ulmfit", "gptj-scratch"}


def test_every_cell_ends_ok_and_the_report_is_written(quickstart):
    folder = quickstart.root / "runs/quickstart"
    frame = load_results(folder).frame()
    assert set(frame["method"]) == METHODS
    assert set(frame["status"]) == {"ok"}
    assert (folder / "report.html").stat().st_size > 20_000
    assert len(pd.read_parquet(folder / "results.parquet")) == len(frame)
    assert "runs/quickstart/report.html" in quickstart.printed
    assert "Macro-F1" in quickstart.printed


def test_every_language_model_has_bits_per_byte_and_says_where_it_is_from(quickstart):
    models = load_results(quickstart.root / "runs/quickstart").language_models
    assert {model.method for model in models} == {"multifit", "ulmfit", "gptj-scratch"}
    assert {model.origin for model in models} == {"from scratch"}
    assert len({model.held_out_bytes for model in models}) == 1
    assert all(1 < model.bits_per_byte < 4 for model in models)
    assert all(model.vocab_size >= 256 and model.parameters > 1000 for model in models)


def test_no_headline_says_gptj_where_a_toy_ran(quickstart):
    page = (quickstart.root / "runs/quickstart/report.html").read_text(encoding="utf-8")
    assert "GPT-J architecture" in page
    assert "from scratch" in page


def test_every_method_learns_more_than_the_majority_says(quickstart):
    frame = load_results(quickstart.root / "runs/quickstart").frame()
    full = frame[frame["train_size"] == "full"].set_index("method")["test_macro_f1"]
    assert (full.drop("majority") > full["majority"] + 0.1).all()


def test_the_notebook_runs_on_the_same_store(quickstart, repository, monkeypatch):
    monkeypatch.setenv("LOWRES_HOME", str(quickstart.root / "store"))
    notebook = nbformat.read(repository / "notebooks/quickstart.ipynb", as_version=4)
    resources = {"metadata": {"path": str(quickstart.root)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)
