"""The sizes of a GPT-J and the shapes of its arrays; no framework, so that checkpoints are converted without one."""

from dataclasses import dataclass, fields
from typing import Any

from lowres.errors import ShapeError

LAYER_NAMES = ("ln_scale", "ln_bias", "q", "k", "v", "out", "fc_in", "fc_in_bias", "fc_out", "fc_out_bias")
LAYER_MATRICES = ("q", "k", "v", "out", "fc_in", "fc_out")
MATRICES = ("wte", "q", "k", "v", "out", "fc_in", "fc_out", "head")
"""The parameters of two dimensions (one layer's): those that weight decay shrinks."""


@dataclass(frozen=True)
class Config:
    """Sizes of a GPT-J. rotary_dim: dims of each head rotated, even. n_ctx: tokens it is trained on at once."""

    vocab_size: int
    n_ctx: int
    n_layer: int
    n_embd: int
    n_head: int
    rotary_dim: int
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Raises ShapeError where the sizes do not fit each other."""
        if self.n_embd % self.n_head:
            raise ShapeError(f"n_embd is {self.n_embd} and n_head {self.n_head}; n_head must divide n_embd")
        if self.rotary_dim % 2 or not 0 < self.rotary_dim <= self.head_dim:
            raise ShapeError(
                f"rotary_dim is {self.rotary_dim}; it must be even and at most {self.head_dim} (n_embd / n_head)"
            )

    @property
    def head_dim(self) -> int:
        """Dims of one attention head."""
        return self.n_embd // self.n_head

    @classmethod
    def of(cls, architecture: Any, vocab_size: int) -> "Config":
        """From an object with these attributes (settings.Architecture) and a vocabulary size."""
        names = {f.name for f in fields(cls)} - {"vocab_size", "layer_norm_epsilon"}
        return cls(vocab_size=vocab_size, **{name: getattr(architecture, name) for name in names})

    def describe(self) -> str:
        """For reports, e.g. "GPT-J, 4 layers of 256"."""
        return f"GPT-J, {self.n_layer} layer{'s' * (self.n_layer > 1)} of {self.n_embd}"


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter."""
    v, d, n, f = config.vocab_size, config.n_embd, config.n_layer, 4 * config.n_embd
    layers = {
        "ln_scale": (d,), "ln_bias": (d,), "q": (d, d), "k": (d, d), "v": (d, d), "out": (d, d),
        "fc_in": (d, f), "fc_in_bias": (f,), "fc_out": (f, d), "fc_out_bias": (d,),
    }  # fmt: skip
    whole = {"wte": (v, d), "ln_f_scale": (d,), "ln_f_bias": (d,), "head": (d, v), "head_bias": (v,)}
    return whole | {name: (n, *shape) for name, shape in layers.items()}
