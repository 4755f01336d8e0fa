import errno
import multiprocessing

import pytest

from lowres.errors import StoreError
from lowres.store import Store, default_store, disk_faults

ID = "ab" * 32


def build(store, text="x"):
    folder = store.start_building(ID)
    (folder / "data").write_text(text)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_an_artifact_is_absent_until_put(tmp_path):
    store = Store(tmp_path)
    folder = build(store)
    assert not store.has(ID)
    store.put(ID, folder)
    assert store.has(ID)
    assert (store.path(ID) / "data").read_text() == "x"


def test_a_lost_race_discards_the_copy(tmp_path):
    store = Store(tmp_path)
    store.put(ID, build(store, "first"))
    second = tmp_path / "building" / f"{ID}.other"
    second.mkdir()
    (second / "manifest.json").write_text("{}")
    store.put(ID, second)
    assert (store.path(ID) / "data").read_text() == "first"
    assert not second.exists()


def test_building_again_removes_what_a_dead_process_left(tmp_path):
    store = Store(tmp_path)
    left = tmp_path / "building" / f"{ID}.99999"
    left.mkdir()
    store.start_building(ID)
    assert not left.exists()


def test_put_frees_the_scratch(tmp_path):
    store = Store(tmp_path)
    (store.work(ID) / "checkpoint").write_text("x")
    store.put(ID, build(store))
    assert not (tmp_path / "work" / ID).exists()


def _hold(root, held, release):
    with Store(root).locked(ID) as mine:
        assert mine
        held.set()
        release.wait(30)


def test_a_lock_keeps_another_process_out_and_dies_with_its_holder(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, release))
    process.start()
    assert held.wait(30)
    store = Store(tmp_path)
    with store.locked(ID, timeout_s=0) as mine:
        assert not mine
    process.kill()
    process.join()
    with store.locked(ID, timeout_s=5) as mine:
        assert mine


def test_remove_takes_the_manifest_first(tmp_path):
    store = Store(tmp_path)
    store.put(ID, build(store))
    store.remove(ID)
    assert not store.has(ID)
    store.remove(ID)


@pytest.mark.parametrize("number, word", [(errno.ENOSPC, "disk is full"), (errno.EACCES, "may not be written")])
def test_disk_faults_are_one_line(number, word):
    with pytest.raises(StoreError, match=word) as caught, disk_faults("place"):
        raise OSError(number, "x")
    assert "\n" not in str(caught.value)


def test_the_store_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWRES_HOME", str(tmp_path / "here"))
    assert default_store() == tmp_path / "here"
