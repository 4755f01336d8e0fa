import json

import jax
import numpy as np
import pytest

from lowres.families.gptj import huggingface, lora, stages
from lowres.families.gptj.model import Config, hidden, logits, shapes
from lowres.families.gptj.peft import save_adapter
from lowres.families.gptj.settings import Lora, TuneSpec
from lowres.guard import guard_torchvision
from lowres.tokenizers.base import load_tokenizer

CONFIG = Config(vocab_size=300, n_ctx=24, n_layer=2, n_embd=32, n_head=4, rotary_dim=6)
TOKENS = np.random.default_rng(0).integers(0, 300, (2, 12))


def rough(sizes, seed):
    draw = np.random.default_rng(seed)
    return {name: (0.3 * draw.standard_normal(shape)).astype(np.float32) for name, shape in sizes.items()}


@jax.jit
def our_logits(params):
    return logits(params, hidden(params, TOKENS, CONFIG))


def trained_adapter(params, settings):
    """(frozen, trained) as after training: no array is what it was."""
    frozen, trained = lora.parted(params, CONFIG, settings, seed=0)
    return frozen, rough({name: array.shape for name, array in trained.items()}, 7)


def test_training_starts_from_the_model_itself():
    params = rough(shapes(CONFIG), 1)
    frozen, trained = lora.parted(params, CONFIG, Lora(rank=3), seed=0)
    assert sum(array.size for array in trained.values()) < 0.4 * sum(array.size for array in params.values())
    start = our_logits(lora.joined(frozen, trained, 2.0))
    np.testing.assert_array_equal(start, our_logits(params))
    again = lora.parted(params, CONFIG, Lora(rank=3, targets=("v",)), seed=0)[1]
    np.testing.assert_array_equal(again["v_lora_a"], trained["v_lora_a"])


@pytest.mark.parametrize("settings", [Lora(rank=3), Lora(rank=4, alpha=2.0, targets=("q", "fc_out"), norms=True)])
def test_merged_equals_beside_and_unmerged_equals_before(settings):
    params = rough(shapes(CONFIG), 1)
    frozen, trained = trained_adapter(params, settings)
    scale = lora.scale_of(settings)
    merged = lora.merged(frozen, trained, scale)
    assert merged.keys() == params.keys()
    beside = our_logits(lora.joined(frozen, trained, scale))
    np.testing.assert_allclose(our_logits(merged), beside, atol=2e-5)
    assert np.abs(beside - our_logits(params)).max() > 0.1
    before = lora.unmerged(merged, trained, scale)
    for name, array in frozen.items():
        np.testing.assert_allclose(before[name], array, atol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def base(rooms, tmp_path_factory):
    """A folder of transformers and its weights."""
    folder = tmp_path_factory.mktemp("base")
    params = rough(shapes(CONFIG), 1)
    huggingface.save_lm(folder, params, CONFIG, load_tokenizer(rooms / "tokenizer"))
    return folder, params


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks transformers for it
@pytest.mark.parametrize(
    "settings",
    [Lora(rank=3), Lora(rank=4, targets=("q", "v"), norms=True), Lora(rank=2, targets=("fc_in", "fc_out"), norms=True)],
)
def test_peft_loads_what_is_exported_with_equal_logits(base, settings, tmp_path):
    guard_torchvision()
    import torch
    from peft import PeftModel
    from transformers import GPTJForCausalLM

    folder, params = base
    frozen, trained = trained_adapter(params, settings)
    save_adapter(tmp_path / "adapter", trained, settings, CONFIG)
    model = PeftModel.from_pretrained(GPTJForCausalLM.from_pretrained(folder), tmp_path / "adapter").eval()
    with torch.no_grad():
        theirs = model(torch.tensor(TOKENS)).logits.numpy()
    ours = our_logits(lora.merged(frozen, trained, lora.scale_of(settings)))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert np.abs(theirs - our_logits(params)).max() > 0.1
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == settings.rank


TARGETS = ("q", "fc_in")
TUNING = TuneSpec(batch_size=8, epochs=4.0, lr=1e-2, seed=0, lora=Lora(rank=4, targets=TARGETS))


@pytest.mark.parametrize("int8", [False, True])
def test_tuning_by_an_adapter_lowers_the_loss_and_moves_its_targets_alone(pretrained, rooms, new_run, int8):
    spec = TUNING.model_copy(update={"lora": Lora(rank=4, targets=TARGETS, int8=int8)})
    run = new_run()
    stages.tune_lm({"lm": pretrained[0], "task": rooms / "task"}, spec, run)
    losses = [json.loads(line)["loss"] for line in (run.out / "training.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] - 0.02
    before, after = (huggingface.load_lm(folder)[0] for folder in (pretrained[0], run.out))
    moved = {name for name in before if np.abs(after[name] - before[name]).max() > 0.02}
    assert set(TARGETS) == moved
    if not int8:
        assert all((after[name] == before[name]).all() for name in before.keys() - moved)
    assert run.facts["parameters_trained"] == 4 * (32 + 32) + 4 * (32 + 128)
    assert (run.out / "adapter" / "adapter_model.safetensors").is_file()


def test_a_stopped_tuning_goes_on_to_the_same_weights(pretrained, rooms, new_run):
    from lowres.errors import Stopped

    spec, inputs = TUNING.model_copy(update={"epochs": 1.0}), {"lm": pretrained[0], "task": rooms / "task"}
    whole, steps = new_run("whole"), []
    stages.tune_lm(inputs, spec, whole)
    stop = new_run("stop", on_progress=lambda done, *_: steps.append(done), stop_requested=lambda: len(steps) > 2)
    with pytest.raises(Stopped):
        stages.tune_lm(inputs, spec, stop)
    again = new_run("stop")
    stages.tune_lm(inputs, spec, again)
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert (whole.out / name).read_bytes() == (again.out / name).read_bytes()
