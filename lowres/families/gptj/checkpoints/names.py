"""One table of names: each tensor as transformers calls it, and where it goes among our arrays."""

from collections.abc import Iterator
from dataclasses import dataclass

from lowres.families.gptj.config import Config, shapes

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
BUFFERS = (".attn.bias", ".attn.masked_bias")
"""Ends of names in files of old versions of transformers: no weights, passed over."""


@dataclass(frozen=True)
class Slot:
    """A tensor of transformers, with its shape there, and its place: the array `ours`, or its row `layer`."""

    name: str
    ours: str
    layer: int | None
    shape: tuple[int, ...]


def slots(config: Config, with_head: bool = True) -> Iterator[Slot]:
    """Every tensor of a model; with_head: lm_head too."""
    ours = shapes(config)
    for name, theirs in WHOLE.items():
        if with_head or not name.startswith("head"):
            yield Slot(theirs, name, None, _turned(name, ours[name]))
    for layer in range(config.n_layer):
        for name, theirs in LAYER.items():
            yield Slot(f"transformer.h.{layer}.{theirs}", name, layer, _turned(name, ours[name][1:]))


def _turned(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1] if name in TRANSPOSED else shape
