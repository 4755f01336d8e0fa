"""From nothing to a pinned corpus that check reads: new, corpus pin, fetch --write."""

import hashlib

from lowres.cards import CorpusCard, read_card


def test_a_new_language_is_pinned_fetched_and_checked(lowres, tmp_path, dumps):
    dumps.add("sowiki", "20260501")
    assert lowres("new", "so", "--from", "quickstart")[0] == 0
    code, out, _ = lowres("corpus", "pin", "som", "--base-url", dumps.url)
    assert code == 0
    assert "wrote corpora/so/wikipedia.toml" in out and "lowres fetch so/wikipedia --write" in out

    code, _, err = lowres("check", "recipes/som/quickstart.toml")
    assert code == 2
    assert "files.0.sha256 is not known" in err and "files.1.sha256 is not known" in err
    assert "lowres fetch so/wikipedia --write" in err

    code, out, err = lowres("fetch", "so/wikipedia")
    assert (code, err) == (0, "")
    assert "--write" in out
    code, out, _ = lowres("fetch", "so/wikipedia", "--write", "--offline")
    assert code == 0
    card, _ = read_card("so/wikipedia", CorpusCard)
    for file in card.files:
        served = (dumps.root / "sowiki/20260501" / str(file.url).rpartition("/")[2]).read_bytes()
        assert file.sha256 == hashlib.sha256(served).hexdigest()
        assert f"({file.role}): {tmp_path / 'store/files' / file.sha256}" in out

    code, out, err = lowres("check", "recipes/som/quickstart.toml", "--offline")
    assert (code, err) == (0, "")
    code, out, _ = lowres("corpus", "pin", "so", "--base-url", dumps.url)
    assert (code, "pinned to it already" in out) == (0, True)
    assert read_card("so/wikipedia", CorpusCard)[0] == card


def test_fetch_refuses_what_the_card_does_not_say(lowres, tmp_path, dumps):
    dumps.add("sowiki", "20260501")
    lowres("corpus", "pin", "so", "--base-url", dumps.url)
    for path in (dumps.root / "sowiki/20260501").glob("*index*"):
        path.write_bytes(bytes(reversed(path.read_bytes())))
    code, _, err = lowres("fetch", "so/wikipedia", "--write")
    assert code == 1
    assert len(err.splitlines()) == 1 and "so/wikipedia (index)" in err and "with sha1" in err
    assert "sha256" not in (tmp_path / "corpora/so/wikipedia.toml").read_text()


def test_fetch_takes_a_mirror(lowres, tmp_path, dumps):
    dumps.add("sowiki", "20260501")
    lowres("corpus", "pin", "so", "--base-url", dumps.url)
    code, _, err = lowres("fetch", "so/wikipedia", "--offline")
    assert (code, "--offline forbids" in err) == (1, True)
    code, out, _ = lowres("fetch", "so/wikipedia", "--offline", "--mirror", dumps.root)
    assert (code, str(dumps.root) in out) == (0, True)


def test_fetch_needs_a_card_with_files(lowres):
    lowres("new", "so", "--from", "quickstart")
    code, _, err = lowres("fetch", "so/language")
    assert code == 2
    assert "card is 'language'" in err
    code, out, _ = lowres("fetch", "vi/mini", "--offline")
    assert (code, "vi/mini (all): " in out) == (0, True)


def test_pin_refuses_what_has_no_wikipedia(lowres, dumps):
    for code in ("tlh", "eng", "xx"):
        status, _, err = lowres("corpus", "pin", code, "--base-url", dumps.url)
        assert (status, len(err.splitlines())) == (2, 1)
