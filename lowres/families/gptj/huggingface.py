"""GPT-J folders as transformers writes and reads them: config.json and model.safetensors, weights as (out, in).

Every language model of this family is kept in this form, so `GPTJForCausalLM.from_pretrained(folder)` loads it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from lowres.artifacts import read_json, write_json
from lowres.errors import DataError
from lowres.families.gptj.model import Config, shapes
from lowres.tokenizers.base import Tokenizer, load_tokenizer

WHOLE = {
    "wte": "transformer.wte.weight",
    "ln_f_scale": "transformer.ln_f.weight",
    "ln_f_bias": "transformer.ln_f.bias",
    "head": "lm_head.weight",
    "head_bias": "lm_head.bias",
}
LAYER = {
    "ln_scale": "ln_1.weight",
    "ln_bias": "ln_1.bias",
    "q": "attn.q_proj.weight",
    "k": "attn.k_proj.weight",
    "v": "attn.v_proj.weight",
    "out": "attn.out_proj.weight",
    "fc_in": "mlp.fc_in.weight",
    "fc_in_bias": "mlp.fc_in.bias",
    "fc_out": "mlp.fc_out.weight",
    "fc_out_bias": "mlp.fc_out.bias",
}
TRANSPOSED = ("q", "k", "v", "out", "fc_in", "fc_out", "head")
"""Kept as (in, out) here and as (out, in) there."""


def hf_tensors(params: Mapping[str, Any], layers: int) -> dict[str, np.ndarray]:
    """Our arrays under transformers' names, float32; without lm_head where `params` has no head."""
    tensors = {theirs: _turned(name, params[name]) for name, theirs in WHOLE.items() if name in params}
    for name, theirs in LAYER.items():
        stacked = np.asarray(params[name], np.float32)
        for i in range(layers):
            tensors[f"transformer.h.{i}.{theirs}"] = _turned(name, stacked[i])
    return tensors


def _turned(name: str, array: Any) -> np.ndarray:
    array = np.asarray(array, np.float32)
    return np.ascontiguousarray(array.T if name in TRANSPOSED else array)


def save_lm(folder: Path, params: Mapping[str, Any], config: Config, tokenizer: Tokenizer) -> None:
    """Writes a language model: model.safetensors (float32), config.json, tokenizer/."""
    save_file(hf_tensors(params, config.n_layer), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", hf_config(config, tokenizer.bos_id, tokenizer.pad_id, "head" in params))
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")


def hf_config(config: Config, bos_id: int, pad_id: int, with_head: bool = True) -> dict[str, Any]:
    """config.json. A document's start is its end marker too: the model predicts bos_id where a document is over."""
    return {
        "architectures": ["GPTJForCausalLM" if with_head else "GPTJModel"],
        "model_type": "gptj",
        "activation_function": "gelu_new",
        "vocab_size": config.vocab_size,
        "n_positions": config.n_ctx,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": None,
        "rotary_dim": config.rotary_dim,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": False,
        "bos_token_id": bos_id,
        "eos_token_id": bos_id,
        "pad_token_id": pad_id,
        "dtype": "float32",
    }


def read_config(folder: Path) -> Config:
    """Our sizes from config.json. Raises DataError where the file describes something this model does not compute."""
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(f"{folder}: no config.json there; name a folder that transformers wrote for a GPT-J")
    facts = read_json(path)
    if facts.get("model_type") != "gptj":
        raise DataError(f"{path}: model_type is {facts.get('model_type')!r}; this family reads 'gptj' alone")
    if facts.get("n_inner") not in (None, 4 * facts["n_embd"]) or facts.get("tie_word_embeddings"):
        raise DataError(f"{path}: n_inner other than 4 x n_embd, or tied embeddings; GPT-J has neither")
    if facts.get("activation_function", "gelu_new") != "gelu_new":
        raise DataError(f"{path}: activation_function is {facts['activation_function']!r}; GPT-J's is 'gelu_new'")
    names = ("vocab_size", "n_embd", "n_layer", "n_head", "rotary_dim")
    if missing := [name for name in (*names, "n_positions") if name not in facts]:
        raise DataError(f"{path}: {missing[0]} is missing")
    sizes = {name: int(facts[name]) for name in names}
    epsilon = float(facts.get("layer_norm_epsilon", 1e-5))
    return Config(**sizes, n_ctx=int(facts["n_positions"]), layer_norm_epsilon=epsilon)


def read_params(folder: Path, config: Config, with_head: bool = True) -> dict[str, np.ndarray]:
    """Our arrays, float32, from every *.safetensors file of a folder; with_head: with lm_head.

    Old `attn.bias` and `attn.masked_bias` buffers are passed over. Raises DataError where a tensor is missing or of
    another shape than config.json says.
    """
    where = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            where.update(dict.fromkeys(file.keys(), path))
    opened = {path: safe_open(path, framework="numpy") for path in set(where.values())}

    def tensor(name: str, ours: str) -> np.ndarray:
        if name not in where:
            raise DataError(f"{folder}: no tensor {name} in its *.safetensors; it is not a whole GPT-J")
        array = np.asarray(opened[where[name]].get_tensor(name), np.float32)
        return array.T if ours in TRANSPOSED else array

    whole = {ours: name for ours, name in WHOLE.items() if with_head or not ours.startswith("head")}
    params = {ours: np.ascontiguousarray(tensor(name, ours)) for ours, name in whole.items()}
    for ours, name in LAYER.items():
        params[ours] = np.stack([tensor(f"transformer.h.{i}.{name}", ours) for i in range(config.n_layer)])
    for name, shape in shapes(config).items():
        if name in params and params[name].shape != shape:
            raise DataError(f"{folder}: {name} has shape {params[name].shape}, config.json says {shape}")
    return params


def load_lm(folder: Path) -> tuple[dict[str, np.ndarray], Config, Tokenizer]:
    """(weights, sizes, tokenizer) of a language model's folder."""
    config = read_config(folder)
    return read_params(folder, config), config, load_tokenizer(folder / "tokenizer")
