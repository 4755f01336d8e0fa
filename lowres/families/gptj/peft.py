"""An adapter as the library PEFT writes and reads it: adapter_config.json and adapter_model.safetensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowres.artifacts import write_json
from lowres.families.gptj.checkpoints.names import LAYER, WHOLE
from lowres.families.gptj.checkpoints.writing import Planned, write_safetensors
from lowres.families.gptj.config import LAYER_MATRICES, Config
from lowres.families.gptj.lora import NORMS, Lora

PREFIX = "base_model.model."


def save_adapter(folder: Path, trained: Mapping[str, Any], lora: Lora, config: Config, base: str | None = None) -> None:
    """Writes a new folder that `PeftModel.from_pretrained(model, folder)` reads; a classifier's head is left out.

    base: the name of the model it was trained on, for the config.
    """
    folder.mkdir()
    tensors = peft_tensors(trained, config)
    planned = [Planned(name, tensor.shape) for name, tensor in tensors.items()]
    write_safetensors(folder / "adapter_model.safetensors", planned, "float32", tensors.__getitem__)
    write_json(folder / "adapter_config.json", peft_config(trained, lora, base))


def peft_config(trained: Mapping[str, Any], lora: Lora, base: str | None) -> dict[str, Any]:
    """adapter_config.json."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted(_module(LAYER[name]) for name in LAYER_MATRICES if f"{name}_lora_a" in trained),
        "fan_in_fan_out": False,
        "bias": "all" if "ln_bias" in trained else "none",
        "modules_to_save": ["ln_1", "ln_f"] if "ln_scale" in trained else None,
    }


def peft_tensors(trained: Mapping[str, Any], config: Config) -> dict[str, np.ndarray]:
    """A (rank, in) and B (out, rank) of every layer, and the layer norms and biases that were trained, by name."""
    tensors = {}
    for layer in range(config.n_layer):
        for name in LAYER_MATRICES:
            for part in ("A", "B"):
                if (stacked := trained.get(f"{name}_lora_{part.lower()}")) is not None:
                    key = f"transformer.h.{layer}.{_stem(LAYER[name])}.lora_{part}.weight"
                    tensors[PREFIX + key] = np.asarray(stacked[layer], np.float32).T
        for name in NORMS:
            if name in LAYER and name in trained:
                key = _under_adapter(LAYER[name], name, trained)
                tensors[f"{PREFIX}transformer.h.{layer}.{key}"] = np.asarray(trained[name][layer], np.float32)
    for name in NORMS:
        if name in WHOLE and name in trained:
            tensors[PREFIX + WHOLE[name]] = np.asarray(trained[name], np.float32)
    return tensors


def _under_adapter(theirs: str, ours: str, trained: Mapping[str, Any]) -> str:
    """A bias stays with the layer that an adapter wraps."""
    wrapped = f"{ours.removesuffix('_bias')}_lora_a" in trained
    return f"{_stem(theirs)}.base_layer.bias" if wrapped else theirs


def _stem(name: str) -> str:
    return name.removesuffix(".weight").removesuffix(".bias")


def _module(name: str) -> str:
    return _stem(name).rpartition(".")[2]
