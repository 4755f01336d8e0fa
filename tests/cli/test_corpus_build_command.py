import bz2
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowres.api import Quiet
from lowres.artifacts import CORPUS_SPLITS, Corpus, Manifest
from lowres.cli import main
from lowres.errors import DataError, RecipeError
from lowres.experiment.corpora import CorpusRequest, CorpusSettings, build_one, copy_corpus, request_corpus
from lowres.fetch import Finder
from lowres.recipe import settings_of
from lowres.store import Store

MINI = Path(__file__).parents[2] / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2"


@pytest.fixture
def finder(tmp_path) -> Finder:
    return Finder(Store(tmp_path / "store"), offline=True)


@pytest.fixture
def lowres(tmp_path, monkeypatch) -> Callable[..., int]:
    """Runs `lowres corpus build` in an empty working folder, in this process. Returns its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWRES_HOME", str(tmp_path / "store"))
    shutil.copy(MINI, tmp_path / "dump")

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["lowres", "corpus", "build", "--offline", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


def test_a_file_and_its_card_are_one_corpus_written_where_the_user_wants_it(tmp_path, lowres, capsys):
    assert lowres("dump", "--language", "vie", "--out", "a/corpus", "--workers", "2") == 0
    said = capsys.readouterr().out
    assert "documents (train" in said and "left out: redirect: " in said and "corpus: a/corpus" in said
    manifest = Manifest.read(tmp_path / "a/corpus")
    for split in CORPUS_SPLITS:
        assert Corpus(tmp_path / "a/corpus").table(split).num_rows == manifest.facts["documents"][split]
    assert lowres("vi/mini", "--out", "a/corpus", "--workers", "1") == 0  # the same request: it stands
    assert len(list((tmp_path / "store/artifacts").glob("*/*"))) == 1
    capsys.readouterr()
    assert lowres("vi/mini", "--out", "store") == 1
    assert "lowres: --out store: something else is there; name a new folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("dump",), 2, "dump: a file does not say its language; add --language"),
        (("dump", "--language", "vi"), 2, "'vi' is not an ISO 639-3 language code; did you mean 'vie'"),
        (("vi/mini", "--language", "ltg"), 2, "--language ltg: "),
        (("no/such", "--language", "vie"), 2, "no/such: no such card"),
        (("dump", "--language", "ltg"), 1, "the wiki in 'vi', and the corpus is declared as 'ltg'"),
        (("cut", "--language", "vie"), 1, "truncated"),
        (("bomb", "--language", "vie"), 1, "bomb: it declares a document type"),
        (("flipped", "--language", "vie"), 1, "fetch it again"),
    ],
)
def test_a_fault_is_one_line(tmp_path, lowres, capsys, arguments, code, said):
    xml = bz2.decompress(MINI.read_bytes())
    (tmp_path / "cut").write_bytes(xml[: len(xml) // 2])
    (tmp_path / "bomb").write_bytes(b"<!DOCTYPE m [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]>" + xml)
    packed = bytearray(MINI.read_bytes())
    packed[len(packed) // 2] ^= 1
    (tmp_path / "flipped").write_bytes(packed)
    assert lowres(*arguments) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("  build corpus")]
    assert len(lines) == 1 and lines[0].startswith("lowres: ") and said in lines[0]
    assert not list((tmp_path / "store/artifacts").glob("*/*")) and not list((tmp_path / "store/building").iterdir())


def test_hostile_pages_are_told_by_their_reason_and_the_others_stay(tmp_path, lowres, capsys):
    page = "<page><title>../{0}</title><ns>0</ns><id>{0}</id><revision><id>1</id><text>{1}</text></revision></page>"
    texts = ["{{" * 100_000, "&lt;ref>" * 40_000, "[[" * 10_000 + "a" + "]]" * 10_000, "a " * 2_500_000, ""]
    odd = "".join(page.format(10**9 + number, text) for number, text in enumerate(texts)).encode()
    xml = bz2.decompress(MINI.read_bytes())
    (tmp_path / "odd").write_bytes(xml.replace(b"</mediawiki>", odd + b"</mediawiki>"))
    assert lowres("odd", "--language", "vie") == 0
    said = capsys.readouterr().out
    assert "155 documents (" in said  # those of the dump itself
    assert "left out: too long: 1\n" in said and "left out: empty: 3\n" in said and "left out: too short: 1\n" in said


def test_a_cut_dump_is_built_if_the_user_says_so(tmp_path, finder):
    xml = bz2.decompress(MINI.read_bytes())
    (tmp_path / "cut").write_bytes(xml[: len(xml) // 2])
    request = request_corpus(str(tmp_path / "cut"), "vie", finder, allow_truncated=True)
    facts = Manifest.read(built(request, finder)).facts
    assert {row["reason"]: row["pages"] for row in facts["funnel"]}["truncated"] == 1
    assert sum(facts["documents"].values()) > 10


def built(request: CorpusRequest, finder: Finder) -> Path:
    return build_one(request, finder.store, 1, Quiet(), lambda: False)


def test_the_format_is_told_by_the_content(tmp_path, finder):
    rows = [{"title": "T", "text": "chữ " * 50}]
    files = {
        "jsonl": ("a", (json.dumps(rows[0]) + "\n").encode()),
        "text": ("b", b"ch\xe1\xbb\xaf"),
        "mediawiki": ("c", MINI.read_bytes()),
    }
    for form, (name, data) in files.items():
        (tmp_path / name).write_bytes(data)
        assert request_corpus(str(tmp_path / name), "vie", finder).node.spec.format == form
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d")
    assert request_corpus(str(tmp_path / "d"), "vie", finder).node.spec.format == "parquet"
    (tmp_path / "x-multistream-index.txt").write_text("600:1:A\n")
    with pytest.raises(DataError, match="name the dump itself"):
        request_corpus(str(tmp_path / "x-multistream-index.txt"), "vie", finder)


def test_a_folder_of_texts_is_a_document_a_file(tmp_path, finder):
    (tmp_path / "texts").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        request_corpus(str(tmp_path / "texts"), "vie", finder)
    for number in range(5):
        (tmp_path / f"texts/{number}.txt").write_text(
            f"một {number}\n\n" + random.Random(number).randbytes(300).hex(" ")
        )
    folder = built(request_corpus(str(tmp_path / "texts"), "vie", finder), finder)
    texts = sorted(text for split in CORPUS_SPLITS for text in Corpus(folder).texts(split))
    assert [text.splitlines()[0] for text in texts] == [f"một {number}" for number in range(5)]


def test_a_corpus_is_copied_whole(tmp_path, finder):
    with pytest.raises(RecipeError, match="no such card"):
        request_corpus("no/card", None, finder)
    request = request_corpus("vi/mini", "vie", finder)
    assert list(request.files.values())[0].read_bytes() == MINI.read_bytes()
    copy_corpus(built(request, finder), tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()


def test_settings_are_a_recipes(finder):
    off, on, plain = (
        request_corpus(str(MINI), "vie", finder, settings=settings_of(CorpusSettings, overrides)).node
        for overrides in (["filters.near_duplicates=false"], ["filters.near_duplicates=0.8"], [])
    )
    assert on.id == plain.id != off.id
    with pytest.raises(RecipeError, match="--set: filters.min_byte: unknown key; did you mean min_bytes?"):
        settings_of(CorpusSettings, ["filters.min_byte=3"])
    with pytest.raises(RecipeError, match="near_duplicates is true"):
        settings_of(CorpusSettings, ["filters.near_duplicates=true"])
    with pytest.raises(RecipeError, match="build by a recipe"):
        settings = settings_of(
            CorpusSettings, ["filters.language.identifier=ngrams", 'filters.language.against=["ltg/wikipedia-2017"]']
        )
        request_corpus(str(MINI), "vie", finder, settings=settings)
