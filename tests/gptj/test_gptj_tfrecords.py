import struct

import numpy as np
import pytest

from lowres.errors import DataError
from lowres.families.gptj.data import Rows
from lowres.families.gptj.tfrecords import Records, masked_crc32c, record_files

ROWS = np.random.default_rng(0).integers(0, 50257, (6, 17)).astype(np.int32)


def varint(number):
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(tokens, name=b"text", in_one=True):
    """A protobuf Example; a list of numbers may be in one field (packed) or in one for each."""
    numbers = field(1, b"".join(map(varint, tokens))) if in_one else b"".join(b"\x08" + varint(t) for t in tokens)
    other = field(1, field(1, b"meta") + field(2, field(1, field(1, b"x"))))
    return field(1, other + field(1, field(1, name) + field(2, field(3, numbers))))


def record(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def rows_of(path, **other):
    settings = {"n_ctx": 16, "batch_size": 2, "seed": 3, "vocab_size": 50257} | other
    records = Records(record_files(path), settings["n_ctx"], settings["vocab_size"])
    return Rows(records, settings["batch_size"], settings["seed"])


@pytest.fixture
def folder(tmp_path):
    for number in (0, 1):
        some = ROWS[3 * number : 3 * number + 3].tolist()
        data = b"".join(record(example(row, in_one=bool(place))) for place, row in enumerate(some))
        (tmp_path / f"vi_{number}_3.tfrecords").write_bytes(data)
    return tmp_path


def test_the_checksum_is_castagnolis():
    masked = 0xE3069283  # of "123456789", RFC 3720
    assert masked_crc32c(b"123456789") == ((masked >> 15 | masked << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_every_pass_reads_every_row_once_in_another_order(folder):
    rows = rows_of(folder)
    assert rows.count == 6 and rows.steps(2) == 6
    first, second = (np.concatenate([rows.batch(step) for step in range(start, start + 3)]) for start in (0, 3))
    assert sorted(map(tuple, first)) == sorted(map(tuple, second)) == sorted(map(tuple, ROWS))
    assert not (first == second).all()
    assert (rows_of(folder).batch(4) == rows.batch(4)).all(), "the step alone says what a batch holds"


def test_an_index_names_files_of_a_bucket_that_lie_beside_it(folder):
    (folder / "vi.train.index").write_text("gs://bucket/vi_1_3.tfrecords\n\n")
    assert [path.name for path in record_files(folder / "vi.train.index")] == ["vi_1_3.tfrecords"]
    with pytest.raises(DataError, match="missing"):
        record_files(folder / "none.tfrecords")


def test_a_cursor_belongs_to_its_rows(folder):
    rows = rows_of(folder)
    assert rows.step_at(rows.cursor(5)) == 5
    with pytest.raises(DataError, match="of other rows"):
        rows.step_at(rows_of(folder, seed=4).cursor(5))
    with pytest.raises(DataError, match="of other rows"):
        rows.step_at(rows_of(folder, batch_size=3).cursor(5))


@pytest.mark.parametrize(
    ("place", "message"), [(3, "checksum of its length"), (40, "its checksum differs"), (None, "cut off")]
)
def test_a_broken_file_is_told_with_its_place(tmp_path, place, message):
    data = bytearray(record(example(ROWS[0].tolist())))
    if place is None:
        data = data[:-5]
    else:
        data[place] ^= 1
    (tmp_path / "x.tfrecords").write_bytes(data)
    with pytest.raises(DataError, match=f"x.tfrecords.*{message}"):
        rows_of(tmp_path).batch(0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (example(ROWS[0].tolist(), b"ids"), "no feature `text`"),
        (b"\xff\xff\xff", "no protobuf Example"),
        (example([1, 2, 3]), "a row of 3 tokens"),
        (example([50300] * 17), "packed with another tokenizer"),
    ],
)
def test_a_record_of_something_else_is_told(tmp_path, data, message):
    (tmp_path / "x.tfrecords").write_bytes(record(data))
    with pytest.raises(DataError, match=message):
        rows_of(tmp_path).batch(0)
