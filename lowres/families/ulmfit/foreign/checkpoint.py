"""fastai's weights of a language model as ours: names, gates and the network's sizes, told by the tensors alone.

fastai 1 (MultiFiT, the course's models) keeps the dropped copy of a weight beside the raw one, and weighs a QRNN's new
value by f, c = f * z + (1 - f) * c, where we weigh the old one: the rows of f change their sign, since
1 - sigmoid(a) = sigmoid(-a). Reading them without that runs, and gives noise.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowres.errors import DataError
from lowres.families.ulmfit.config import LmConfig

_LAYER = re.compile(r"0\.rnns\.(\d+)\.")
_WANTED = "name the file of a whole language model, such as fastai's learn.save writes with with_opt=False"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` file by name, on the CPU; nothing in the file is run.

    Raises DataError where it is damaged or holds more than tensors in containers.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a file of tensors alone ({first}); {_WANTED}") from error
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        found = found["model"]
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise DataError(f"{path}: holds no tensors by name; {_WANTED}")
    return {str(name): tensor.float() for name, tensor in found.items()}


def as_ours(weights: dict[str, Tensor], where: str, **known: Any) -> tuple[LmConfig, dict[str, Tensor]]:
    """The configuration and the weights by our names (saved.py). known: vocab_size, pad_id, direction.

    Raises DataError, `where` first, on a layout that is none of fastai's, a missing tensor, or shapes that do not fit.
    """
    weights = _plain_names(weights)
    if "0.module.encoder.weight" in weights or any(name.startswith("1.layers.") for name in weights):
        raise DataError(f"{where}: a classifier; {_WANTED}")
    if "encoder.weight" in weights:
        raise DataError(f"{where}: an encoder without its softmax (1.decoder.bias); {_WANTED}")
    if "0.encoder.weight" not in weights:
        first = next(iter(sorted(weights)), "nothing")
        raise DataError(f"{where}: has no 0.encoder.weight but {first}; it is no AWD-LSTM or QRNN of fastai; {_WANTED}")
    embedding = weights["0.encoder.weight"]
    for name in ("1.decoder.weight", "0.encoder_dp.emb.weight"):
        if name in weights and not torch.equal(weights.pop(name), embedding):
            raise DataError(f"{where}: {name} is not 0.encoder.weight; only tied softmax weights can be read")
    if embedding.dim() != 2 or len(embedding) != known["vocab_size"]:
        raise DataError(
            f"{where}: embeddings of shape {tuple(embedding.shape)} for a vocabulary of {known['vocab_size']} pieces; "
            "the two belong to different models"
        )
    config = _config(weights, where, **known)
    if config.cell == "qrnn":
        weights = _other_way_round(weights)
    return config, weights


def _plain_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """One name for each weight: dropped copies of raw weights are left out; early QRNNs lack `layers.0`."""
    found = {}
    for name, tensor in weights.items():
        name = re.sub(r"(rnns\.\d+)\.linear\.", r"\1.layers.0.linear.", name)
        found[name] = tensor
    for name in list(found):
        if name.endswith("_raw"):
            head, _, last = name.removesuffix("_raw").rpartition(".")
            found.pop(f"{head}.module.{last}", None)
    return found


def _config(weights: dict[str, Tensor], where: str, **known: Any) -> LmConfig:
    """The sizes, from shapes; every tensor's shape is then held against them."""
    emb_size = weights["0.encoder.weight"].shape[1]
    layers = {int(match[1]) for name in weights if (match := _LAYER.match(name))}
    n_layers = len(layers)
    qrnn = "0.rnns.0.layers.0.linear.weight_raw" in weights
    first = "0.rnns.0.layers.0.linear.weight_raw" if qrnn else "0.rnns.0.weight_hh_l0_raw"
    if not layers or layers != set(range(n_layers)) or first not in weights:
        raise DataError(f"{where}: has no {first}; it is no AWD-LSTM or QRNN of fastai; {_WANTED}")
    shape = weights[first].shape
    window = shape[1] // emb_size if qrnn else 2
    config = LmConfig(
        cell="qrnn" if qrnn else "awd-lstm",
        emb_size=emb_size,
        n_hid=shape[0] // 3 if qrnn else shape[1],
        n_layers=n_layers,
        window=2 if window == 2 else 1,
        precision="float32",
        **known,
    )
    wanted = _shapes(config)
    wrong = sorted(wanted.keys() ^ weights.keys())
    if wrong:
        there = "is missing" if wrong[0] in wanted else "is of no AWD-LSTM or QRNN that runs one way"
        raise DataError(f"{where}: {wrong[0]} {there}; {_WANTED}")
    for name, size in wanted.items():
        if tuple(weights[name].shape) != size:
            gates = " (a QRNN without output gates?)" if qrnn and "linear" in name else ""
            raise DataError(f"{where}: {name} has shape {tuple(weights[name].shape)}, the others ask for {size}{gates}")
    return config


def _shapes(config: LmConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a language model."""
    shapes: dict[str, tuple[int, ...]] = {
        "0.encoder.weight": (config.vocab_size, config.emb_size),
        "1.decoder.bias": (config.vocab_size,),
    }
    for k in range(config.n_layers):
        n_in, n_out = config.widths(k)
        own = f"0.rnns.{k}"
        if config.cell == "qrnn":
            columns = n_in * (config.window if k == 0 else 1)
            shapes[f"{own}.layers.0.linear.weight_raw"] = (3 * n_out, columns)
            shapes[f"{own}.layers.0.linear.module.bias"] = (3 * n_out,)
        else:
            shapes[f"{own}.weight_hh_l0_raw"] = (4 * n_out, n_out)
            shapes[f"{own}.module.weight_ih_l0"] = (4 * n_out, n_in)
            shapes |= {f"{own}.module.bias_{part}_l0": (4 * n_out,) for part in ("ih", "hh")}
    return shapes


def _other_way_round(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Lets f and 1 - f change places: the middle third of every gate product is negated."""
    turned = {}
    for name, tensor in weights.items():
        if ".linear." in name:
            z, f, o = tensor.chunk(3)
            tensor = torch.cat([z, -f, o])
        turned[name] = tensor
    return turned
