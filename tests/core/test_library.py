"""Every recipe and card in the tree is valid; the counts are asserted, so none is passed over."""

import pytest

from lowres.cards import (
    CorpusCard,
    LanguageCard,
    TaskCard,
    TokenizerCard,
    TreebankCard,
    find_file,
    read_card,
    read_toml,
    validated,
)
from lowres.errors import RecipeError
from lowres.experiment.plan import make_plan
from lowres.recipe import load_recipe

CARDS, RECIPES = 13, 10
KINDS = {
    "corpus": CorpusCard,
    "task": TaskCard,
    "treebank": TreebankCard,
    "tokenizer": TokenizerCard,
    "language": LanguageCard,
}


def test_every_card_is_valid_and_named_after_its_place(repository):
    cards = sorted((repository / "corpora").rglob("*.toml"))
    for path in cards:
        card, _ = read_card(str(path), KINDS[read_toml(path)["card"]])
        assert card.name == path.relative_to(repository / "corpora").with_suffix("").as_posix()
    assert len(cards) == CARDS


def test_every_recipe_is_valid_and_makes_a_plan(repository, tmp_path, monkeypatch):
    weights = tmp_path / "gpt-j-6b"  # what a recipe names and nobody ships
    weights.mkdir()
    (weights / "config.json").write_text('{"model_type": "gptj"}')
    (weights / "model.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    recipes = sorted((repository / "recipes").rglob("*.toml"))
    for path in recipes:
        plan = make_plan(load_recipe(path))
        assert plan.cells or not plan.tasks
        assert len({cell.id for cell in plan.cells}) == len(plan.cells)
    assert len(recipes) == RECIPES


def test_every_recipe_opens_with_its_command_and_what_to_expect(repository):
    for path in (repository / "recipes").rglob("*.toml"):
        head = path.read_text(encoding="utf-8").split("\n\n")[0]
        assert f"lowres run {path.relative_to(repository).as_posix()}" in head
        assert "expected:" in head


@pytest.mark.parametrize("name", ["vi/wikipedia-2017-articles", "vi/wikipedia-2023-head"])
def test_a_derived_file_says_how_it_was_made(name):
    card, _ = read_card(name, CorpusCard)
    assert card.files[0].url is None
    assert "commit" in card.files[0].derived


def test_a_dataset_of_a_hub_must_be_pinned_to_a_commit():
    content = read_toml(find_file("corpora", "ltg/wikipedia-2017"))
    for revision, faulty in (("main", True), ("3b5949d968d1fbc3facce39769ba00aa13404ffc", False)):
        url = f"https://huggingface.co/datasets/wikimedia/wikipedia/resolve/{revision}/20231101.ltg/train.parquet"
        content["files"][0]["url"] = url
        if faulty:
            with pytest.raises(RecipeError, match="'main', which moves; pin a commit"):
                validated(CorpusCard, content, "here.toml")
        else:
            assert validated(CorpusCard, content, "here.toml").files[0].url == url
