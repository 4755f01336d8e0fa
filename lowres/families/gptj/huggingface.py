"""GPT-J folders as transformers writes and reads them: config.json and model.safetensors, weights as (out, in).

Every language model of this family is kept in this form, so `GPTJForCausalLM.from_pretrained(folder)` loads it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowres.artifacts import write_json
from lowres.families.gptj.checkpoints.configuration import hf_config, read_config
from lowres.families.gptj.checkpoints.loading import arrays_of, tensor_reader
from lowres.families.gptj.checkpoints.names import slots
from lowres.families.gptj.checkpoints.safetensors_files import SafetensorsFiles
from lowres.families.gptj.checkpoints.writing import Planned, Read, write_weights
from lowres.families.gptj.config import Config
from lowres.tokenizers.base import Tokenizer, load_tokenizer


def save_lm(folder: Path, params: Mapping[str, Any], config: Config, tokenizer: Tokenizer) -> None:
    """Writes a language model: model.safetensors (float32), config.json, tokenizer/."""
    write_lm(folder, tensor_reader(params, config), config, tokenizer, "head" in params)


def write_lm(folder: Path, read: Read, config: Config, tokenizer: Tokenizer, with_head: bool = True) -> None:
    """The same, each tensor read when it is written."""
    write_weights(folder, [Planned(slot.name, slot.shape) for slot in slots(config, with_head)], "float32", read)
    write_json(folder / "config.json", hf_config(config, tokenizer.bos_id, tokenizer.pad_id, with_head))
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")


def read_params(folder: Path, config: Config, with_head: bool = True) -> dict[str, np.ndarray]:
    """Our arrays, float32, from every *.safetensors file of a folder; with_head: with lm_head.

    Raises DataError where a tensor is missing or of another shape than config.json says.
    """
    files = tuple(sorted(path.name for path in folder.glob("*.safetensors")))
    return arrays_of(SafetensorsFiles(folder, files), config, str(folder), with_head)


def load_lm(folder: Path) -> tuple[dict[str, np.ndarray], Config, Tokenizer]:
    """(weights, sizes, tokenizer) of a language model's folder."""
    config = read_config(folder)
    return read_params(folder, config), config, load_tokenizer(folder / "tokenizer")
