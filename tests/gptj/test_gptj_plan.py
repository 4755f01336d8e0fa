import json
from pathlib import Path

import jax
import pytest

from lowres.devices import Mesh
from lowres.errors import DataError, RecipeError
from lowres.families.gptj.checkpoints.configuration import GPTJ_6B, hf_config
from lowres.families.gptj.config import Config
from lowres.families.gptj.lora import embeddings_apart, parted
from lowres.families.gptj.mesh import frozen_type
from lowres.families.gptj.model import init
from lowres.families.gptj.planning import asking
from lowres.families.gptj.planning.asked import Asked, Training, shape_of, trainings
from lowres.families.gptj.planning.collectives import Collective, collectives
from lowres.families.gptj.planning.compiled import compiled, least, parts
from lowres.families.gptj.planning.nearest import settings
from lowres.families.gptj.planning.program import planned
from lowres.families.gptj.planning.slices import GENERATIONS, gpu_bytes, slice_of, slices
from lowres.families.gptj.settings import AdaptSpec, Architecture, GptjMethod
from lowres.families.gptj.speed import flops_a_token, flops_computed

SIZES = Architecture(n_layer=1, n_embd=16, n_head=2, rotary_dim=4, n_ctx=8)
CONFIG = Config.of(SIZES, 50)


def training(sizes=SIZES, vocab_size=50, **chosen):
    return Training(name="adapt", vocab_size=vocab_size, sizes=sizes, spec=AdaptSpec(epochs=1, seed=0, **chosen))


def method(**chosen):
    return GptjMethod(family="gptj", **chosen)


# --- machines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "devices", "topology"),
    [("v2-8", 8, "v2:2x2x1"), ("v3-32", 32, "v3:4x4x1"), ("v4-8", 4, "v4:2x2x1"), ("v5e-16", 16, "v5e:4x4"),
     ("v6e-8", 8, "v6e:2x4"), ("v5p-8", 4, "v5p:2x2x1"), ("v5e-1", 1, "v5e:1x1")],
)  # fmt: skip
def test_slices_have_the_devices_that_jax_sees(name, devices, topology):
    assert slice_of(name).devices == devices and slice_of(name).topology()[0] == topology


def test_names_of_slices_are_distinct():
    names = [one.name for version in GENERATIONS for one in slices(version)]
    assert len(set(names)) == len(names) and all(slice_of(name).name == name for name in names)


@pytest.mark.parametrize("said", ["v3-9", "v3", "tpu", "v9-8", ""])
def test_an_unknown_slice_is_one_line_with_those_that_are_known(said):
    with pytest.raises(DataError, match=r"^--tpu is .*v3") as error:
        slice_of(said)
    assert "\n" not in str(error.value)


def test_memory_of_a_gpu():
    assert gpu_bytes("11GB") == 11e9 and gpu_bytes("24 gb") == 24e9
    for said in ("11", "GB", "-3GB", "nanGB", "11MB"):
        with pytest.raises(DataError, match="say its memory in GB"):
            gpu_bytes(said)


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_the_trainings_of_a_method_each_once():
    found = trainings(method(lm={"n_layer": 2}), "methods.a", 300, None, tasks=True)
    assert [one.name for one in found] == ["pretrain", "tune"]
    assert found[0].config == Config.of(Architecture(n_layer=2), 300)
    both = {"adapt": {"lr": 1e-3, "embeddings_first": 1}, "tune": {"lr": 1e-3, "end_lr": 5e-6}}
    found = trainings(method(init="x", **both), "methods.a", 300, GPTJ_6B, tasks=True)
    assert [one.name for one in found] == ["adapt, embeddings first", "adapt and tune"]
    assert found[0].spec.embeddings_only and not found[1].spec.embeddings_only


def test_a_new_vocabulary_is_padded_and_a_folder_says_its_own(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(hf_config(CONFIG, 0, None)))
    asked = {"init": str(tmp_path), "adapt": {}}
    assert trainings(method(**asked), "m", None, None, tasks=False)[0].config == CONFIG
    assert trainings(method(**asked, vocabulary="copy-mean"), "m", 300, None, tasks=False)[0].vocab_size == 384
    assert shape_of(str(tmp_path / "config.json")) == CONFIG and shape_of("gptj-6b") == GPTJ_6B


def test_what_cannot_be_planned_is_one_line(tmp_path):
    for asked, own, shape, said in (
        ({"init": "gone", "adapt": {}}, 300, None, "gone/config.json: missing; say its sizes: --shape gptj-6b"),
        ({"init": "random"}, 300, None, "nothing to plan"),
        ({"init": "pretrain"}, None, None, "no corpus"),
        ({"init": "pretrain"}, 300, GPTJ_6B, "--shape has no effect"),
    ):
        with pytest.raises(RecipeError, match=said):
            trainings(method(**asked), "methods.a", own, shape, tasks=True)
    with pytest.raises(DataError, match="--shape is 'gptj-7b'"):
        shape_of("gptj-7b")
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(DataError, match="no config.json of a GPT-J"):
        shape_of(str(tmp_path / "config.json"))


def test_without_the_compiler_a_line_names_the_extra(monkeypatch):
    monkeypatch.setattr(asking, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'lowres\[tpu\]'"):
        asking.found(Asked(tpu="v3-8", trainings=()), print)


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen",
    [{}, {"embeddings_only": True}, {"lora": {}, "precision": "bfloat16"},
     {"lora": {"rank": 2, "targets": ["q", "out"], "norms": True, "int8": True}}],
)  # fmt: skip
def test_shapes_are_those_of_the_arrays_that_training_has(chosen):
    spec = AdaptSpec(epochs=1, seed=0, **chosen)
    params = init(CONFIG, 0)
    arrays = embeddings_apart(params) if spec.embeddings_only else parted(params, CONFIG, spec.lora, 0)
    frozen = {name: (array.shape, frozen_type(name, array, spec.precision)) for name, array in arrays[0].items()}
    trained = {name: (array.shape, array.dtype) for name, array in arrays[1].items()}
    found = [{name: (one.shape, one.dtype) for name, one in part.items()} for part in parts(CONFIG, spec)]
    assert found == [frozen, trained]


def test_a_step_on_one_gpu_by_its_buffers():
    one = training(batch_size=2)
    count = sum(array.size for array in init(CONFIG, 0).values())
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        record = planned(one, Asked(gpu=10**9, trainings=(one,)), 10**9)
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
    memory = record["memory"]
    assert record["fits"] and record["mesh"] == {"data": 1, "fsdp": 1, "tensor": 1}
    assert memory["weights"] == 4 * count and memory["optimiser"] == 8 * count + 4 and memory["gradients"] == 4 * count
    assert memory["kept"] == 2 * 8 * 16 * 4 and memory["rows"] == 2 * 9 * 4
    assert memory["needed"] >= memory["weights"] + memory["optimiser"] + memory["temporaries"]
    said = asking.lines({"found": [record], "versions": {"jax": "0"}}, Asked(gpu=10**9, trainings=(one,)))
    assert said[0] == "adapt: fits on a GPU of 1 GB" and "may differ" in said[-1]


def test_what_8_bit_moments_and_an_adapter_save_is_known_before_compiling():
    sizes = Architecture(n_layer=28, n_embd=4096, n_head=16, rotary_dim=64, n_ctx=2048)
    found = {
        name: least(training(sizes, 50_400, **{"batch_size": 1, **chosen}), Mesh(), 10**11)[0] / 1e9
        for name, chosen in {
            "full": {},
            "accumulated": {"batch_size": 2, "accumulate": 2},
            "8 bits": {"moments": "int8"},
            "lora": {"lora": {}, "precision": "bfloat16"},
            "lora, 8 bits": {"lora": {"int8": True}, "precision": "bfloat16"},
        }.items()
    }
    assert found["full"] == pytest.approx(16 * 6.05, rel=1e-3)
    assert found["accumulated"] == pytest.approx(20 * 6.05, rel=1e-3)
    assert found["8 bits"] == pytest.approx(16 * 6.05 - (8 - 2 - 8 / 128) * 5.637, rel=1e-3)
    assert found["lora"] == pytest.approx(2 * 6.05 + 16 * 0.0165, rel=2e-3)
    assert found["lora, 8 bits"] == pytest.approx(6.05 * (1 + 4 / 64) + 16 * 0.0165, rel=2e-3)


def test_a_refused_mesh_is_one_line():
    with pytest.raises(DataError, match="run.mesh: data 3"):
        compiled(training(), Mesh(data=3), 10**9)


# --- what is tried instead -------------------------------------------------------------------------------------------


def test_settings_are_tried_from_the_nearest_on():
    one = training(batch_size=32, accumulate=2, remat="dots")
    words = [setting.words for setting in settings(one, Mesh(), slice_of("v3-8"))]
    assert words[:4] == [
        'remat = "full"', 'accumulate = 1, remat = "full"', 'accumulate = 4, remat = "full"',
        'remat = "full", run.mesh = { data = 1, tensor = 2 }',
    ]  # fmt: skip
    assert words.index('precision = "bfloat16", remat = "full"') < words.index(
        'precision = "bfloat16", remat = "full", moments = "int8"'
    )
    last = 'batch_size = 8, precision = "bfloat16", accumulate = 1, remat = "full", lora = { int8 = true }'
    assert words[-1] == last and len(set(words)) == len(words) <= 17
    near = training(batch_size=8, precision="bfloat16", lora={"int8": True})
    assert [setting.words for setting in settings(near, Mesh(), 10**9)] == ["accumulate = 8", "batch_size = 1"]


# --- what is sent, and how long it takes -----------------------------------------------------------------------------

PROGRAM = """HloModule jit_step, is_scheduled=true

%inner (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %ag = f32[8,4]{1,0} all-gather(f32[1,4] %x), replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  %ar = (f32[4]{0}, bf16[2,2]{1,0}) all-reduce(%a, %b), replica_groups=[2,4]<=[8], to_apply=%add
}

%stop (p: (s32[], f32[8])) -> pred[] {
  %n = s32[]{:T(256)} constant(28), metadata={op_name="lt"}
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%outer (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %w = (s32[], f32[8]{0}) while(%p), condition=%stop, body=%inner
}

%fused (p: f32[8]) -> f32[8] {
  %s = (f32[1,4]{1,0}, f32[2,4]{1,0}) all-gather-start(f32[1,4] %x), replica_groups=mesh['a'=2,'b'=4] {'a'}
  %d = f32[2,4]{1,0} all-gather-done(%s)
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %w2 = (s32[], f32[8]{0}) while(%p), condition=%other, body=%outer, backend_config={"known_trip_count":{"n":"3"}}
  %f = f32[8] fusion(%p), kind=kCustom, calls=%fused
}
"""


def test_what_is_sent_is_counted_as_often_as_loops_turn():
    assert collectives(PROGRAM) == [
        Collective("all-gather", 3 * 28 + 1, 3 * 28 * 8 * 4 * 4 * 7 / 8 + 2 * 4 * 4 / 2),
        Collective("all-reduce", 3 * 28, 3 * 28 * 2 * (4 * 4 + 4 * 2) * 3 / 4),
    ]


def test_what_is_computed_twice_counts_in_time_and_not_in_mfu():
    once = flops_a_token(GPTJ_6B, 2048, True)
    head = 2 * 4096 * 50_400
    assert flops_computed(GPTJ_6B, 2048, True, "none") == once + head
    layers = 2 * 28 * 12 * 4096**2 + 4 * 28 * 4096 * 2048
    assert flops_computed(GPTJ_6B, 2048, True, "full") == once + head + layers


def test_the_recipe_of_six_billion_is_planned_by_its_settings(repository):
    from lowres.recipe import load_recipe

    recipe = load_recipe(Path(repository / "recipes/vi/gptj_6b_tpu.toml")).recipe
    for name, block in recipe.methods.items():
        found = trainings(block, name, 8000, GPTJ_6B, tasks=True)
        assert [one.name for one in found] == ["adapt", "tune"]
        weights, limit = least(found[0], recipe.run.mesh.model_copy(update={"fsdp": 1}), 10**12)
        assert 12e9 < weights < limit
