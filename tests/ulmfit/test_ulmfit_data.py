import numpy as np
import pytest
import torch

from lowres.errors import DataError
from lowres.families.ulmfit.data import ClassifierBatches, Documents, LmBatches, pad_chunks

DOCUMENTS = Documents.of([list(range(10, 10 + n)) for n in (5, 3, 9, 1, 6)], bos_id=2)


def _stream(batches: LmBatches) -> tuple[list[int], list[int]]:
    """All inputs and all targets, stream after stream."""
    rows = list(batches)
    inputs, targets = (torch.cat([row[k] for row in rows], 1).flatten().tolist() for k in (0, 1))
    return inputs, targets


def test_streams_are_the_documents_end_to_end():
    batches = LmBatches(DOCUMENTS, 2, 4, seed=None, backward=False)
    inputs, targets = _stream(batches)
    line = DOCUMENTS.ids.tolist()
    assert inputs == line[: len(inputs)] and len(inputs) == batches.tokens == 28
    assert targets == line[1 : len(inputs) + 1]
    assert [x.shape[1] for x, _ in batches] == [4, 4, 4, 2] and len(batches) == 4


def test_backward_reads_a_document_from_its_end_behind_its_bos():
    inputs, targets = _stream(LmBatches(DOCUMENTS, 1, 100, seed=None, backward=True))
    assert [*inputs, targets[-1]][:10] == [2, 14, 13, 12, 11, 10, 2, 12, 11, 10]


def test_epochs_shuffle_documents_and_begin_at_gives_the_same_batches():
    batches = LmBatches(DOCUMENTS, 2, 3, seed=5, backward=False)
    batches.begin_at(0)
    first = [x.tolist() for x, _ in batches]
    batches.begin_at(1)
    second = [x.tolist() for x, _ in batches]
    batches.begin_at(1, 2)
    assert [x.tolist() for x, _ in batches] == second[2:]
    assert first != second
    whole = LmBatches(DOCUMENTS, 1, 100, seed=5, backward=False)
    inputs, targets = _stream(whole)
    assert sorted([*inputs, targets[-1]]) == sorted(DOCUMENTS.ids.tolist())


def test_documents_that_are_cut_anew_are_those_of_the_epoch():
    drawn: list[int] = []

    def redraw(epoch: int) -> Documents:
        drawn.append(epoch)
        return Documents.of([[20 + epoch] * (n + epoch) for n in (5, 3, 9)], bos_id=2)

    batches = LmBatches(DOCUMENTS, 2, 3, seed=5, backward=False, redraw=redraw)
    assert batches.tokens == 28 and not drawn
    batches.begin_at(4)
    fourth = [x.tolist() for x, _ in batches]
    assert {i for rows in fourth for row in rows for i in row} <= {2, 24} and batches.tokens == 30
    batches.begin_at(1)
    assert batches.tokens == 22 and len(batches) == len(list(batches)) == 4
    batches.begin_at(4, 2)
    assert [x.tolist() for x, _ in batches] == fourth[2:] and drawn == [4, 1, 4]


def test_too_little_text_is_an_error():
    with pytest.raises(DataError, match="too few"):
        LmBatches(Documents.of([], 2), 4, 10, seed=None, backward=False)


def test_padding_goes_in_front_by_whole_chunks():
    rows = pad_chunks([[5] * 7, [6] * 4, [7] * 2], pad_id=1, chunk=3)
    assert rows.tolist() == [[5] * 7, [1, 1, 1, 6, 6, 6, 6], [1, 1, 1, 7, 7, 1, 1]]


def test_classifier_batches_hold_every_text_once_with_its_label():
    texts = [[2, *[10 + k] * (k % 7)] for k in range(33)]
    batches = ClassifierBatches(texts, list(range(33)), 8, seed=1, pad_id=1, chunk=4)
    batches.begin_at(3)
    seen = list(batches)
    assert len(seen) == len(batches) == 4, "the lone last text joins a batch"
    assert sorted(torch.cat([y for _, y in seen]).tolist()) == list(range(33))
    for ids, labels in seen:
        lengths = [int((row != 1).sum()) for row in ids]
        assert lengths == sorted(lengths, reverse=True)
        assert all(np.array_equal(row[row != 1], texts[label]) for row, label in zip(ids, labels, strict=True))
    batches.begin_at(3, 2)
    assert [y.tolist() for _, y in batches] == [y.tolist() for _, y in seen[2:]]
