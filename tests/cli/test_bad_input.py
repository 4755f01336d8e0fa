"""What goes wrong in a user's hands: one clear line, a non-zero exit, nothing half-written."""

import bz2
import hashlib
import subprocess
from pathlib import Path

import pytest

RECIPE = """name = "bad"
language = "vie"
{keys}
[methods.majority]
family = "baselines"
model = "majority"
"""
CORPUS = """card = "corpus"
name = "vi/bad"
language = "vie"
script = "Latn"
licence = "CC0"
statement = "Written for this test, in Vietnamese."
format = "mediawiki"
date = "2026"
[[files]]
role = "all"
path = "bad.xml.bz2"
sha256 = "{sha}"
bytes = {size}
"""


@pytest.fixture
def place(tmp_path, monkeypatch, repository):
    """An empty working folder; `run(recipe text)` runs lowres there in this process."""
    import sys

    from lowres.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWRES_HOME", str(tmp_path / "store"))
    (tmp_path / "corpora/vi").mkdir(parents=True)

    def run(keys: str, *options: str) -> int:
        (tmp_path / "bad.toml").write_text(RECIPE.format(keys=keys), encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["lowres", "run", "bad.toml", "--offline", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return tmp_path, run


def corpus_card(folder: Path, content: bytes, sha: str | None = None) -> None:
    (folder / "corpora/vi/bad.xml.bz2").write_bytes(content)
    sha = sha or hashlib.sha256(content).hexdigest()
    (folder / "corpora/vi/bad.toml").write_text(CORPUS.format(sha=sha, size=len(content)), encoding="utf-8")


def one_line(capsys, *words: str) -> None:
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("lowres: ")
    for word in words:
        assert word in err


def nothing_half_written(folder: Path) -> None:
    assert not list((folder / "store/building").iterdir())
    assert not list((folder / "store/artifacts").glob("*/*/manifest.json"))


def mini_dump(repository) -> bytes:
    return (repository / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2").read_bytes()


def test_a_wrong_checksum(place, capsys, repository):
    folder, run = place
    corpus_card(folder, mini_dump(repository), sha="0" * 64)
    assert run('corpus = "vi/bad"') == 1
    one_line(capsys, "vi/bad", "sha256")
    nothing_half_written(folder)
    assert not (folder / "runs").exists()


def test_a_truncated_dump(place, capsys, repository):
    folder, run = place
    corpus_card(folder, mini_dump(repository)[:20000])
    assert run('corpus = "vi/bad"') == 1
    one_line(capsys, "bz2")
    nothing_half_written(folder)


def test_a_dump_without_articles(place, capsys, repository):
    folder, run = place
    xml = bz2.decompress(mini_dump(repository)).decode()
    corpus_card(folder, bz2.compress((xml[: xml.index("<page>")] + "</mediawiki>").encode()))
    assert run('corpus = "vi/bad"') == 1
    one_line(capsys, "no ")
    nothing_half_written(folder)


def test_a_label_in_test_that_train_lacks(place, capsys):
    folder, run = place
    files = {"train": "a\tx\nb\ty\nc\tx\n", "dev": "d\tx\n", "test": "e\tz\n"}
    card = (
        'card = "task"\nname = "vi/bad_task"\nlanguage = "vie"\nscript = "Latn"\nlicence = "CC0"\n'
        'statement = "Written for this test, in Vietnamese."\n[layout]\nformat = "tsv"\n'
    )
    for split, rows in files.items():
        content = ("text\tlabel\n" + rows).encode()
        (folder / f"corpora/vi/{split}.tsv").write_bytes(content)
        sha = hashlib.sha256(content).hexdigest()
        card += f'[[files]]\nrole = "{split}"\npath = "{split}.tsv"\nsha256 = "{sha}"\nbytes = {len(content)}\n'
    (folder / "corpora/vi/bad_task.toml").write_text(card, encoding="utf-8")
    assert run('tasks = ["vi/bad_task"]') == 1
    one_line(capsys, "'z'", "train")
    nothing_half_written(folder)


def test_a_train_size_larger_than_the_data(place, capsys):
    folder, run = place
    assert run('tasks = ["vi/mini_topics"]\ntrain_sizes = [100000]') == 1
    one_line(capsys, "100000")
    assert not list((folder / "store/building").iterdir())


def test_an_unknown_language_code(place, capsys):
    folder, run = place
    assert run('tasks = ["vi/mini_topics"]', "--set", "language=vi") == 2
    one_line(capsys, "did you mean 'vie'")


def test_a_store_that_may_not_be_made(place, capsys):
    folder, run = place
    (folder / "file").write_text("")
    assert run('tasks = ["vi/mini_topics"]', "--store", str(folder / "file/store")) == 1
    one_line(capsys, "--store")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(place, capsys, small_disk):
    folder, run = place
    assert run('corpus = "vi/mini"', "--store", str(small_disk / "store")) == 1
    one_line(capsys, "disk is full", "--store")
    assert not list((small_disk / "store/building").iterdir())
