"""8-bit state dicts of hivemind and BERTIN: uint8 codes, one greatest magnitude a block, one table of values.

Dettmers et al. 2021: value = code[weight] * absmax[block], blocks of 4096 along the flattened tensor.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lowres.errors import DataError
from lowres.families.gptj.checkpoints.source import Fact, Tensors

BLOCK = 4096
AT_ONCE = 256 * BLOCK
"""Numbers dequantised at a time: 4 MiB of float32."""


def is_eight_bit(tensors: Tensors) -> bool:
    """Whether any tensor has a table of values beside it."""
    return any(name.endswith(".code") for name in tensors.facts)


class EightBit:
    """Dequantises what another reader reads; biases and layer norms pass."""

    def __init__(self, stored: Tensors):
        self._stored = stored
        self.facts = self._facts()

    @property
    def kind(self) -> str:
        """The layout in a few words."""
        return f"{self._stored.kind}, 8 bits in blocks of {BLOCK} (hivemind, BERTIN)"

    def _facts(self) -> Mapping[str, Fact]:
        """Of every tensor but the tables; dtype as stored."""
        return {n: fact for n, fact in self._stored.facts.items() if not n.endswith((".absmax", ".code"))}

    def tensor(self, name: str) -> np.ndarray[Any, Any]:
        """float32, (out, in). Raises DataError where its tables do not fit it."""
        stored = self._stored.tensor(name)
        stem = name.removesuffix(".weight")
        if f"{stem}.absmax" not in self._stored.facts:
            return stored
        absmax = np.asarray(self._stored.tensor(f"{stem}.absmax"), np.float32).reshape(-1)
        code = np.asarray(self._stored.tensor(f"{stem}.code"), np.float32).reshape(-1)
        if stored.dtype != np.uint8 or len(code) != 256 or len(absmax) != -(-stored.size // BLOCK):
            raise DataError(
                f"{name}: {stored.dtype} {stored.shape} with {len(absmax)} absmax and {len(code)} codes; 8-bit weights"
                f" are uint8 with one absmax for each {BLOCK} and 256 codes"
            )
        flat, values = stored.reshape(-1), np.empty(stored.size, np.float32)
        for start in range(0, stored.size, AT_ONCE):
            some = slice(start, min(start + AT_ONCE, stored.size))
            scale = np.repeat(absmax[start // BLOCK : -(-some.stop // BLOCK)], BLOCK)[: some.stop - start]
            np.multiply(code[flat[some]], scale, out=values[some])
        return values.reshape(stored.shape)
