import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from driving import BASELINES, Notes

from lowres.errors import DataError, Stopped
from lowres.experiment.keep import choose_classifier, ok_cells
from lowres.experiment.records import CellRecord
from lowres.experiment.results import RunFolder
from lowres.store import Store


def records(folder):
    files = sorted((folder / "cells").glob("*/*.json"))
    return [CellRecord.model_validate_json(path.read_text(encoding="utf-8")) for path in files]


def test_a_run_ends_with_every_cell_scored_and_a_second_run_builds_nothing(bench):
    plan = bench.plan()
    folder, outcome = bench.run(plan)
    assert (outcome.ok, outcome.failed) == (10, 0)
    found = records(folder)
    assert {record.status for record in found} == {"ok"}
    assert all(0 <= record.scores["test"]["macro_f1"] <= 1 for record in found)
    assert {record.labels_used for record in found} == {24, 72, 400}
    again = Notes()
    bench.run(bench.plan(), again)
    assert (again.missing, again.built) == (0, [])
    assert len(records(folder)) == len(found)


def test_a_new_method_builds_its_own_stages_only(bench):
    bench.run(bench.plan())
    notes = Notes()
    methods = {**BASELINES["methods"], "nb-svm": {"family": "baselines", "model": "nb-svm"}}
    bench.run(bench.plan(methods=methods), notes)
    assert set(notes.built) == {"baselines.train_classifier", "baselines.predict", "score_predictions"}


def test_only_the_best_classifier_of_a_method_stays(bench):
    plan = bench.plan()
    folder, _ = bench.run(plan)
    kept = {path.name for path in (folder / "classifiers").iterdir()}
    assert len(kept) == 2
    chosen = choose_classifier(folder, "tfidf", None, None, None, None)
    best = max(record.scores["dev"]["macro_f1"] for record in ok_cells(folder) if record.method == "tfidf")
    assert chosen.cell.scores["dev"]["macro_f1"] == best
    store = Store(bench.root / "store")
    standing = {cell.method for cell in plan.cells if store.has(cell.classifier.id)}
    assert sum(store.has(cell.classifier.id) for cell in plan.cells) == len(standing) == 2


def test_a_pruned_classifier_is_named_with_the_way_to_get_it(bench):
    folder, _ = bench.run(bench.plan())
    best = choose_classifier(folder, "tfidf", None, None, None, None).cell
    other = next(cell for cell in ok_cells(folder) if cell.method == "tfidf" and cell.cell != best.cell)
    with pytest.raises(DataError, match="run.keep=all"):
        choose_classifier(folder, "tfidf", None, str(other.train_size), other.subset, other.seed)


def test_keep_all_keeps_every_classifier(bench):
    folder, _ = bench.run(bench.plan(run={"keep": "all"}))
    assert len(list((folder / "classifiers").iterdir())) == 10


def test_keep_all_after_keep_best_brings_back_what_had_left(bench):
    bench.run(bench.plan())
    notes = Notes()
    folder, _ = bench.run(bench.plan(run={"keep": "all"}), notes)
    assert notes.built == ["baselines.train_classifier"] * 8
    assert len(list((folder / "classifiers").iterdir())) == 10


def test_a_train_size_over_the_data_is_one_line_and_nothing_is_half_written(bench):
    with pytest.raises(DataError, match="5000") as caught:
        bench.run(bench.plan(train_sizes=[24, 5000]))
    assert "\n" not in str(caught.value)
    assert not list((bench.root / "store/building").iterdir())


class _Killer(Notes):
    """Kills the worker of the first classifier that starts."""

    def started(self, node, label):
        if node.stage.name == "baselines.train_classifier" and not getattr(self, "killed", False):
            self.killed = True
            for pid in children():
                os.kill(pid, signal.SIGKILL)


def children() -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process().children() if "lowres.experiment.worker" in child.cmdline()]


def test_a_worker_that_dies_is_a_recorded_failure_and_is_tried_again(bench):
    plan = bench.plan(train_sizes=[24], subsets=1)
    folder, outcome = bench.run(plan, _Killer())
    assert outcome.failed >= 1
    failed = [record for record in records(folder) if record.status != "ok"]
    assert {record.status for record in failed} == {"oom"}
    assert "worker died" in failed[0].error
    _, outcome = bench.run(plan)
    assert (outcome.ok, outcome.failed) == (4, 0)
    attempts = RunFolder(folder, plan, Store(bench.root / "store")).attempts
    cell = next(cell for cell in plan.cells if cell.id == failed[0].cell)
    assert [record.status for record in attempts(cell)] == ["oom", "ok"]


def test_a_stage_over_its_time_is_a_recorded_timeout(bench):
    folder, outcome = bench.run(bench.plan(run={"timeout_s": 1e-9}))
    assert outcome.ok == 0
    assert {record.status for record in records(folder)} == {"timeout"}


def test_two_runs_at_once_on_one_store_do_not_harm_each_other(bench):
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda name: bench.run(bench.plan(name=name))[1], ("first", "second")))
    assert [(outcome.ok, outcome.failed) for outcome in outcomes] == [(10, 0), (10, 0)]
    scores = [
        [
            (record.method, record.train_size, record.subset, record.scores)
            for record in ok_cells(bench.root / "runs" / n)
        ]
        for n in ("first", "second")
    ]
    assert scores[0] == scores[1]


class _Interrupter(Notes):
    def finished(self, node, seconds):
        super().finished(node, seconds)
        if len(self.built) == 3:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_stops_cleanly_and_the_next_run_goes_on(bench):
    plan = bench.plan()
    first = _Interrupter()
    with pytest.raises(Stopped):
        bench.run(plan, first)
    assert not children()
    assert not list((bench.root / "store/building").iterdir())
    second = Notes()
    bench.run(plan, second)
    whole = Notes()
    bench.run(plan, whole, store="other")
    assert sorted(first.built + second.built) == sorted(whole.built)


def test_until_stops_early(bench):
    notes = Notes()
    from lowres import api
    from lowres.recipe import build_recipe

    bench.run(api.plan(build_recipe(BASELINES), until="classifier"), notes)
    assert "baselines.train_classifier" in notes.built
    assert "baselines.predict" not in notes.built
