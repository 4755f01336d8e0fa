"""How long a step takes, estimated: products at a share of the peak, memory and what is sent at the makers' rates."""

from dataclasses import dataclass

from lowres.families.gptj.planning.asked import Training
from lowres.families.gptj.planning.compiled import Compiled, device_kind
from lowres.families.gptj.planning.slices import Slice
from lowres.families.gptj.speed import flops_computed, peak_of

SHARE = 0.6
"""Of the peak that products reach: mesh-transformer-jax's on v3-256, recomputed ones counted."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of a step by what takes them, one after the other, and the formula of each."""

    tokens: int
    products: float
    memory: float
    sent: float
    formulas: tuple[str, str, str]

    @property
    def seconds(self) -> float:
        """Of a step."""
        return self.products + self.memory + self.sent

    @property
    def tokens_a_second(self) -> float:
        """Of the whole slice."""
        return self.tokens / self.seconds


def estimate(training: Training, found: Compiled, machine: Slice) -> Estimate | None:
    """Of a step that fits; None where products are float32, whose peak the makers do not say."""
    spec, config, of_chip = training.spec, training.config, machine.generation
    peak = peak_of(device_kind(machine))
    if peak is None or spec.precision != "bfloat16":
        return None
    trained = spec.lora is None and not spec.embeddings_only
    flops = flops_computed(config, config.n_ctx, trained, found.remat)
    tokens = spec.batch_size * config.n_ctx
    arguments = found.memory.weights + found.memory.optimiser
    received = sum(one.bytes for one in found.sent)
    bandwidth, links = of_chip.bandwidth / of_chip.devices, of_chip.links / of_chip.devices
    return Estimate(
        tokens,
        tokens * flops / (machine.devices * peak * SHARE),
        2 * arguments / bandwidth,
        received / links,
        (
            f"{tokens:,} tokens x {flops:.3g} FLOP / ({machine.devices} x {peak / 1e12:g} TFLOP/s x {SHARE})",
            f"weights and moments read and written: 2 x {arguments / 1e9:.2f} GB / {bandwidth / 1e9:.0f} GB/s",
            f"{received / 1e9:.2f} GB / {links / 1e9:.0f} GB/s of links",
        ),
    )
