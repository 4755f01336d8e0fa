import json
import tomllib

import pytest

from lowres.cards import CorpusCard, read_card
from lowres.corpus.pin import newest_dump, pin
from lowres.download import Patience
from lowres.errors import DataError, RecipeError
from lowres.wikipedias import find_edition

AT_ONCE = Patience(attempts=2, delay_s=0.0)


def edition(code):
    found = find_edition(code)
    assert found is not None
    return found


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_newest_dump_that_is_done_is_taken(dumps):
    dumps.add("sowiki", "20260401")
    dumps.add("sowiki", "20260420")
    dumps.add("sowiki", "20260501", status="in-progress")
    (dumps.root / "sowiki/20260520").mkdir()
    (dumps.root / "sowiki/latest").mkdir()
    found = newest_dump(edition("som"), dumps.url + "/", AT_ONCE)
    assert found.date == "20260420"
    assert [file.role for file in found.files] == ["all", "index"]
    path = dumps.root / "sowiki/20260420/sowiki-20260420-pages-articles-multistream.xml.bz2"
    assert found.files[0].url == f"{dumps.url}/sowiki/20260420/{path.name}"
    assert found.files[0].bytes == path.stat().st_size
    assert found.files[0].sha256 is None and len(found.files[0].sha1) == 40


def test_a_dump_in_parts_is_taken_put_together(dumps):
    dumps.add("viwiki", "20260501", job="articlesmultistreamdumprecombine")
    assert newest_dump(edition("vi"), dumps.url, AT_ONCE).date == "20260501"


def test_a_dump_without_checksums_or_index_is_passed_over(dumps):
    for date, spoil in (("20260501", "sha1"), ("20260601", None)):
        dumps.add("sowiki", date)
        path = dumps.root / f"sowiki/{date}/dumpstatus.json"
        status = json.loads(path.read_text())
        files = status["jobs"]["articlesmultistreamdump"]["files"]
        index = f"sowiki-{date}-pages-articles-multistream-index.txt.bz2"
        if spoil:
            del files[index][spoil]
        else:
            del files[index]
        path.write_text(json.dumps(status))
    dumps.add("sowiki", "20260701")
    (dumps.root / "sowiki/20260701/dumpstatus.json").write_text('{"jobs": ')
    with pytest.raises(DataError, match="of 20260701, 20260601, 20260501 none is complete"):
        newest_dump(edition("so"), dumps.url, AT_ONCE)


def test_a_site_without_the_wiki_is_one_line(dumps):
    with pytest.raises(DataError, match="sowiki/: there is no such folder"):
        newest_dump(edition("so"), dumps.url, AT_ONCE)
    with pytest.raises(DataError, match="could not be read.*2 attempts"):
        newest_dump(edition("so"), "http://127.0.0.1:1", AT_ONCE)


def test_a_card_is_written_that_is_valid(dumps, place):
    dumps.add("be_x_oldwiki", "20260501")
    pinned = pin(edition("be-tarask"), "be-tarask/wikipedia", dumps.url, AT_ONCE)
    card, _ = read_card(str(pinned.path), CorpusCard)
    assert pinned.path.as_posix() == "corpora/be-tarask/wikipedia.toml"
    assert (card.name, card.language, card.script, card.date) == ("be-tarask/wikipedia", "bel", "Cyrl", "20260501")
    assert card.files == pinned.dump.files
    assert card.statement.count("unknown") >= 4


def test_pinning_again_changes_nothing_and_a_newer_dump_is_not_taken_unasked(dumps, place):
    dumps.add("sowiki", "20260501")
    path = pin(edition("so"), "so/wikipedia", dumps.url, AT_ONCE).path
    before = path.read_bytes()
    assert not pin(edition("so"), "so/wikipedia", dumps.url, AT_ONCE).new
    dumps.add("sowiki", "20260601")
    with pytest.raises(DataError, match="pinned to 20260501, .* 20260601; .*--name so/wikipedia-20260601"):
        pin(edition("so"), "so/wikipedia", dumps.url, AT_ONCE)
    assert path.read_bytes() == before
    assert pin(edition("so"), "so/wikipedia-20260601", dumps.url, AT_ONCE).new


def test_placeholders_are_filled_and_a_users_words_stay(dumps, place):
    dumps.add("sowiki", "20260501")
    path = place / "corpora/so/wikipedia.toml"
    path.parent.mkdir(parents=True)
    ours = (
        '# ours\ncard = "corpus"\nname = "so/wikipedia"\nlanguage = "som"\nscript = "Latn"\nlicence = "CC BY-SA 4.0"\n'
        'format = "mediawiki"\ndate = "unknown"  # of the dump\nstatement = """\nIts three writers'
        ' told us: we wrote it all.\n"""\n'
    )
    path.write_text(ours + '\n[[files]]\nrole = "all"\nurl = "x"\nsha256 = "unknown"\nbytes = 0\n')
    pin(edition("so"), "so/wikipedia", dumps.url, AT_ONCE)
    text = path.read_text()
    card = CorpusCard.model_validate(tomllib.loads(text))
    assert (card.date, [file.role for file in card.files]) == ("20260501", ["all", "index"])
    assert text.startswith(ours.replace('"unknown"', '"20260501"'))


def test_a_card_that_is_pinned_but_faulty_is_left_alone(dumps, place):
    dumps.add("sowiki", "20260501")
    path = pin(edition("so"), "so/wikipedia", dumps.url, AT_ONCE).path
    path.write_text(path.read_text().replace("licence", "license"))
    with pytest.raises(RecipeError, match="did you mean licence"):
        pin(edition("so"), "so/wikipedia", dumps.url, AT_ONCE)
