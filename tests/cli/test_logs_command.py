"""lowres logs: how the trainings of a run went."""

import json
import shutil

import pytest

from lowres.store import Store
from lowres.training.log import TrainingLog, read_log


def test_the_trainings_of_a_run_are_shown_and_given_to_tensorboard(tiny, tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = tiny.command("logs", "tiny", "--tensorboard", tmp_path / "board")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if " done " in line]
    assert any("pretrain lm · multifit" in line for line in lines), done.stdout
    assert any("gptj" in line for line in lines)
    folder = next(tmp_path.glob("board/pretrain-lm/multifit*"))
    board = accumulators.EventAccumulator(str(folder)).Reload()
    assert {"train_loss", "valid_loss", "epoch"} <= set(board.Tags()["tensors"])


def test_a_run_without_logs_is_said(tiny, tmp_path):
    said = tiny.command("logs", "tiny", "--store", tmp_path / "empty")
    assert said.returncode == 1
    wanted = "lowres: tiny: no training of this run has a log in the store; name its store with --store"
    assert said.stderr.strip() == wanted


def test_a_training_under_way_is_shown_as_such(tiny, tmp_path):
    shutil.copytree(tiny.root / "runs", tmp_path / "runs")
    plan = json.loads((tmp_path / "runs/tiny/plan.json").read_text(encoding="utf-8"))
    artifact = next(iter(plan["language_models"].values()))
    TrainingLog(Store(tmp_path / "store").work(artifact) / "lm.jsonl").add(10, loss=5.5, lr=0.01)
    done = type(tiny)(tmp_path).command("logs", "tiny")
    assert done.returncode == 0, done.stderr
    assert "under way" in done.stdout and "5.500" in done.stdout


def test_a_log_goes_on_from_a_checkpoint(tmp_path):
    log = TrainingLog(tmp_path / "lm.jsonl")
    log.go_on_from(0)
    for step in (10, 20, 30):
        log.add(step, loss=1 / step)
    with log.path.open("a") as file:
        file.write('{"step": 40, "lo')
    assert [line["step"] for line in read_log(log.path)] == [10, 20, 30]
    log.go_on_from(20)
    log.add(30, loss=0.5)
    wanted = [{"step": 10, "loss": 0.1}, {"step": 20, "loss": 0.05}, {"step": 30, "loss": 0.5}]
    assert list(read_log(log.path)) == wanted
