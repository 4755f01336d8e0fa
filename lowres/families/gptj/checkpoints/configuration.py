"""config.json: as transformers writes it, or as mesh-transformer-jax is given it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowres.artifacts import read_json
from lowres.errors import DataError, ShapeError
from lowres.families.gptj.config import Config

GPTJ_6B = Config(vocab_size=50400, n_ctx=2048, n_layer=28, n_embd=4096, n_head=16, rotary_dim=64)
END_OF_TEXT = 50256
"""GPT-2's mark of a document's start and end."""
_SIZES = ("vocab_size", "n_embd", "n_layer", "n_head", "rotary_dim", "n_positions")
_MESH_KEYS = {
    "layers": "n_layer",
    "d_model": "n_embd",
    "n_heads": "n_head",
    "pe_rotary_dims": "rotary_dim",
    "seq": "n_ctx",
}


def hf_config(config: Config, bos_id: int, pad_id: int | None, with_head: bool = True) -> dict[str, Any]:
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
    """Our sizes from a folder's config.json of transformers. Raises DataError as config_of does."""
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(f"{folder}: no config.json there; name a folder that transformers wrote for a GPT-J")
    return config_of(read_json(path), str(path))


def config_of(facts: Mapping[str, Any], path: str) -> Config:
    """Our sizes. Raises DataError where the file describes something this model does not compute."""
    if facts.get("model_type") != "gptj":
        raise DataError(f"{path}: model_type is {facts.get('model_type')!r}; this family reads 'gptj' alone")
    if missing := [name for name in _SIZES if name not in facts]:
        raise DataError(f"{path}: {missing[0]} is missing")
    if facts.get("n_inner") not in (None, 4 * facts["n_embd"]) or facts.get("tie_word_embeddings"):
        raise DataError(f"{path}: n_inner other than 4 x n_embd, or tied embeddings; GPT-J has neither")
    if facts.get("activation_function", "gelu_new") != "gelu_new":
        raise DataError(f"{path}: activation_function is {facts['activation_function']!r}; GPT-J's is 'gelu_new'")
    sizes = {name: int(facts[name]) for name in _SIZES if name != "n_positions"}
    epsilon = float(facts.get("layer_norm_epsilon", 1e-5))
    return _fitting(path, **sizes, n_ctx=int(facts["n_positions"]), layer_norm_epsilon=epsilon)


def mesh_config_of(facts: Mapping[str, Any], path: str, vocab_size: int) -> Config:
    """Our sizes from a configuration of mesh-transformer-jax, whose n_vocab is padded to `vocab_size` rows."""
    if missing := [name for name in _MESH_KEYS if name not in facts]:
        raise DataError(f"{path}: {missing[0]} is missing; a configuration of mesh-transformer-jax has it")
    if facts.get("pe", "rotary") != "rotary" or facts.get("norm", "layernorm") != "layernorm":
        raise DataError(f"{path}: pe {facts.get('pe')!r}, norm {facts.get('norm')!r}; GPT-J's: 'rotary', 'layernorm'")
    return _fitting(path, vocab_size=vocab_size, **{ours: int(facts[theirs]) for theirs, ours in _MESH_KEYS.items()})


def _fitting(path: str, **sizes: Any) -> Config:
    try:
        return Config(**sizes)
    except ShapeError as error:
        raise DataError(f"{path}: {error}") from error
