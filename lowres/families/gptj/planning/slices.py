"""Slices of TPUs by the names that Google gives them: what the compiler calls them, and what they carry."""

import math
from dataclasses import dataclass
from typing import Any

from lowres.errors import DataError


@dataclass(frozen=True)
class Generation:
    """What the slices of a TPU version share. Figures of a chip, from Google's documents and papers.

    cores: what a slice's name counts of a chip. devices: what JAX makes of a chip. bandwidth: bytes/s of its memory.
    links: bytes/s that it sends to its neighbours, all links together (Jouppi et al. 2020 and 2023 for v2 to v4).
    """

    cores: int
    devices: int
    bandwidth: float
    links: float
    shapes: tuple[str, ...]
    """Of its slices, in rising order."""
    options: tuple[tuple[str, Any], ...] = ()
    """Of the topology."""


_FLAT = ("2x2x1", "4x4x1", "4x8x1", "8x8x1", "8x16x1", "16x16x1")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8")
_PLANES = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
GENERATIONS = {
    "v2": Generation(2, 2, 700e9, 4 * 496e9 / 8, _FLAT),
    "v3": Generation(2, 2, 900e9, 4 * 656e9 / 8, _FLAT),
    "v4": Generation(2, 1, 1228e9, 6 * 448e9 / 8, _CUBES, (("chip_config_name", "megacore"),)),
    "v5p": Generation(2, 1, 2765e9, 4800e9 / 8, _CUBES),
    "v5e": Generation(1, 1, 819e9, 1600e9 / 8, _PLANES),
    "v6e": Generation(1, 1, 1640e9, 3584e9 / 8, _PLANES),
}


@dataclass(frozen=True)
class Slice:
    """A slice: its name, its shape in chips, its generation."""

    name: str
    shape: str
    version: str

    @property
    def generation(self) -> Generation:
        """What its version is."""
        return GENERATIONS[self.version]

    @property
    def chips(self) -> int:
        """How many it has."""
        return math.prod(map(int, self.shape.split("x")))

    @property
    def devices(self) -> int:
        """How many JAX sees: cores of v2 and v3, else chips."""
        return self.chips * self.generation.devices

    def topology(self) -> tuple[str, dict[str, Any]]:
        """(name, options) for jax.experimental.topologies."""
        options = dict(self.generation.options)
        if self.shape == "1x1":
            options["chips_per_host_bounds"] = (1, 1, 1)
        return f"{self.version}:{self.shape}", options


def slice_of(name: str) -> Slice:
    """The slice that Google calls so, e.g. v3-8. Raises DataError with those that are known."""
    version = name.partition("-")[0]
    if version in GENERATIONS:
        for one in slices(version):
            if one.name == name:
                return one
        raise DataError(f"--tpu is {name!r}; of {version} there are {', '.join(one.name for one in slices(version))}")
    raise DataError(f"--tpu is {name!r}; a slice is VERSION-NUMBER, the version one of {', '.join(GENERATIONS)}: v3-8")


def slices(version: str) -> list[Slice]:
    """Those of a version, in rising order."""
    found = []
    for shape in GENERATIONS[version].shapes:
        chips = math.prod(map(int, shape.split("x")))
        found.append(Slice(f"{version}-{chips * GENERATIONS[version].cores}", shape, version))
    return found


def gpu_bytes(said: str) -> int:
    """Of 11GB, 24GB, ...: bytes. Raises DataError."""
    number = said.strip().upper().removesuffix("GB").strip()
    try:
        size = float(number)
    except ValueError:
        size = 0.0
    if not said.strip().upper().endswith("GB") or not 0 < size < 10_000:
        raise DataError(f"--gpu is {said!r}; say its memory in GB: 11GB, 24GB, 80GB")
    return round(size * 1e9)
