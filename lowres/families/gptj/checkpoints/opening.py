"""A folder or URL as a checkpoint: its layout found, its reader made, its sizes read, its faults listed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowres.errors import DataError
from lowres.families.gptj.checkpoints.configuration import GPTJ_6B, config_of, mesh_config_of
from lowres.families.gptj.checkpoints.eight_bit import EightBit, is_eight_bit
from lowres.families.gptj.checkpoints.layout import Layout, find_layout
from lowres.families.gptj.checkpoints.mesh import MeshFiles
from lowres.families.gptj.checkpoints.safetensors_files import SafetensorsFiles
from lowres.families.gptj.checkpoints.source import Checkpoint, Fact, Tensors, faults_of
from lowres.families.gptj.checkpoints.torch_files import TorchFiles
from lowres.families.gptj.config import Config


def open_checkpoint(source: str, config: Path | None = None) -> Checkpoint:
    """What lies at `source`, nothing of it read but headers. config: a config.json that stands in for the folder's.

    Raises DataError where no layout is known, a file is damaged, or there are no sizes.
    """
    layout = find_layout(source)
    if layout.kind == "mesh" and layout.missing:  # leaves are found by counting, so none is found where one is missing
        raise DataError("\n".join(faults_of(layout.root, {}, GPTJ_6B, layout.missing)[:1]))
    tensors = open_tensors(layout)
    sizes = _sizes(layout, tensors.facts, config)
    return Checkpoint(layout, tensors, sizes, tuple(faults_of(layout.root, tensors.facts, sizes, layout.missing)))


def open_tensors(layout: Layout) -> Tensors:
    """The reader of a layout's files that are there."""
    if layout.kind == "mesh":
        return MeshFiles(layout)
    read = SafetensorsFiles if layout.kind == "safetensors" else TorchFiles
    tensors = read(Path(layout.root), layout.files)
    return EightBit(tensors) if is_eight_bit(tensors) else tensors


def _sizes(layout: Layout, facts: Mapping[str, Fact], config: Path | None) -> Config:
    """From the configuration named or found; of mesh-transformer-jax GPT-J-6B's own needs none."""
    path = str(config) if config else f"{layout.root}/{layout.config}" if layout.config else None
    if path is None and layout.kind != "mesh":
        raise DataError(f"{layout.root}: no config.json there; name one with --config")
    if path is None:
        vocab_size, width = facts["transformer.wte.weight"].shape
        if (vocab_size, width) == (GPTJ_6B.vocab_size, GPTJ_6B.n_embd) and _layers(facts) == GPTJ_6B.n_layer:
            return GPTJ_6B
        raise DataError(
            f"{layout.root}: {_layers(facts)} layers of {width}, which is not GPT-J-6B, and no config.json; name with"
            " --config the JSON it was trained with (layers, d_model, n_heads, pe_rotary_dims, seq)"
        )
    read = _json(path)
    if "model_type" not in read and "d_model" in read:
        return mesh_config_of(read, path, facts["transformer.wte.weight"].shape[0])
    return config_of(read, path)


def _layers(facts: Mapping[str, Fact]) -> int:
    return sum(name.endswith(".ln_1.weight") for name in facts)


def _json(path: str) -> dict[str, Any]:
    """A JSON object from a file or an fsspec URL."""
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:
            read = json.load(file)  # type: ignore[arg-type]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(read, dict):
        raise DataError(f"{path}: not a JSON object")
    return read
