"""How fast training is: tokens a second, and the share of the devices' peak that the model's own products make up."""

import sys
import time
from dataclasses import dataclass, field

import jax
import psutil

from lowres.families.gptj.config import MATRICES, Config, shapes

PEAKS = (
    # Google, cloud.google.com/tpu/docs, pages of the versions. v2 and v3: of one core, which is one device to JAX;
    # 180 and 420 TFLOP/s a board of eight. v7: of one of a chip's two halves.
    ("TPU v2", 22.5e12),
    ("TPU v3", 52.5e12),
    ("TPU v4", 275e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5e", 197e12),
    ("TPU v5", 459e12),  # v5p calls itself so
    ("TPU v6", 918e12),
    ("TPU7x", 1153.5e12),
    # NVIDIA's data sheets: bfloat16 on tensor cores, without sparsity
    ("NVIDIA A100", 312e12),
    ("NVIDIA A40", 149.7e12),
    ("NVIDIA A10", 125e12),
    ("NVIDIA L40S", 362e12),
    ("NVIDIA L4", 121e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA H100 80GB", 989.4e12),
    ("NVIDIA H200", 989.4e12),
    ("NVIDIA GH200", 989.4e12),
    ("NVIDIA GeForce RTX 3090", 71e12),
    ("NVIDIA GeForce RTX 4090", 165.2e12),
)
"""(start of a device's kind, bfloat16 FLOP/s); the first that fits."""
_LIKE_A100 = ("NVIDIA A100X", "NVIDIA A10G", "NVIDIA L40 ", "NVIDIA L40-")
"""Other devices whose names start like one of PEAKS."""


def peak_of(device_kind: str) -> float | None:
    """Published bfloat16 FLOP/s of a device, or None where it is not in the table."""
    if device_kind.startswith(_LIKE_A100):
        return None
    return next((peak for kind, peak in PEAKS if device_kind.startswith(kind)), None)


def flops_a_token(config: Config, time: int, all_trained: bool) -> int:
    """6 N + 12 L D T (Chowdhery et al. 2022, appendix B); N: the weights of all products, without the looked-up wte.

    With frozen weights 4 N: they have no gradients. What is computed a second time (remat) does not count.
    """
    products = sum(_size(shape) for name, shape in shapes(config).items() if name in MATRICES and name != "wte")
    return (6 if all_trained else 4) * products + 12 * config.n_layer * config.n_embd * time


def flops_computed(config: Config, time: int, all_trained: bool, remat: str) -> int:
    """flops_a_token and what is computed twice: the head's product; with remat = "full" the layers' forward pass."""
    head = config.n_embd * config.vocab_size
    layers = 2 * 12 * config.n_layer * config.n_embd**2 + 4 * config.n_layer * config.n_embd * time
    return flops_a_token(config, time, all_trained) + 2 * head + (layers if remat == "full" else 0)


def _size(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


def peak_bytes() -> int:
    """The most memory that a device of this host ever held; of the whole process where devices do not say (CPU)."""
    found = [stats.get("peak_bytes_in_use", 0) for d in jax.local_devices() if (stats := d.memory_stats())]
    return max(found) if found else psutil.Process().memory_info().rss


@dataclass
class Speed:
    """Measures from one look to the next. flops: of a token. precision: of the products; float32 has no peak here."""

    tokens_a_step: int
    flops: int
    precision: str
    _began: float = field(default_factory=time.monotonic)
    _steps: int = 0

    def __post_init__(self) -> None:
        peak = peak_of(jax.devices()[0].device_kind) if self.precision == "bfloat16" else None
        self._peak = peak * jax.device_count() if peak else None

    def began(self) -> None:
        """A stretch that is measured begins: compiling lies behind, or a checkpoint was written."""
        self._began, self._steps = time.monotonic(), 0

    def stepped(self) -> None:
        """One step more."""
        self._steps += 1

    def look(self) -> dict[str, float]:
        """tokens_a_second, memory_bytes, and mfu where the peak is known; begins the next stretch."""
        passed = time.monotonic() - self._began
        found: dict[str, float] = {"memory_bytes": peak_bytes()}
        if self._steps and passed > 0:
            found["tokens_a_second"] = self._steps * self.tokens_a_step / passed
            if self._peak:
                found["mfu"] = found["tokens_a_second"] * self.flops / self._peak
        self.began()
        return found

    def formula(self) -> str:
        """What mfu is, for the log."""
        if not self._peak:
            return "no MFU: the device's bfloat16 peak is not known, or precision is float32"
        return f"MFU = tokens/s x {self.flops:.4g} FLOP a token (6 N + 12 L D T) / {self._peak:.4g} FLOP/s"


def said(looked: dict[str, float]) -> str:
    """For the line of progress."""
    parts = [f"{looked['tokens_a_second']:,.0f} tokens/s"] if "tokens_a_second" in looked else []
    parts += [f"MFU {looked['mfu']:.0%}"] if "mfu" in looked else []
    return "".join(f", {part}" for part in parts)


def tell_formula(speed: Speed) -> None:
    """One line into the worker's log."""
    print(speed.formula(), file=sys.stderr)
