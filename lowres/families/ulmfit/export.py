"""A trained classifier as a folder to pass on: weights in one file, float32 or 8 bits, and ONNX graphs on request."""

import shutil
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from lowres.artifacts import read_json, write_json
from lowres.families.contract import Packing
from lowres.families.ulmfit.config import ExportConfig, Shape, read_config
from lowres.families.ulmfit.inference import Head, TorchEncoder
from lowres.families.ulmfit.outputs import output
from lowres.families.ulmfit.quantised import quantised
from lowres.families.ulmfit.tensors import below, read_tensors

_ENCODER = "0.module."
_LEFT_OUT = ("encoder_dp.emb.weight", "num_batches_tracked")  # the embedding once more; a count that nothing reads


def export_classifier(source: Path, out: Path, packing: Packing) -> None:
    """Writes config.json, model.safetensors, tokenizer/ and text_policy.json to `out`; with onnx a graph a direction.

    source: the folder of `ulmfit.train_classifier`. Tensors are named `<direction>.<name in the classifier>`.
    Raises DataError where its files do not fit each other, or a library for ONNX is missing.
    """
    shape = Shape.model_validate(read_json(source / "classifier.json"))
    ways = [way for way in ("forward", "backward") if (source / way).is_dir()]
    configs = [read_config(source / way) for way in ways]
    written: dict[str, Tensor] = {}
    for config in configs:
        weights = read_tensors(source / config.direction / "model.safetensors")
        weights = {name: tensor for name, tensor in weights.items() if not name.endswith(_LEFT_OUT)}
        if packing.onnx:
            from lowres.families.ulmfit.onnx_graph import write_graph

            head, operator = Head.of(below(weights, "1.")), output(shape.kind).operator
            write_graph(out / f"{config.direction}.onnx", config, below(weights, _ENCODER), head, operator)
        TorchEncoder(config, below(weights, _ENCODER))  # KeyError here, and not at the first prediction
        packed = quantised(weights, _ENCODER) if packing.int8 else weights
        written |= {f"{config.direction}.{name}": tensor for name, tensor in packed.items()}
    save_file(written, out / "model.safetensors", metadata={"format": "pt"})
    config = ExportConfig(shape=shape, directions=tuple(configs), weights="int8" if packing.int8 else "float32")
    write_json(out / "config.json", config.model_dump(mode="json"))
    shutil.copytree(source / "tokenizer", out / "tokenizer")
    shutil.copyfile(source / "text_policy.json", out / "text_policy.json")
