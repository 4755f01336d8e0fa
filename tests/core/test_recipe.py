import re
from pathlib import Path

import pytest

from lowres.corpus.spec import CorpusSpec
from lowres.errors import RecipeError
from lowres.experiment.plan import make_plan
from lowres.recipe import build_recipe, load_recipe

GOOD = {
    "name": "small",
    "language": "vie",
    "corpus": "vi/mini",
    "tasks": ["vi/mini_topics"],
    "train_sizes": [24],
    "methods": {"majority": {"family": "baselines", "model": "majority"}},
}


def faults(content):
    with pytest.raises(RecipeError) as caught:
        build_recipe(content, "here.toml")
    return caught.value.faults


def test_a_good_recipe_is_built_and_full_is_always_there():
    assert build_recipe(GOOD).recipe.sizes == (24, "full")


def test_five_faults_are_told_at_once():
    bad = {
        **GOOD,
        "language": "vi",
        "tokenizer": {"vocab_sz": 1000},
        "tasks": ["vi/mini_topic"],
        "subsets": 0,
        "methods": {"tree": {"family": "baseline"}},
    }
    found = faults(bad)
    assert len(found) >= 5
    text = "\n".join(found)
    assert "did you mean 'vie'" in text
    assert "did you mean vocab_size?" in text
    assert "did you mean 'vi/mini_topics'?" in text
    assert "subsets is 0" in text
    assert "did you mean 'baselines'?" in text
    assert all(line.startswith("here.toml: ") for line in found)


def test_a_recipe_without_methods_or_name_is_refused():
    found = "\n".join(faults({"language": "vie"}))
    assert "methods is missing" in found
    assert "name is missing" in found


def test_an_unknown_key_of_a_method_names_the_one_meant():
    bad = {**GOOD, "methods": {"lr": {"family": "baselines", "modle": "tfidf-lr"}}}
    assert any("methods.lr.modle: unknown key; did you mean model?" in fault for fault in faults(bad))


def test_a_corpus_in_another_language_is_refused():
    assert any("the recipe's language is 'ltg'" in fault for fault in faults({**GOOD, "language": "ltg"}))


def test_set_overrides_nested_keys_and_reads_toml(repository):
    loaded = load_recipe(
        repository / "recipes/quickstart.toml", ["seeds=[3,4]", "run.threads=2", "budget.max_chars=50"]
    )
    assert loaded.recipe.seeds == (3, 4)
    assert loaded.recipe.run.threads == 2
    assert loaded.recipe.budget.max_chars == 50


def test_set_without_a_value_is_refused(repository):
    with pytest.raises(RecipeError, match="key=value"):
        load_recipe(repository / "recipes/quickstart.toml", ["seeds"])


def test_a_recipe_is_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe("quickstart").name == "quickstart"


def test_a_missing_recipe_names_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'quickstart'"):
        load_recipe("quikstart")


def test_bad_toml_names_the_line(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('name = "x\n')
    with pytest.raises(RecipeError, match="line 1"):
        load_recipe(path)


def test_corpora_that_a_filter_learns_from_are_inputs_of_the_corpus():
    ngrams = {"language": {"identifier": "ngrams", "against": ["ltg/wikipedia-2017"]}}
    alone, against = (make_plan(build_recipe({**GOOD, "filters": filters})) for filters in ({}, ngrams))
    assert alone.corpus is not None and against.corpus is not None
    assert alone.corpus.inputs == {}
    assert list(against.corpus.inputs) == ["against_ltg"]
    spec = against.corpus.inputs["against_ltg"].spec
    assert isinstance(spec, CorpusSpec) and spec.language == "ltg"
    assert against.raw_files.keys() - alone.raw_files.keys() == {spec.source_sha256}
    text = "\n".join(faults({**GOOD, "filters": {"language": {"identifier": "ngrams", "against": ["vi/mini", "no"]}}}))
    assert "filters.language.against: vi/mini is in 'vie'" in text
    assert "filters.language.against: no: no such card" in text


def test_a_corpus_that_a_filter_learns_from_must_be_pinned_and_may_be_several_files(tmp_path):
    card = (Path(__file__).parents[2] / "corpora/ltg/wikipedia-2017.toml").read_text(encoding="utf-8")
    first = re.findall(r'sha256 = "(\w{64})"', card)[0]
    path = tmp_path / "other.toml"
    content = {**GOOD, "filters": {"language": {"identifier": "ngrams", "against": [str(path)]}}}
    path.write_text(card.replace(f'sha256 = "{first}"', f'sha1 = "{"0" * 40}"'), encoding="utf-8")
    assert any("other.toml: files.0.sha256 is not known" in fault for fault in faults(content))
    second = f'\n[[files]]\nrole = "all"\nurl = "https://example.org/2.bz2"\nbytes = 9\nsha256 = "{"2" * 64}"\n'
    path.write_text(card + second, encoding="utf-8")
    plan = make_plan(build_recipe(content))
    assert plan.corpus is not None
    spec = plan.corpus.inputs["against_ltg"].spec
    assert isinstance(spec, CorpusSpec) and spec.raw_files() == (first, "2" * 64)
    assert {first, "2" * 64} <= plan.raw_files.keys()


def test_filters_added_later_leave_the_ids_of_earlier_corpora():
    node = make_plan(build_recipe(GOOD)).corpus
    assert node is not None
    filters = {"min_bytes": "auto", "stubs": True, "duplicates": True, "near_duplicates": 0.8}
    assert node.spec.hashed()["filters"] == filters
