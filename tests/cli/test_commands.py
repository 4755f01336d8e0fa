import subprocess
import sys

import pytest

from lowres.cards import LanguageCard, read_card


def test_help_and_import_bring_no_framework(repository):
    code = (
        "import sys, lowres, lowres.cli\n"
        "heavy = {'torch', 'fastai', 'jax', 'transformers', 'stanza', 'datasets', 'sklearn', 'pandas', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_version(lowres):
    code, out, _ = lowres("--version")
    assert (code, out.split()[0]) == (0, "lowres")


def test_ls_names_recipes_and_cards_of_the_package(lowres):
    code, out, _ = lowres("ls")
    assert code == 0
    assert "quickstart" in out
    assert "vi/uit_vsfc_sentiment" in out


def test_plan_shows_what_is_new_and_computes_nothing(lowres, tmp_path):
    code, out, _ = lowres("plan", "quickstart")
    assert code == 0
    assert "pretrain_lm" in out
    assert not list((tmp_path / "store/artifacts").iterdir())


def test_a_recipe_with_faults_ends_with_a_line_each(lowres, tmp_path):
    (tmp_path / "bad.toml").write_text('name = "Bad Name"\nlanguage = "xx"\ntask = []\n[methods.a]\nfamily = "ulmft"\n')
    code, out, err = lowres("run", "bad.toml")
    assert code == 2
    assert len(err.splitlines()) == 4
    assert all(line.startswith("lowres: bad.toml: ") for line in err.splitlines())
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_a_missing_card_names_the_nearest(lowres, tmp_path):
    (tmp_path / "r.toml").write_text(
        'name = "r"\nlanguage = "vie"\ntasks = ["vi/minitopics"]\n'
        '[methods.m]\nfamily = "baselines"\nmodel = "majority"\n'
    )
    code, _, err = lowres("check", "r.toml")
    assert code == 2
    assert "did you mean 'vi/mini_topics'?" in err


def test_check_names_every_file_that_is_not_at_hand(lowres):
    code, _, err = lowres("check", "vi/compare", "--offline")
    assert code == 2
    assert "--mirror" in err
    assert "vi/wikipedia-2017-articles" in err and "vi/uit_vsfc_sentiment" in err


def test_an_unknown_stage_is_refused(lowres):
    code, _, err = lowres("run", "quickstart", "--until", "lunch")
    assert code == 2
    assert "corpus, tokenizer, lm" in err


def test_an_unknown_run_names_those_there_are(lowres):
    code, _, err = lowres("report", "nothing")
    assert code == 1
    assert "no run was made here yet" in err


def test_new_writes_a_recipe_and_cards_that_check_reads(lowres, tmp_path, repository):
    dump = repository / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2"
    code, out, _ = lowres("new", "som", "--from", "quickstart", "--dump", dump)
    assert code == 0
    assert (tmp_path / "recipes/som/quickstart.toml").is_file()
    code, out, err = lowres("check", "recipes/som/quickstart.toml", "--offline")
    assert (code, err) == (0, "")
    assert "no fault found" in out


def test_new_leaves_out_methods_that_need_prompts_in_the_language(tmp_path, monkeypatch):
    from lowres.cards import read_toml
    from lowres.scaffold import new_language

    monkeypatch.chdir(tmp_path)
    new_language("som", "vi/compare", None, [], [])
    methods = read_toml(tmp_path / "recipes/som/compare.toml")["methods"]
    assert "gptj-head" in methods and "gptj-prompt" not in methods


def test_new_without_a_dump_leaves_the_card_unpinned_and_check_says_so(lowres):
    assert lowres("new", "som", "--from", "quickstart")[0] == 0
    code, _, err = lowres("check", "recipes/som/quickstart.toml")
    assert code == 2
    assert "files.0.sha256" in err and "lowres corpus pin so" in err


def test_new_fills_the_language_card_from_the_table(lowres, tmp_path):
    assert lowres("new", "ckb", "--from", "quickstart")[0] == 0
    card, _ = read_card(str(tmp_path / "corpora/ckb/language.toml"), LanguageCard)
    assert (card.iso, card.wiki, card.endonym) == ("ckb", "ckb", "کوردی")
    assert (card.script, card.direction) == ("Arab", "rtl")
    corpus = (tmp_path / "corpora/ckb/wikipedia.toml").read_text(encoding="utf-8")
    assert 'script = "Arab"' in corpus and "/ckbwiki/DATE/" in corpus and "bots: unknown" in corpus.replace("\n", " ")


def test_new_asks_which_of_two_wikipedias_and_takes_its_code(lowres, tmp_path, repository):
    status, _, err = lowres("new", "bel", "--from", "quickstart")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "'be'" in err and "'be-tarask'" in err
    dump = repository / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2"
    for wiki in ("be", "be-tarask"):
        assert lowres("new", wiki, "--from", "quickstart", "--dump", dump)[0] == 0
        assert lowres("check", f"recipes/{wiki}/quickstart.toml", "--offline")[0] == 0


def test_new_for_a_language_without_a_wikipedia_needs_a_dump(lowres, repository):
    status, _, err = lowres("new", "tlh", "--from", "quickstart")
    assert status == 2
    assert "Klingon has no Wikipedia" in err and "--dump" in err
    dump = repository / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2"
    assert lowres("new", "tlh", "--from", "quickstart", "--dump", dump)[0] == 0
    assert lowres("check", "recipes/tlh/quickstart.toml", "--offline")[0] == 0


@pytest.mark.parametrize("code", ["xx", "zzz"])
def test_new_refuses_an_unknown_language(lowres, code, tmp_path):
    status, _, err = lowres("new", code)
    assert status == 2
    assert "ISO 639-3" in err
    assert not list(tmp_path.iterdir())


def test_ls_presets_lists_them_with_a_line_each_and_prints_one(lowres):
    code, out, _ = lowres("ls", "presets")
    assert code == 0 and out.startswith("presets:\n")
    line = next(line for line in out.splitlines() if line.startswith("  multifit-paper"))
    assert "four QRNN layers of 1550" in line
    code, out, _ = lowres("ls", "presets", "multifit-paper")
    assert code == 0 and 'family = "ulmfit"' in out and "clip = 0.12" in out
    code, _, err = lowres("ls", "presets", "multifit-papr")
    assert (code, err) == (2, "lowres: preset is 'multifit-papr'; did you mean 'multifit-paper'?\n")
    code, _, err = lowres("ls", "cards", "vi/mini")
    assert code == 2 and "lowres ls presets NAME" in err
