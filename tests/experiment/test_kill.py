"""Killed at any moment and run again, a run ends with the same predictions, byte for byte."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "tiny.toml"


def command(place: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "lowres", "run", str(TINY), "--offline"),
        *("--store", str(place / "store"), "--runs", str(place / "runs")),
    ]


def run(place: Path, *options: str) -> None:
    done = subprocess.run([*command(place), *options], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def predictions(place: Path) -> dict[str, bytes]:
    files = (place / "runs/tiny/predictions").glob("*/predictions.parquet")
    return {path.parent.name: path.read_bytes() for path in files}


def killed_when(place: Path, moment) -> None:
    """Starts a run and kills its driver, not its workers, as soon as `moment()` is true."""
    with (place / "log").open("w") as log:
        process = subprocess.Popen(command(place), cwd=place, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until and not moment():
            time.sleep(0.02)
        assert process.poll() is None, (place / "log").read_text()
        process.kill()
        process.wait()
        _wait_for_orphans(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def _wait_for_orphans(session: int) -> None:
    """The workers leave by themselves when the driver is gone."""
    import psutil

    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not any(_session(process) == session for process in psutil.process_iter()):
            return
        time.sleep(0.05)
    raise AssertionError("a worker outlived its driver")


def _session(process) -> int | None:
    try:
        return os.getsid(process.pid) if process.status() != "zombie" else None
    except (ProcessLookupError, PermissionError, OSError):
        return None


def test_a_run_ends_with_a_report_and_the_predictions_of_every_cell(tiny):
    assert (tiny.root / "runs/tiny/report.html").stat().st_size > 10_000
    assert len(predictions(tiny.root)) == 8


@pytest.mark.parametrize("stage", ["ulmfit.pretrain_lm", "gptj.pretrain_lm", "ulmfit.train_classifier"])
def test_killed_in_a_stage_and_run_again_predictions_are_the_same(stage, tiny, tmp_path):
    wanted = artifacts_of(stage)
    shutil.copytree(tiny.root / "store", tmp_path / "store")  # what stands before the stage need not be built again
    _forget(tmp_path / "store", wanted)
    killed_when(tmp_path, lambda: being_built(tmp_path, wanted))
    run(tmp_path)
    assert predictions(tmp_path) == predictions(tiny.root)


def test_killed_in_the_first_stage_and_run_again_its_tables_are_the_same(tiny, tmp_path):
    wanted = artifacts_of("build_corpus")
    killed_when(tmp_path, lambda: being_built(tmp_path, wanted))
    run(tmp_path, "--until", "corpus")
    for artifact in wanted:
        ours, theirs = (root / "store/artifacts" / artifact[:2] / artifact for root in (tmp_path, tiny.root))
        tables = sorted(path.name for path in theirs.glob("*.parquet"))
        assert tables and all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in tables)


def artifacts_of(stage: str) -> set[str]:
    """The ids of a stage's artifacts in the tiny recipe."""
    from lowres import api
    from lowres.experiment.plan import every_node
    from lowres.recipe import load_recipe

    return {node.id for node in every_node(api.plan(load_recipe(TINY))).values() if node.stage.name == stage}


def being_built(place: Path, wanted: set[str]) -> bool:
    building = place / "store/building"
    return building.is_dir() and any(path.name.split(".")[0] in wanted for path in building.iterdir())


def _forget(store: Path, stage_ids: set[str]) -> None:
    """Takes out of a finished store the artifacts of a stage and all that was made from them."""
    import json

    inputs = {
        path.parent.name: set(json.loads(path.read_text(encoding="utf-8"))["inputs"].values())
        for path in (store / "artifacts").glob("*/*/manifest.json")
    }
    gone = set(stage_ids)
    while more := {artifact for artifact, read in inputs.items() if read & gone} - gone:
        gone |= more
    for artifact in gone:
        shutil.rmtree(store / "artifacts" / artifact[:2] / artifact, ignore_errors=True)
