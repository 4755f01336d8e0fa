"""What a recipe plans where its words are told by white space or by a segmenter."""

import pytest

from lowres.errors import RecipeError
from lowres.experiment.plan import make_plan
from lowres.recipe import build_recipe


def content(**changes):
    method = {"family": "ulmfit", "tokens": "word", **changes.pop("method", {})}
    return {"name": "w", "language": "vie", "corpus": "vi/mini", "methods": {"m": method}, **changes}


def test_words_leave_the_ids_of_subwords_alone():
    plain = make_plan(build_recipe(content(method={"tokens": "subword"})))
    segmented = make_plan(build_recipe(content(method={"tokens": "subword"}, segment="whitespace")))
    assert plain.language_models["m"].weights.id == segmented.language_models["m"].weights.id
    assert {node.id for node in segmented.wanted()} > {node.id for node in plain.wanted()}


def test_a_treebank_card_gives_a_segmenter_and_moves_the_words():
    by_card = make_plan(build_recipe(content(segment="stanza", segmenter="vi/ud_vtb")))
    by_space = make_plan(build_recipe(content(segment="whitespace")))
    assert by_card.words.inputs["segmenter"].stage.name == "train_segmenter"
    assert set(by_card.words.inputs["segmenter"].spec.raw_files()) <= by_card.raw_files.keys()
    assert by_card.words.id != by_space.words.id
    assert by_card.language_models["m"].weights.inputs["packed"].stage.worker == "segment"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, 'methods.m.tokens is "word"; say how words are told'),
        ({"segment": "stanza"}, "go together"),
        ({"segment": "whitespace", "segmenter": "vi/ud_vtb"}, "go together"),
        ({"segment": "stanza", "segmenter": "vi/ud_vtbb"}, "segmenter: vi/ud_vtbb: no such card"),
        ({"segment": "stanza", "segmenter": "wo/ud_wtb"}, "is in 'wol', the recipe's is 'vie'"),
        ({"segment": "whitespace", "method": {"init": "some/folder"}}, "tokens has no effect"),
    ],
)
def test_what_does_not_go_together_is_a_fault(changes, said):
    with pytest.raises(RecipeError) as raised:
        build_recipe(content(**changes))
    assert said in str(raised.value)


def test_a_folder_without_a_segmenter_is_a_fault(tmp_path):
    loaded = build_recipe(content(segment="stanza", segmenter=str(tmp_path)))
    with pytest.raises(RecipeError, match=r"segmenter\.json: no such file"):
        make_plan(loaded)
