import numpy as np
import pytest

from lowres.families.gptj.data import PADDING, Rows, Stream, pack, rows_in_order, scored_windows

STREAM = np.arange(1000, dtype=np.uint16)


def test_rows_are_runs_of_the_stream_and_cover_a_pass_once():
    rows = Rows(Stream(STREAM, n_ctx=16), batch_size=1, seed=3)
    epoch = np.concatenate([rows.batch(step) for step in range(rows.count)])
    assert epoch.shape == (rows.count, 17)
    assert (np.diff(epoch, axis=1) == 1).all()
    inputs = epoch[:, :-1].ravel()
    assert len(set(inputs)) == len(inputs) == rows.count * 16
    assert len(inputs) > 1000 - 3 * 16


def test_passes_differ_in_order_and_in_cuts():
    rows = Rows(Stream(STREAM, n_ctx=16), batch_size=1, seed=3)
    first, second = rows.batch(0)[0, 0], rows.batch(rows.count)[0, 0]
    assert first % 16 != second % 16
    orders = [[rows.batch(epoch * rows.count + i)[0, 0] // 16 for i in range(rows.count)] for epoch in (0, 1)]
    assert orders[0] != orders[1] and sorted(orders[0]) == list(range(rows.count))


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    one, again = (Rows(Stream(STREAM, 16), 4, 3) for _ in range(2))
    for step in (40, 3, 0):  # backwards: nothing is remembered between steps
        np.testing.assert_array_equal(one.batch(step), again.batch(step))
    assert (one.batch(0) != Rows(Stream(STREAM, 16), 4, 4).batch(0)).any()


def test_a_stream_shorter_than_a_row_is_padded():
    row = Rows(Stream(np.array([5, 6, 7]), n_ctx=8), batch_size=2, seed=0).batch(9)
    assert row.tolist() == [[5, 6, 7] + [PADDING] * 6] * 2


@pytest.mark.parametrize("length", [0, 1, 2, 15, 16, 17, 18, 31, 32, 33, 100, 167])
def test_every_token_is_scored_once_with_half_a_window_before_it(length):
    ids = np.arange(100, 100 + length)
    windows = scored_windows(ids.tolist(), bos_id=2, n_ctx=16)
    scored = [(int(row[place]), place) for row, marks in windows for place in range(17) if marks[place]]
    assert [token for token, _ in scored] == ids.tolist()
    assert all(place >= 9 for token, place in scored if token >= 100 + 16)
    for row, _ in windows:
        real = row[row != PADDING]
        assert ((np.diff(real) == 1) | (real[:-1] == 2)).all()


def test_rows_in_order_predict_every_token_but_the_first():
    rows = rows_in_order(np.arange(50), n_ctx=16, limit=99)
    assert rows[:, 1:][rows[:, 1:] != PADDING].tolist() == list(range(1, 50))
    assert len(rows_in_order(np.arange(50), 16, limit=2)) == 2


def test_documents_are_packed_behind_their_mark():
    assert pack([[5, 6], [], [7]], bos_id=2).tolist() == [2, 5, 6, 2, 2, 7]
    assert len(pack([], bos_id=2)) == 0
