import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lowres.artifacts import Manifest
from lowres.cli import main
from lowres.cli.corpus_words import fitted
from lowres.fingerprint import file_sha256

MINI = Path(__file__).parents[2] / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A store with the mini corpus, built by its card and copied, and with a smaller one, built from a file."""
    root = tmp_path_factory.mktemp("place")
    (root / "store").mkdir()
    rows = [{"title": f"T{n}", "text": f"Câu số {n}: " + random.Random(n).randbytes(300).hex(" ")} for n in range(9)]
    (root / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("LOWRES_HOME", str(root / "store"))
        built = ["vi/mini", "--out", "mini"], ["few.jsonl", "--language", "vie", "--out", "few"]
        assert [command(patch, "build", "--offline", "--workers", "1", *each) for each in built] == [0, 0]
    return root


def command(patch: pytest.MonkeyPatch, *arguments: str) -> int:
    patch.setattr(sys, "argv", ["lowres", "corpus", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def corpus(place, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs `lowres corpus ...` at the place, in a terminal 72 wide. Returns exit code, output, and errors."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("LOWRES_HOME", str(place / "store"))
    monkeypatch.setenv("COLUMNS", "72")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = command(monkeypatch, *arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_show_prints_source_documents_funnel_and_samples(place, corpus):
    code, said, _ = corpus("show", "vi/mini", "--samples", "2", "--split", "valid")
    manifest = Manifest.read(place / "mini")
    assert code == 0 and "vi/mini of 2026, CC0-1.0" in said and manifest.spec["source_sha256"] in said
    assert f"{'valid':16} {manifest.facts['documents']['valid']:12,} {manifest.facts['bytes']['valid']:16,}" in said
    redirect = next(row for row in manifest.facts["funnel"] if row["reason"] == "redirect")
    assert f"{'redirect':16} {redirect['pages']:12,}   {', '.join(map(str, redirect['example_ids']))}\n" in said
    documents = said[said.index("[valid ") :].splitlines()
    assert sum(line.startswith("[valid ") for line in documents) == 2
    assert max(map(len, documents)) == 72 and any(line.endswith("…") for line in documents)


def test_a_corpus_is_named_by_card_file_folder_and_id(place, corpus):
    shutil.copy(MINI, place / "dump")
    known = Manifest.read(place / "mini").id
    for name in ("vi/mini", "dump", "mini", known, known[:8]):
        code, said, _ = corpus("show", name, "--json", "--samples", "1")
        value = json.loads(said)
        assert code == 0 and value["id"] == known and value["source"]["card"] == "vi/mini"
        assert value["source"]["date"] == "2026" and value["source"]["statement"].startswith("Composed by machine")
        assert value["cost"]["wall_s"] > 0 and len(value["samples"]) == 1 and value["samples"][0]["text"]


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("no/card", 2, "no/card: no such card"),
        ("vi/wikipedia-2023-head", 1, "`lowres corpus build vi/wikipedia-2023-head` builds it"),
        ("0000000", 1, "0000000: no artifact's id begins so"),
        ("damaged", 1, "manifest.json is damaged"),
        ("vi/sib200", 2, "a corpus card is needed here"),
        ("empty", 1, "no corpus of it stands"),
    ],
)
def test_a_fault_is_one_line(place, corpus, name, code, said):
    (place / "empty").mkdir(exist_ok=True)
    (place / "damaged").mkdir(exist_ok=True)
    (place / "damaged/manifest.json").write_text('{"id": 1')
    ended, out, errors = corpus("show", name)
    assert (ended, out) == (code, "") and said in errors and len(errors.splitlines()) == 1


def test_diff_ends_with_0_whether_or_not_they_differ(place, corpus):
    code, said, _ = corpus("diff", "vi/mini", "mini")
    total = sum(Manifest.read(place / "mini").facts["documents"].values())
    assert code == 0 and f"{'equal':24} {total:12,}" in said and "only in" not in said and "settings" not in said
    code, said, _ = corpus("diff", "mini", "few", "--samples", "1")
    assert code == 0 and f"{'only in A':24} {total:12,}" in said and "only in B" in said
    assert "one of the two has no ids" in said and "mediawiki            jsonl" in said
    value = json.loads(corpus("diff", "mini", "few", "--json")[1])
    assert value["by"] == "content" and value["only_a"]["documents"] == total and value["settings"]["format"]


def test_a_copied_corpus_says_where_it_comes_from_and_its_bytes_are_the_stores(place):
    manifest = Manifest.read(place / "mini")
    store = place / "store/artifacts" / manifest.id[:2] / manifest.id
    beside = {"README.md", "card.toml"}
    assert {path.name for path in (place / "mini").iterdir()} == {path.name for path in store.iterdir()} | beside
    assert all(file_sha256(place / "mini" / path.name) == file_sha256(path) for path in store.iterdir())
    assert (place / "mini/card.toml").read_bytes() == MINI.parent.with_suffix(".toml").read_bytes()
    said = (place / "mini/README.md").read_text(encoding="utf-8")
    for part in ("Composed by machine", "- date: 2026", manifest.spec["source_sha256"], f"lowres {manifest.lowres}"):
        assert part in said
    without = (place / "few/README.md").read_text(encoding="utf-8")
    assert "without a card" in without and not (place / "few/card.toml").exists()


@pytest.mark.parametrize("named", ["files", "folder"])
def test_a_copied_corpus_loads_with_datasets(place, tmp_path, named):
    from datasets import load_dataset

    files = {"train": str(place / "mini/train.parquet"), "validation": str(place / "mini/valid.parquet")}
    if named == "files":
        loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))
    else:
        loaded = load_dataset(str(place / "mini"), cache_dir=str(tmp_path))
        assert set(loaded) == {"train", "validation", "test"}
    counts = Manifest.read(place / "mini").facts["documents"]
    assert loaded["train"].num_rows == counts["train"] and loaded["validation"].num_rows == counts["valid"]
    assert loaded["train"].column_names == ["id", "title", "text", "bytes", "split"]


def test_a_line_is_cut_to_the_cells_of_the_terminal():
    assert fitted("abc", 3) == "abc" and fitted("abcd", 3) == "ab…"
    assert fitted("漢字漢字", 5) == "漢字…" and fitted("\x1b[31mđỏ", 10) == " [31mđỏ"


def test_a_name_that_means_several_corpora_names_them(place, corpus):
    for store in ("one", "two"):
        assert corpus("build", "vi/mini", "--allow-truncated", "--offline", "--store", store)[0] == 0
    other = next((place / "one/artifacts").glob("*/*")).name[:12]
    code, _, errors = corpus("show", "vi/mini", "--store", "one")  # not with the default settings
    assert code == 1 and f"with other settings there is {other}" in errors
    assert corpus("build", "vi/mini", "--offline", "--store", "two")[0] == 0
    assert corpus("show", "vi/mini", "--store", "two")[0] == 0
    shutil.copy(MINI, place / "dump")
    code, out, errors = corpus("show", "dump", "--store", "two")
    assert (code, out) == (1, "") and "it may be " in errors and other in errors
    settings = json.loads(corpus("diff", "vi/mini", other, "--store", "two", "--json")[1])["settings"]
    assert settings == {"allow_truncated": [False, True]}
