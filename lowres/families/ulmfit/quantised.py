"""8-bit matrices: weights rounded once with a scale a row, inputs rounded as they come (dynamic quantisation).

The products add 8-bit numbers up in 32 bits, exactly: five times as fast as float32 on a processor with VNNI, and a
quarter of the memory traffic. torch's quantised tensors are on their way out (they warn).
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from lowres.families.ulmfit.kernels import Kernels, kernels

_MOST = 127
_TOGETHER, _LANES, _OFFSET = 4, 64, 128  # of int8.h


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns) float32 -> int8 of the same shape and (rows,) float32: weight is about int8 * scale a row."""
    scale = (weight.abs().amax(1) / _MOST).clamp(min=torch.finfo(torch.float32).tiny)
    return (weight / scale[:, None]).round().clamp(-_MOST, _MOST).to(torch.int8), scale


def quantised(weights: Mapping[str, Tensor], under: str = "") -> dict[str, Tensor]:
    """The tensors, with every matrix whose name begins with `under` as int8 and its scales as `<name>.scale`."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(under) and tensor.dim() == 2:
            found[name], found[f"{name}.scale"] = quantise(tensor)
        else:
            found[name] = tensor
    return found


class Int8Product:
    """x @ weight.T + bias, for x of any shape (..., columns). weight: (rows, columns) int8; scale: (rows,).

    Each row of x has a scale of its own, so a row's result does not depend on the others. By compiled kernels where
    the processor has the instructions, else by torch, which packs the weights anew at every call; same sums.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None):
        found = kernels()
        self.packed = None
        if isinstance(found, Kernels) and found.of_bytes:
            self.packed = PackedRows(found, weight, scale, bias)
        self._of_rows = self.packed or TorchRows(weight, scale, bias)

    def __call__(self, x: Tensor) -> Tensor:
        """float32."""
        return self._of_rows(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)


class TorchRows:
    """Int8Product of (n, columns) float32 by torch."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None):
        self.transposed, self.scale, self.bias = weight.contiguous().t(), scale, bias

    def __call__(self, rows: Tensor) -> Tensor:
        """float32."""
        size = torch.linalg.vector_norm(rows, torch.inf, 1, keepdim=True).div_(_MOST)
        rounded = (rows / size.clamp_(min=torch.finfo(torch.float32).tiny)).round_().to(torch.int8)
        out = torch._int_mm(rounded, self.transposed) * self.scale  # type: ignore[reportPrivateImportUsage]
        return out.mul_(size) if self.bias is None else torch.addcmul(self.bias, out, size, out=out)


class PackedRows:
    """Int8Product of (n, columns) float32 by int8.h, which says how the matrix is packed."""

    def __init__(self, found: Kernels, weight: Tensor, scale: Tensor, bias: Tensor | None):
        self._kernels, (self._width, self._columns) = found, weight.shape
        whole = F.pad(weight, (0, -self._columns % _TOGETHER, 0, -self._width % _LANES))
        blocks = whole.view(-1, _LANES, whole.shape[1] // _TOGETHER, _TOGETHER)
        self._packed, self._padded = blocks.permute(0, 2, 1, 3).contiguous(), whole.shape[1]
        offsets = weight.sum(1, dtype=torch.int32) * _OFFSET
        self._matrix = (self._packed, offsets, scale.contiguous())
        self._bias = None if bias is None else bias.contiguous()

    def __call__(self, rows: Tensor) -> Tensor:
        """float32."""
        rows = rows.to(torch.float32).contiguous()
        out = rows.new_empty(len(rows), self._width)
        shape = (len(rows), self._columns, self._width)
        arguments = (*self._matrix, self._bias, *self._rounded(len(rows)), out, *shape)
        self._kernels.call("int8_product", None, rows, *arguments)
        return out

    def lstm(self, gates: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """compiled.lstm_once with this as the recurrent matrix: the time loop, too, is compiled."""
        h, c = h.contiguous(), c.clone(memory_format=torch.contiguous_format)
        out, recurrent = gates.new_empty(*gates.shape[:2], self._columns), torch.empty_like(gates[0])
        arguments = (*self._matrix, *self._rounded(len(h)), recurrent, gates, c, out, *out.shape)
        self._kernels.call("int8_lstm", None, h, *arguments)
        return out, c

    def _rounded(self, rows: int) -> tuple[Tensor, Tensor]:
        """Room for rounded rows and their sizes."""
        return torch.empty(rows, self._padded, dtype=torch.uint8), torch.empty(rows)


class Int8Rows:
    """An embedding with 8-bit rows."""

    def __init__(self, weight: Tensor, scale: Tensor):
        self.weight, self.scale = weight, scale

    def __call__(self, ids: Tensor) -> Tensor:
        """(...,) ids -> (..., width) float32."""
        rows = ids.flatten()
        found = self.weight.index_select(0, rows) * self.scale.index_select(0, rows)[:, None]
        return found.view(*ids.shape, -1)
