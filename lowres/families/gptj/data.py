"""Rows of tokens for language modelling: cut from one stream, shuffled by a seed, found again from a step number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from lowres.errors import DataError

PADDING = -1
"""Fills a row that has no token there; nothing is predicted from it or of it."""
SHORTEST = 32
"""Tokens of the smallest shape; shapes double up to the longest text, so few are compiled."""


class Cut(Protocol):
    """Rows that a pass reads once each."""

    @property
    def n_ctx(self) -> int:
        """Tokens a row, less one."""
        ...

    @property
    def count(self) -> int:
        """Rows of a pass."""
        ...

    def row(self, seed: int, epoch: int, index: int) -> np.ndarray:
        """(n_ctx + 1,) int32: the row at a place of a pass, in the order that seed and pass give."""
        ...


@dataclass(frozen=True)
class Rows:
    """Rows in endless passes, in an order drawn from `seed`, so that the step number alone says what a batch holds."""

    cut: Cut
    batch_size: int
    seed: int

    @property
    def n_ctx(self) -> int:
        """Tokens a row, less one."""
        return self.cut.n_ctx

    @property
    def count(self) -> int:
        """Rows of a pass."""
        return self.cut.count

    def steps(self, epochs: float) -> int:
        """Batches that make up so many passes, at least 1."""
        return max(round(epochs * self.count / self.batch_size), 1)

    def batch(self, step: int) -> np.ndarray:
        """(batch_size, n_ctx + 1) int32: the batch of a step; passes follow each other without a gap."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        return np.stack([self.cut.row(self.seed, *divmod(place, self.count)) for place in places])

    def cursor(self, step: int) -> dict[str, int]:
        """Where the data are before a step, for a checkpoint: rows read, and what decides which came."""
        return {"rows_read": step * self.batch_size, "rows_a_pass": self.count, "seed": self.seed}

    def step_at(self, cursor: Mapping[str, int]) -> int:
        """The step that a cursor stands before. Raises DataError where it is one of other rows."""
        step, left = divmod(cursor["rows_read"], self.batch_size)
        if left or self.cursor(step) != dict(cursor):
            raise DataError(f"the checkpoint is of other rows ({dict(cursor)}, now {self.cursor(step)}); remove it")
        return step


@dataclass(frozen=True)
class Stream:
    """A stream of token ids, cut by every pass at another offset into n_ctx inputs and their next tokens.

    tokens: (tokens,) of any integer type, memory-mapped or not.
    """

    tokens: Any
    n_ctx: int

    @property
    def count(self) -> int:
        """Rows of a pass; 1, padded, where the stream is shorter than two rows."""
        return max((len(self.tokens) - self.n_ctx) // self.n_ctx, 1)

    def row(self, seed: int, epoch: int, index: int) -> np.ndarray:
        """(n_ctx + 1,) int32: the row at a place of a pass."""
        offset, order = _pass(seed, epoch, self.count, self.n_ctx)
        start = offset + int(order[index]) * self.n_ctx if len(self.tokens) >= 2 * self.n_ctx else 0
        return padded_row(self.tokens[start : start + self.n_ctx + 1], self.n_ctx)


@lru_cache(maxsize=8)
def _pass(seed: int, epoch: int, count: int, n_ctx: int) -> tuple[int, np.ndarray]:
    """(offset of the first row, order of the rows) of one pass."""
    generator = np.random.default_rng([seed, epoch])
    return int(generator.integers(n_ctx)), generator.permutation(count)


def padded_batches(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Rows in batches of one shape, the last one filled with padding."""
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        yield np.pad(batch, ((0, batch_size - len(batch)), (0, 0)), constant_values=PADDING)


def padded_row(tokens: Any, n_ctx: int) -> np.ndarray:
    """(n_ctx + 1,) int32: at most n_ctx + 1 tokens, then PADDING."""
    row = np.full(n_ctx + 1, PADDING, np.int32)
    row[: len(tokens)] = tokens
    return row


def rows_in_order(stream: Any, n_ctx: int, limit: int) -> np.ndarray:
    """(rows, n_ctx + 1) int32: the first `limit` rows of a stream, each starting on the last one's last token."""
    starts = range(0, max(len(stream) - 1, 0), n_ctx)[:limit]
    rows = [padded_row(stream[start : start + n_ctx + 1], n_ctx) for start in starts]
    return np.stack(rows) if rows else np.zeros((0, n_ctx + 1), np.int32)


def pack(documents: Sequence[Sequence[int]], bos_id: int) -> np.ndarray:
    """(tokens,) int32: documents after each other, bos_id before each."""
    parts = [np.array([bos_id, *ids], np.int32) for ids in documents]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def scored_windows(ids: Sequence[int], bos_id: int, n_ctx: int) -> np.ndarray:
    """One document as windows that score every token once: (windows, 2, n_ctx + 1) int32.

    [:, 0] are rows as in training; [:, 1] is 1 where the token is to be scored. A window starts half a window after the
    last one, so a token has at least n_ctx / 2 tokens before it, wherever the document has them.
    """
    stream = np.array([bos_id, *ids], np.int32)
    stride = max(n_ctx // 2, 1)
    windows, scored = [], 1  # stream[0] is bos_id, which is not scored
    for start in range(0, len(stream), stride):
        end = min(start + n_ctx + 1, len(stream))
        if scored >= len(stream):
            break
        marks = np.zeros(n_ctx + 1, np.int32)
        marks[scored - start : end - start] = 1
        windows.append(np.stack([padded_row(stream[start:end], n_ctx), marks]))
        scored = end
    return np.stack(windows) if windows else np.zeros((0, 2, n_ctx + 1), np.int32)


def shape_of(length: int, n_ctx: int) -> int:
    """Tokens a text of `length` is padded to: 32, 64, ... n_ctx, then n_ctx times 2, 4, 8, ..."""
    shape = min(SHORTEST, n_ctx)
    while shape < length:
        shape = min(2 * shape, n_ctx) if shape < n_ctx else 2 * shape
    return shape
