"""Rows of tokens in the .tfrecords of mesh-transformer-jax, read without TensorFlow.

A TFRecord is a length (uint64), its masked CRC-32C, that many bytes, and theirs (uint32 each, little-endian). The bytes
are a protobuf Example whose feature `text` is a list of int64.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lowres.errors import DataError

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MASK = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed."""
_LONGEST_VARINT = 10


def record_files(path: Path) -> tuple[Path, ...]:
    """The files of an index (a path a line, as mesh-transformer-jax's `train_set`), of a folder, or the file itself.

    Raises DataError where there is none.
    """
    if path.is_dir():
        found = tuple(sorted(path.glob("*.tfrecords")))
    elif path.suffix == ".index":
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        found = tuple(_beside(path, line) for line in lines if line)
    else:
        found = (path,)
    if missing := [file for file in found if not file.is_file()]:
        raise DataError(f"{path}: {missing[0]} is missing")
    if not found:
        raise DataError(f"{path}: no .tfrecords there")
    return found


def _beside(index: Path, line: str) -> Path:
    """A file of an index: as it is said, or beside the index, where indices with paths of a bucket were copied to."""
    return Path(line) if Path(line).is_file() else index.parent / line.rpartition("/")[2]


@dataclass(frozen=True)
class Records:
    """The rows of some .tfrecords, cut before (a data.Cut). Every pass reads them in another order.

    A record is checked when it is read. Raises DataError, with the file and the place, where one is broken.
    """

    files: tuple[Path, ...]
    n_ctx: int
    vocab_size: int

    @cached_property
    def _places(self) -> np.ndarray:
        """(rows, 2) int64: the file and the offset of each."""
        return np.array(
            [(number, offset) for number, path in enumerate(self.files) for offset in _offsets(path)], np.int64
        ).reshape(-1, 2)

    @property
    def count(self) -> int:
        """Rows of a pass."""
        return len(self._places)

    def row(self, seed: int, epoch: int, index: int) -> np.ndarray:
        """(n_ctx + 1,) int32: the row at a place of a pass."""
        number, offset = self._places[_order(seed, epoch, self.count)[index]]
        path = self.files[number]
        with path.open("rb") as file:
            file.seek(int(offset))
            tokens = text_of(read_record(file, f"{path} at byte {offset}"), f"{path} at byte {offset}")
        if len(tokens) != self.n_ctx + 1:
            raise DataError(
                f"{path} at byte {offset}: a row of {len(tokens)} tokens; the model's context wants {self.n_ctx + 1}"
            )
        if not 0 <= tokens.min() <= tokens.max() < self.vocab_size:
            raise DataError(
                f"{path} at byte {offset}: token {tokens.max()}, and the model knows {self.vocab_size}; the rows were"
                " packed with another tokenizer"
            )
        return tokens.astype(np.int32)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _offsets(path: Path) -> Iterator[int]:
    """Where the records of a file begin, by their lengths alone."""
    size, offset = path.stat().st_size, 0
    if not size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while offset < size:
            if size - offset < _HEADER.size:
                raise DataError(f"{path}: cut off in the record at byte {offset}")
            length, checksum = _HEADER.unpack_from(data, offset)
            if masked_crc32c(data[offset : offset + 8]) != checksum:
                raise DataError(f"{path}: the record at byte {offset} is broken (the checksum of its length differs)")
            end = offset + _HEADER.size + length + _CHECKSUM.size
            if end > size:
                raise DataError(f"{path}: cut off in the record at byte {offset}")
            yield offset
            offset = end


def read_record(file: Any, where: str) -> bytes:
    """The bytes of the record that begins where an open file stands. Raises DataError where a checksum differs."""
    header = file.read(_HEADER.size)
    length, of_length = _HEADER.unpack(header)
    data, checksum = file.read(length), file.read(_CHECKSUM.size)
    if masked_crc32c(header[:8]) != of_length or masked_crc32c(data) != _CHECKSUM.unpack(checksum)[0]:
        raise DataError(f"{where}: the record is broken (its checksum differs); copy the file again")
    return data


def masked_crc32c(data: bytes) -> int:
    """TFRecord's checksum: CRC-32C, turned right by 15 bits, plus a constant, so that a checksum's own differs."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _table()[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


@lru_cache(maxsize=1)
def _table() -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        return value

    return tuple(map(entry, range(256)))


# --- protobuf --------------------------------------------------------------------------------------------------------


def text_of(example: bytes, where: str) -> np.ndarray:
    """(tokens,) int64: the list of the feature `text`. Raises DataError where there is none."""
    try:
        for features in _fields(example, 1):  # Example.features
            for entry in _fields(features, 1):  # Features.feature, a map: key = 1, value = 2
                if b"text" in _fields(entry, 1):
                    lists = [numbers for value in _fields(entry, 2) for numbers in _fields(value, 3)]
                    return _varints(b"".join(part for numbers in lists for part in _fields(numbers, 1)))
    except (IndexError, ValueError) as error:
        raise DataError(f"{where}: no protobuf Example in the record") from error
    raise DataError(f"{where}: no feature `text` in the record; mesh-transformer-jax's rows have one")


def _fields(message: bytes, wanted: int) -> list[bytes]:
    """The contents of a field, each time it comes; of a number its bytes (a list that is not packed)."""
    found, place = [], 0
    while place < len(message):
        key, place = _varint(message, place)
        kind, start = key & 7, place
        if kind == 2:
            length, start = _varint(message, place)
            place = start + length
        elif kind == 0:
            _, place = _varint(message, place)
        else:
            place += {1: 8, 5: 4}.get(kind, len(message))
        if place > len(message):
            raise ValueError("cut off")
        if key >> 3 == wanted:
            found.append(message[start:place])
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """(number, the place behind it)."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift >= 7 * _LONGEST_VARINT:
            raise ValueError("a number of over 10 bytes")


def _varints(data: bytes) -> np.ndarray:
    """Numbers after each other, all at once: seven bits a byte, the lowest first, the last byte under 128."""
    parts = np.frombuffer(data, np.uint8)
    if not len(parts):
        return np.zeros(0, np.int64)
    if parts[-1] >= 128:
        raise ValueError("cut off")
    ends = np.flatnonzero(parts < 128)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _LONGEST_VARINT:
        raise ValueError("a number of over 10 bytes")
    place = np.arange(len(parts)) - np.repeat(starts, ends - starts + 1)
    return np.add.reduceat((parts & 127).astype(np.int64) << (7 * place), starts)
