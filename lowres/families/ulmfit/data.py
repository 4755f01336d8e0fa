"""Batches: streams of packed documents for language models, texts of like length for classifiers.

A loader's batches depend on its seed and on the epoch alone, never on what was read before, so a training that was
killed begins again at any batch: `begin_at(epoch, batch)`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lowres.errors import DataError


@dataclass(frozen=True)
class Documents:
    """Documents in one array of ids: document d is ids[offsets[d]:offsets[d + 1]], the first id its bos.

    ids: (tokens,) any integer type, may be memory-mapped; offsets: (documents + 1,) int64.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]], bos_id: int) -> "Documents":
        """Encoded texts, each behind `bos_id`."""
        offsets = np.cumsum([0, *(len(text) + 1 for text in texts)], dtype=np.int64)
        ids = (
            np.concatenate([np.asarray([bos_id, *text], np.int32) for text in texts])
            if texts
            else np.zeros(0, np.int32)
        )
        return cls(ids, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1


class LmBatches:
    """(batch_size, bptt) inputs and their next tokens, from `batch_size` contiguous streams.

    Every epoch lays the documents end to end in a new order and cuts that line into streams of equal length. Backward:
    a document is its first id, then the rest from its end. The last batch of an epoch may be shorter in time.
    Raises DataError where the documents are too few for the streams.
    """

    def __init__(
        self,
        documents: Documents,
        batch_size: int,
        bptt: int,
        *,
        seed: int | None,
        backward: bool,
        device: str = "cpu",
        redraw: Callable[[int], Documents] | None = None,
    ):
        """With seed None: the stored order, always (for validation).

        redraw: the documents of an epoch, where they are cut anew in each; then `len` and `tokens` are of the epoch
        that was begun, and of `documents` before the first.
        """
        self.bptt, self.seed, self.backward, self.redraw = bptt, seed, backward, redraw
        self.device = torch.device(device)
        self.batch_size = min(batch_size, max(1, (int(documents.offsets[-1]) - 1) // 8))
        self._take(documents)
        self._epoch, self._first = 0, 0
        self._drawn: int | None = None

    def _take(self, documents: Documents) -> None:
        """Cuts the streams of an epoch."""
        total = int(documents.offsets[-1])
        self.documents, self.length = documents, (total - 1) // self.batch_size
        if self.length < 1:
            raise DataError(f"{total} tokens are too few to train a language model on; add text")

    def __len__(self) -> int:
        return -(-self.length // self.bptt)

    @property
    def tokens(self) -> int:
        """Tokens predicted in an epoch."""
        return self.batch_size * self.length

    def begin_at(self, epoch: int, batch: int = 0) -> None:
        """The next iteration gives this epoch's batches from `batch` on."""
        if self.redraw is not None and epoch != self._drawn:
            self._take(self.redraw(epoch))
            self._drawn = epoch
        self._epoch, self._first = epoch, batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.arange(len(self.documents))
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self._epoch]).permutation(order)
        offsets = self.documents.offsets
        starts = offsets[:-1][order]
        ends = np.cumsum(offsets[1:][order] - starts)
        rows = np.arange(self.batch_size, dtype=np.int64)[:, None] * self.length
        for batch in range(self._first, len(self)):
            first = batch * self.bptt
            width = min(self.bptt, self.length - first)
            ids = self._gather(rows + np.arange(first, first + width + 1), starts, ends)
            yield ids[:, :-1], ids[:, 1:]

    def _gather(self, positions: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Tensor:
        """The ids at some positions of the line that the documents make."""
        which = np.searchsorted(ends, positions, side="right")
        length = ends[which] - np.where(which > 0, ends[which - 1], 0)
        inside = positions - (ends[which] - length)
        if self.backward:
            inside = np.where(inside > 0, length - inside, 0)
        ids = np.asarray(self.documents.ids[starts[which] + inside], np.int64)
        return torch.from_numpy(ids).to(self.device)


def pad_chunks(texts: Sequence[Sequence[int]], pad_id: int, chunk: int) -> Tensor:
    """(len(texts), longest) ids, longest first as given. Whole chunks of padding go in front, the rest behind.

    Every text begins at a multiple of `chunk`, and less than a chunk of padding follows it.
    """
    longest = max(len(text) for text in texts)
    out = np.full((len(texts), longest), pad_id, np.int64)
    for row, text in zip(out, texts, strict=True):
        front = (longest - len(text)) // chunk * chunk
        row[front : front + len(text)] = text
    return torch.from_numpy(out)


class ClassifierBatches:
    """(batch, longest) ids and labels, texts of like length together, the longest of a batch first.

    Every epoch shuffles the texts, sorts pools of 20 batches by length and shuffles the batches. No batch has one text
    alone (batch normalisation needs two): a lone last text joins the batch before.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[int]],
        labels: Sequence[int] | np.ndarray,
        batch_size: int,
        *,
        seed: int | None,
        pad_id: int,
        chunk: int,
        device: str = "cpu",
        redraw: Callable[[int], Sequence[Sequence[int]]] | None = None,
    ):
        """texts: ids of each text, at least one. labels: their targets (lowres.labels). With seed None: by length,
        always (for validation).

        redraw: the ids of an epoch, where the texts are cut anew in each.
        """
        self.redraw, self._drawn = redraw, None
        self.texts, self.labels, self.batch_size = texts, np.asarray(labels, np.int64), batch_size
        self.seed, self.pad_id, self.chunk, self.device = seed, pad_id, chunk, torch.device(device)
        self._epoch, self._first = 0, 0

    def __len__(self) -> int:
        return len(self._cuts()) - 1

    @property
    def tokens(self) -> int:
        """Tokens read in an epoch, without padding."""
        return sum(len(text) for text in self.texts)

    def begin_at(self, epoch: int, batch: int = 0) -> None:
        """The next iteration gives this epoch's batches from `batch` on."""
        if self.redraw is not None and epoch != self._drawn:
            self.texts, self._drawn = self.redraw(epoch), epoch
        self._epoch, self._first = epoch, batch

    def get_idxs(self) -> list[int]:
        """The numbers of the texts as they come in the epoch; by it fastai's get_preds puts its rows in order."""
        return np.concatenate(self.batches()).tolist()

    def _cuts(self) -> list[int]:
        cuts = [*range(0, len(self.texts), self.batch_size), len(self.texts)]
        return [*cuts[:-2], cuts[-1]] if self.seed is not None and len(cuts) > 2 and cuts[-1] - cuts[-2] == 1 else cuts

    def batches(self) -> list[np.ndarray]:
        """The numbers of the texts of each batch of the epoch."""
        lengths = np.array([len(text) for text in self.texts])
        cuts = self._cuts()
        if self.seed is None:
            order = np.argsort(-lengths, kind="stable")
            return [order[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
        rng = np.random.default_rng([self.seed, self._epoch])
        order = rng.permutation(len(self.texts))
        pool = self.batch_size * 20
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([part[np.argsort(-lengths[part], kind="stable")] for part in pools])
        batches = [order[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
        batches = [batch[np.argsort(-lengths[batch], kind="stable")] for batch in batches]
        return [batches[k] for k in rng.permutation(len(batches))]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.batches()[self._first :]:
            ids = pad_chunks([self.texts[k] for k in batch], self.pad_id, self.chunk)
            yield ids.to(self.device), torch.from_numpy(self.labels[batch]).to(self.device)
