"""What JAX finds on this machine, for `lowres doctor`: `python -m lowres.families.gptj.abilities`."""

import json
from collections import Counter

import jax

from lowres.kernels.load import Missing, library


def abilities() -> list[tuple[str, str]]:
    """(name, what was found), a line each."""
    counts = Counter(f"{device.platform} ({device.device_kind})" for device in jax.devices())
    found = library()
    kernels = f"none, XLA is used: {found.why}" if isinstance(found, Missing) else f"compiled for {found.level}"
    return [
        ("jax devices", ", ".join(f"{count} x {kind}" for kind, count in counts.items())),
        ("GPT-J writing", kernels),
    ]


if __name__ == "__main__":
    print(json.dumps(abilities()))
