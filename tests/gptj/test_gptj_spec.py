import subprocess
import sys

import pytest
from pydantic import ValidationError

from lowres.artifacts import Node
from lowres.errors import RecipeError
from lowres.families import family
from lowres.families.contract import Shared
from lowres.families.gptj.settings import GptjMethod
from lowres.tokenizers.spec import (
    PACK_TOKENS,
    READ_GPT2_TOKENIZER,
    TRAIN_TOKENIZER,
    Gpt2Spec,
    PackSpec,
    Subword,
    TokenizerSpec,
)

FAMILY = family("gptj")
CORPUS = Node(PACK_TOKENS, PackSpec())  # any node will do
TOKENIZER = Node(TRAIN_TOKENIZER, TokenizerSpec(subword=Subword(), language="vie"), {"corpus": CORPUS})
GPT2 = Node(READ_GPT2_TOKENIZER, Gpt2Spec(encoder_sha256="a", merges_sha256="b"))
TASK, SUBSET = Node(PACK_TOKENS, PackSpec(), {"a": CORPUS}), Node(PACK_TOKENS, PackSpec(), {"b": CORPUS})


def shared(**changes):
    settings = {
        "language": "vie",
        "corpus": CORPUS,
        "tokenizer": TOKENIZER,
        "lm_seed": 3,
        "unlabelled": "train",
        "gpt2": GPT2,
    }
    return Shared(**settings | changes)


def method(**settings):
    return GptjMethod(family="gptj", **settings)


def chain(node):
    """Stage names from a node back along its language model."""
    names = [node.stage.name]
    while "lm" in node.inputs:
        node = node.inputs["lm"]
        names.append(node.stage.name)
    return names


def test_no_framework_is_imported_with_the_settings():
    heavy = ("jax", "torch", "sklearn", "numpy")
    code = f"import sys, lowres.families.gptj.spec; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_pretrained_method_is_scored_tuned_and_classified():
    model = FAMILY.language_model(method(), shared())
    assert model.evaluation.inputs["lm"] is model.weights
    assert model.weights.inputs["packed"].inputs["tokenizer"] is TOKENIZER
    node = FAMILY.classifier(method(), shared(), TASK, SUBSET, 5)
    assert chain(node) == ["gptj.train_classifier", "gptj.tune_lm", "gptj.pretrain_lm"]
    assert "subset" not in node.inputs["lm"].inputs
    assert node.spec.seed == 5 and node.inputs["lm"].inputs["lm"].spec.seed == 3


def test_random_weights_are_neither_scored_nor_tuned():
    model = FAMILY.language_model(method(init="random"), shared())
    assert model.evaluation is None
    node = FAMILY.classifier(method(init="random"), shared(), TASK, SUBSET, 5)
    assert chain(node) == ["gptj.train_classifier", "gptj.init_lm"]
    tuned = FAMILY.classifier(method(init="random", tune={"epochs": 1}), shared(), TASK, SUBSET, 5)
    assert chain(tuned)[1] == "gptj.tune_lm"


def test_tuning_reads_the_subset_alone_where_the_recipe_says_so():
    node = FAMILY.classifier(method(), shared(unlabelled="subset"), TASK, SUBSET, 5)
    assert node.inputs["lm"].inputs["subset"] is SUBSET
    untuned = FAMILY.classifier(method(tune={"epochs": 0}), shared(), TASK, SUBSET, 5)
    assert chain(untuned) == ["gptj.train_classifier", "gptj.pretrain_lm"]


def test_gpt2s_tokenizer_packs_the_corpus():
    weights = FAMILY.language_model(method(tokenizer="gpt2"), shared()).weights
    assert weights.inputs["packed"].inputs["tokenizer"] is GPT2


def test_how_much_is_scored_does_not_retrain():
    one, other = (FAMILY.language_model(method(lm={"held_out_bytes": n}), shared()) for n in (1000, 2000))
    assert one.weights.id == other.weights.id and one.evaluation.id != other.evaluation.id


@pytest.mark.parametrize("changes", [{"n_layer": 5}, {"lr": 0.001}, {"epochs": 9.0}, {"dropout": 0.1}])
def test_whatever_changes_the_model_changes_its_name(changes):
    assert (
        FAMILY.language_model(method(lm=changes), shared()).weights.id
        != FAMILY.language_model(method(), shared()).weights.id
    )


def test_settings_that_came_later_leave_old_names_alone():
    full = FAMILY.classifier(method(), shared(), TASK, SUBSET, 5)
    head = FAMILY.classifier(method(classifier={"arm": "head"}, tune={"epochs": 0}), shared(), TASK, SUBSET, 5)
    assert full.id.startswith("913cff4d95577c6c") and head.id.startswith("d95a383529a0cb55")
    adapted = FAMILY.classifier(method(tune={"lora": {}}), shared(), TASK, SUBSET, 5)
    assert adapted.inputs["lm"].spec.lora.rank == 8 and adapted.id != full.id
    ranks = [method(classifier={"arm": "lora", "lora": {"rank": rank}}) for rank in (4, 8)]
    assert len({FAMILY.classifier(one, shared(), TASK, SUBSET, 5).id for one in ranks}) == 2


def test_what_a_recipe_lacks_is_said():
    with pytest.raises(RecipeError, match="no corpus"):
        FAMILY.language_model(method(), shared(corpus=None, tokenizer=None))
    with pytest.raises(RecipeError, match="no tokenizer"):
        FAMILY.language_model(method(init="random"), shared(corpus=None, tokenizer=None))
    with pytest.raises(RecipeError, match="GPT-2"):
        FAMILY.language_model(method(tokenizer="gpt2"), shared(gpt2=None))


def test_sizes_that_do_not_fit_and_idle_settings_are_refused():
    with pytest.raises(ValidationError, match="must divide n_embd"):
        method(lm={"n_embd": 100, "n_head": 3})
    with pytest.raises(ValidationError, match="rotary_dim is 128"):
        method(lm={"rotary_dim": 128})
    with pytest.raises(ValidationError, match=r"lm\.n_layer has no effect"):
        method(init="/models/gptj", lm={"n_layer": 2})
    with pytest.raises(ValidationError, match=r"classifier\.lora has no effect"):
        method(classifier={"lora": {"rank": 2}})
    with pytest.raises(ValidationError, match="layers"):
        method(lm={"layers": 2})


def test_a_model_is_adapted_before_it_is_scored_and_tuned(tmp_path):
    model = FAMILY.language_model(method(adapt={"lr": 1e-4}), shared())
    assert chain(model.weights) == ["gptj.adapt_lm", "gptj.pretrain_lm"]
    assert model.evaluation.inputs["lm"] is model.weights and model.weights.inputs["packed"].inputs["corpus"] is CORPUS
    node = FAMILY.classifier(method(init="random", adapt={}), shared(), TASK, SUBSET, 5)
    assert chain(node) == ["gptj.train_classifier", "gptj.tune_lm", "gptj.adapt_lm", "gptj.init_lm"]
    (tmp_path / "a").mkdir()
    for folder in (tmp_path, tmp_path / "a"):
        (folder / "x.tfrecords").write_bytes(b"the same")
    there, elsewhere = (
        FAMILY.language_model(method(adapt={"rows": str(folder / "x.tfrecords")}), shared()).weights
        for folder in (tmp_path, tmp_path / "a")
    )
    assert there.id == elsewhere.id != model.weights.id, "the bytes count, not the place"
    with pytest.raises(RecipeError, match="adapt.rows: .*missing"):
        FAMILY.language_model(method(adapt={"rows": str(tmp_path / "y.tfrecords")}), shared())


def test_parts_of_a_step_are_equal():
    with pytest.raises(ValidationError, match="accumulate is 3; it must divide batch_size, 16"):
        method(lm={"accumulate": 3})
