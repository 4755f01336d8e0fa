"""A language model in a folder: config.json, model.safetensors and tokenizer/."""

from pathlib import Path
from typing import Any

import torch
from fastai.text.models.awdlstm import awd_lstm_lm_config
from safetensors.torch import save_file
from torch import nn

from lowres.artifacts import write_json
from lowres.errors import DataError
from lowres.families.ulmfit.config import LmConfig, read_config
from lowres.families.ulmfit.models import QRNN, FastAWDLSTM, HiddenDecoder, MixedSequential
from lowres.families.ulmfit.spec import Network
from lowres.families.ulmfit.tensors import read_tensors
from lowres.tokenizers.base import Tokenizer, load_tokenizer

_DROPOUTS = ("hidden_p", "input_p", "embed_p", "weight_p")


def product_dtype(network: Network) -> torch.dtype:
    """What a network's products run in."""
    return getattr(torch, network.precision)


def build_encoder(config: LmConfig, dropouts: dict[str, Any], drop_mult: float) -> QRNN | FastAWDLSTM:
    """An encoder with fresh weights. dropouts: one of fastai's configurations, of which `*_p` are read."""
    sizes = (config.vocab_size, config.emb_size, config.n_hid, config.n_layers)
    scaled = {name: min(dropouts[name] * drop_mult, 0.9) for name in _DROPOUTS}
    if config.cell == "qrnn":
        return QRNN(*sizes, pad_token=config.pad_id, window=config.window, zoneout=config.zoneout, **scaled)
    return FastAWDLSTM(*sizes, pad_token=config.pad_id, **scaled)


def build_lm(config: LmConfig, drop_mult: float = 0.0) -> MixedSequential:
    """A language model with fresh weights, drawn from torch's global generator; softmax and embedding share theirs."""
    encoder = build_encoder(config, awd_lstm_lm_config, drop_mult)
    output_p = min(awd_lstm_lm_config["output_p"] * drop_mult, 0.9)
    decoder = HiddenDecoder(config.vocab_size, config.emb_size, output_p, tie_encoder=encoder.encoder, bias=True)
    model = MixedSequential(encoder, decoder)
    model.products = product_dtype(config)
    return model


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, each once: shared weights go by their first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes weights_of(model) as safetensors, on the CPU."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights_of(model).items()}, path)


@torch.no_grad()
def put_weights(model: nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Copies tensors into the model. Raises DataError where a name or a shape does not fit."""
    own = weights_of(model)
    wrong = sorted(own.keys() ^ tensors.keys()) or sorted(n for n in own if own[n].shape != tensors[n].shape)
    if wrong:
        raise DataError(
            f"{source}: {wrong[0]} does not fit the network of its config.json; the two are of different models"
        )
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def parameter_count(model: nn.Module) -> int:
    """Parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def write_lm(folder: Path, model: MixedSequential, config: LmConfig, tokenizer: Tokenizer) -> None:
    """Writes a language model's folder."""
    write_json(folder / "config.json", config.model_dump(mode="json"))
    save_weights(model, folder / "model.safetensors")
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")


def read_lm(folder: Path, drop_mult: float = 0.0, device: str = "cpu") -> tuple[MixedSequential, LmConfig, Tokenizer]:
    """The language model in a folder, in evaluation mode, its configuration and its tokenizer.

    Raises DataError where weights, configuration and tokenizer do not belong together.
    """
    config, tokenizer = read_config(folder), load_tokenizer(folder / "tokenizer")
    if tokenizer.vocab_size != config.vocab_size:
        raise DataError(
            f"{folder}: a vocabulary of {config.vocab_size} and a tokenizer of {tokenizer.vocab_size} pieces"
        )
    model = build_lm(config, drop_mult)
    put_weights(model, read_tensors(folder / "model.safetensors"), str(folder / "model.safetensors"))
    return model.to(device).eval(), config, tokenizer  # type: ignore[return-value]
