"""The nodes that a method asks for."""

import pytest
from pydantic import ValidationError

from lowres.artifacts import Node, Run, Stage
from lowres.errors import RecipeError
from lowres.families.contract import Shared
from lowres.families.ulmfit.spec import FAMILY, InitSpec, UlmfitMethod
from lowres.families.ulmfit.stages import init_lm
from lowres.tasks.spec import SubsetSpec
from lowres.tokenizers.spec import PackSpec

ANY = Stage("any", 1, "data", "m:f", PackSpec)
CORPUS, TOKENIZER, TASK = (Node(ANY, PackSpec(), {}) for _ in range(3))
SUBSET = Node(Stage("subset", 1, "data", "m:f", SubsetSpec), SubsetSpec(train_size=100), {})


def _shared(unlabelled="train", corpus: Node | None = CORPUS) -> Shared:
    return Shared("vie", corpus, TOKENIZER if corpus else None, 7, unlabelled)


def _classifier(unlabelled="train", **settings) -> Node:
    method = UlmfitMethod.model_validate({"family": "ulmfit", **settings})
    return FAMILY.classifier(method, _shared(unlabelled), TASK, SUBSET, 3)


def test_a_pretrained_method_is_tuned_once_a_task_with_the_lm_seed():
    node = _classifier()
    tuned = node.inputs["lm_forward"]
    assert tuned.stage.name == "ulmfit.tune_lm" and set(tuned.inputs) == {"lm", "task"}
    assert tuned.spec.seed == 7 and node.spec.seed == 3
    assert tuned.inputs["lm"].stage.name == "ulmfit.pretrain_lm" and tuned.inputs["lm"].spec.seed == 7
    assert set(_classifier("subset").inputs["lm_forward"].inputs) == {"lm", "task", "subset"}
    assert _classifier(tune={"epochs": 0}).inputs["lm_forward"].id == tuned.inputs["lm"].id


def test_random_weights_are_not_tuned_unless_asked_for():
    node = _classifier(init="random")
    assert node.inputs["lm_forward"].stage.name == "ulmfit.init_lm"
    assert _classifier(init="random", tune={"epochs": 2}).inputs["lm_forward"].stage.name == "ulmfit.tune_lm"
    model = FAMILY.language_model(UlmfitMethod(family="ulmfit", init="random"), _shared())
    assert model.evaluation is None


def test_both_directions_share_the_forward_model():
    both, forward = _classifier(classifier={"direction": "both"}), _classifier()
    assert both.inputs["lm_forward"].id == forward.inputs["lm_forward"].id
    assert both.inputs["lm_backward"].inputs["lm"].spec.direction == "backward"
    assert both.id != forward.id


def test_held_out_bytes_do_not_retrain():
    first, second = (
        FAMILY.language_model(UlmfitMethod.model_validate({"family": "ulmfit", "lm": lm}), _shared())
        for lm in ({}, {"held_out_bytes": 5})
    )
    assert first.weights.id == second.weights.id and first.evaluation.id != second.evaluation.id


def test_a_folder_is_named_by_its_bytes_and_not_its_place(tokenizer, tmp_path):
    ids = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = tmp_path / place
        folder.mkdir()
        init_lm({"tokenizer": tokenizer}, InitSpec(emb_size=8, n_hid=8, seed=seed), Run(folder, tmp_path, 0))
        method = UlmfitMethod(family="ulmfit", init=str(folder))
        ids.append(FAMILY.language_model(method, _shared(corpus=None)).weights.id)
    assert ids[0] == ids[1] != ids[2]


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="name a corpus"):
        FAMILY.language_model(UlmfitMethod(family="ulmfit"), _shared(corpus=None))
    with pytest.raises(RecipeError, match=r"config\.json: no such file"):
        FAMILY.language_model(UlmfitMethod(family="ulmfit", init=str(tmp_path)), _shared())
    with pytest.raises(ValidationError, match="lm.epochs has no effect"):
        UlmfitMethod.model_validate({"family": "ulmfit", "init": str(tmp_path), "lm": {"epochs": 3}})
    both = UlmfitMethod.model_validate({"family": "ulmfit", "init": "x", "classifier": {"direction": "both"}})
    with pytest.raises(RecipeError, match="there is no forward/ in it"):
        FAMILY.language_model(both, _shared())
