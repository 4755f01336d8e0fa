"""Low-rank adapters as a second tree beside frozen weights: W + alpha / rank * A @ B (Hu et al. 2021).

For each target NAME: NAME_lora_a (L, in, rank) and NAME_lora_b (L, rank, out). B starts at 0, so training starts from
the model itself. Layer norms and biases may be trained beside it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from lowres.families.gptj.config import LAYER_MATRICES, Config, shapes
from lowres.families.gptj.int8 import quantise, whole
from lowres.families.gptj.model import Params

ADAPTER = tuple(f"{name}_lora_{part}" for name in LAYER_MATRICES for part in "ab")
NORMS = ("ln_scale", "ln_bias", "fc_in_bias", "fc_out_bias", "ln_f_scale", "ln_f_bias", "head_bias")
EMBEDDINGS = ("wte", "head", "head_bias")


class Lora(Protocol):
    """settings.Lora."""

    @property
    def rank(self) -> int:
        """Columns of A."""
        ...

    @property
    def alpha(self) -> float:
        """What A @ B is multiplied by, times the rank."""
        ...

    @property
    def targets(self) -> tuple[str, ...]:
        """Of LAYER_MATRICES."""
        ...

    @property
    def norms(self) -> bool:
        """Whether NORMS are trained too."""
        ...

    @property
    def int8(self) -> bool:
        """Whether frozen matrices are held in 8 bits."""
        ...


def scale_of(lora: Lora | None) -> float:
    """Alpha / rank; 1 where there is no adapter."""
    return lora.alpha / lora.rank if lora is not None else 1.0


def init_adapter(config: Config, lora: Lora, seed: int) -> Params:
    """A uniform in +-1 / sqrt(in), as PEFT draws it; B zero."""
    sizes, adapter = shapes(config), {}
    for index, name in enumerate(LAYER_MATRICES):
        if name in lora.targets:  # each with draws of its own, whatever the others are
            layers, inputs, outputs = sizes[name]
            drawn = np.random.default_rng([seed, index]).uniform(-1, 1, (layers, inputs, lora.rank)) / inputs**0.5
            adapter[f"{name}_lora_a"] = jnp.asarray(drawn.astype(np.float32))
            adapter[f"{name}_lora_b"] = jnp.zeros((layers, lora.rank, outputs), jnp.float32)
    return adapter


def parted(params: Params, config: Config, lora: Lora | None, seed: int) -> tuple[Params, Params]:
    """(frozen, trained). Without `lora` everything is trained."""
    if lora is None:
        return {}, params
    trained = {name: params[name] for name in NORMS if lora.norms and name in params}
    frozen = {name: array for name, array in params.items() if name not in trained}
    return quantise(frozen) if lora.int8 else frozen, trained | init_adapter(config, lora, seed)


def embeddings_apart(params: Params) -> tuple[Params, Params]:
    """(frozen, trained): embeddings, head and its bias are trained alone."""
    return {n: a for n, a in params.items() if n not in EMBEDDINGS}, {n: params[n] for n in EMBEDDINGS}


def joined(frozen: Params, trained: Params, scale: float) -> Params:
    """What the model computes with: B times `scale`."""
    return frozen | {n: scale * array if n.endswith("_lora_b") else array for n, array in trained.items()}


def merged(frozen: Mapping[str, Any], trained: Mapping[str, Any], scale: float) -> Params:
    """Plain weights with the adapter added to them, 8 bits made whole: the model that was trained, in one tree."""
    params = whole(frozen) | {name: array for name, array in trained.items() if name not in ADAPTER}
    return params | {name: params[name] + change for name, change in changes(trained, scale).items()}


def unmerged(params: Mapping[str, Any], adapter: Mapping[str, Any], scale: float) -> Params:
    """What `merged` started from, but for rounding."""
    return dict(params) | {name: params[name] - change for name, change in changes(adapter, scale).items()}


def changes(adapter: Mapping[str, Any], scale: float) -> Params:
    """What an adapter adds to each of its targets, (L, in, out)."""
    targets = [name for name in LAYER_MATRICES if f"{name}_lora_a" in adapter]
    return {name: scale * jnp.matmul(adapter[f"{name}_lora_a"], adapter[f"{name}_lora_b"]) for name in targets}
