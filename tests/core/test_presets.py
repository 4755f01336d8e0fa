"""Presets: they are valid, they stand under the user's own keys, and the resolved recipe is what counts."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lowres.errors import RecipeError
from lowres.experiment.plan import make_plan
from lowres.families import family
from lowres.families.presets import described, presets, with_preset
from lowres.recipe import build_recipe, load_recipe

NAMES = ["course-vi", "fastai-ulmfit", "laptop", "multifit-fp16", "multifit-paper", "ulmfit-paper"]


def recipe(**block: Any) -> dict[str, Any]:
    shared = {"name": "r", "language": "vie", "corpus": "vi/mini", "tasks": ["vi/mini_topics"]}
    return {**shared, "methods": {"m": block}}


def method(**block: Any) -> Any:
    return build_recipe(recipe(**block)).recipe.methods["m"]


def fault(**block: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        build_recipe(recipe(**block), "here.toml")
    (line,) = caught.value.faults
    return line


def test_every_preset_is_there_valid_and_described(repository):
    assert [*presets()] == NAMES
    shown = (repository / "docs/recipes.md").read_text(encoding="utf-8")
    for name, path in presets().items():
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        assert family(content["family"]).method.model_validate(content)
        assert 20 < len(described(path)) < 100 and not described(path).startswith("#")
        assert f"| `{name}` | {described(path)} |" in shown


def test_a_preset_stands_under_the_users_own_keys():
    mine = method(preset="multifit-paper", lm={"epochs": 3}, classifier={"direction": "both"})
    assert (mine.lm.epochs, mine.lm.n_hid, mine.lm.clip, mine.classifier.direction) == (3, 1550, 0.12, "both")
    assert mine.tune.lr == 1e-3 and mine.classifier.rate_factor == 2.467
    assert method(family="ulmfit", preset="ulmfit-paper").lm.cell == "awd-lstm"


def test_a_preset_is_no_part_of_what_is_hashed():
    by_name = build_recipe(recipe(preset="laptop", tune={"epochs": 2}))
    network = {"cell": "qrnn", "emb_size": 256, "n_hid": 512, "n_layers": 3, "epochs": 3, "lr": 8e-3, "drop_mult": 0.1}
    by_hand = build_recipe(recipe(family="ulmfit", lm=network, tune={"epochs": 2}))
    ids = [[cell.id for cell in make_plan(loaded).cells] for loaded in (by_name, by_hand)]
    assert ids[0] == ids[1]
    assert by_name.content == by_hand.content, "a run's folder keeps the settings themselves"


def test_an_override_wins_over_a_preset(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\nlanguage = "vie"\ncorpus = "vi/mini"\n[methods.m]\npreset = "laptop"\n')
    assert load_recipe(path, ["methods.m.lm.n_hid=96"]).recipe.methods["m"].lm.n_hid == 96
    assert load_recipe(path, ["methods.m.preset=course-vi"]).recipe.methods["m"].lm.batch_size == 128


def test_of_a_preset_beside_given_weights_the_network_does_not_count():
    mine = method(preset="multifit-paper", init="models/vi")
    assert mine.tune.epochs == 20 and not mine.lm.model_fields_set
    with pytest.raises(RecipeError, match="lm.epochs has no effect"):
        method(preset="multifit-paper", init="models/vi", lm={"epochs": 3})


def test_mistakes_are_one_line_and_name_what_was_meant():
    assert (
        fault(preset="multifit-papr")
        == "here.toml: methods.m.preset is 'multifit-papr'; did you mean 'multifit-paper'?"
    )
    assert fault(preset="quite another") == f"here.toml: methods.m.preset is 'quite another'; known: {', '.join(NAMES)}"
    assert fault(preset=3).startswith("here.toml: methods.m.preset is 3; known: ")
    assert "is of the family 'ulmfit', not 'gptj'" in fault(family="gptj", preset="laptop")
    assert "methods.m.lm.epoch: unknown key; did you mean epochs?" in fault(preset="laptop", lm={"epoch": 3})
    assert "methods.m.lm" in fault(preset="laptop", lm=3)


def test_a_block_is_left_as_it_was():
    block = {"preset": "laptop", "lm": {"epochs": 1}}
    assert with_preset(block)["lm"]["n_hid"] == 512
    assert block == {"preset": "laptop", "lm": {"epochs": 1}}


def test_what_a_preset_names_in_the_tree_is_there(repository: Path):
    text = presets()["laptop"].read_text(encoding="utf-8")
    assert "recipes/vi/compare.toml" in text and (repository / "recipes/vi/compare.toml").is_file()
    block = load_recipe(repository / "recipes/vi/compare.toml").content["methods"]["multifit"]
    assert with_preset({"preset": "laptop"}) == block
