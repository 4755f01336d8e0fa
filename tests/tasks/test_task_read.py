import bz2
import csv
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.cards import Layout
from lowres.errors import DataError
from lowres.tasks.read import RawFile, read_rows

CSV = Layout(format="csv")


def write(path, data, role="train"):
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return RawFile(role, path, path.name)


def items(rows):
    return [(row.text, row.label) for row in rows]


def test_quoted_fields_hold_separators_quotes_and_line_breaks(tmp_path):
    file = write(tmp_path / "a.tsv", 'label\ttext\nx\t"một ""hai""\nba\tbốn"\ny\tnăm\n')
    assert items(read_rows([file], Layout(format="tsv"))) == [('một "hai"\nba\tbốn', "x"), ("năm", "y")]


def test_without_quoting_quotes_are_characters(tmp_path):
    file = write(tmp_path / "a.tsv", 'label\ttext\nx\t"một\ny\thai"\n')
    rows = read_rows([file], Layout(format="tsv", quoting="none"))
    assert items(rows) == [('"một', "x"), ('hai"', "y")]


def test_a_quote_that_never_ends_is_an_error_with_its_line_and_the_mend(tmp_path):
    file = write(tmp_path / "a.tsv", 'label\ttext\nx\tmột\ny\t"hai\nz\tba\n')
    with pytest.raises(DataError, match=r'a\.tsv: line 3: .*quoting = "none"'):
        read_rows([file], Layout(format="tsv"))


def test_a_row_of_another_width_is_an_error_with_its_line(tmp_path):
    file = write(tmp_path / "a.csv", 'text,label\n"a\nb",x\none, two,x\n')
    with pytest.raises(DataError, match="line 4 has 3 fields, the header has 2"):
        read_rows([file], CSV)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    file = write(tmp_path / "a.csv", b"\xef\xbb\xbftext,label\r\na,x\r\n")
    assert items(read_rows([file], CSV)) == [("a", "x")]


def test_a_field_may_be_longer_than_the_csv_modules_limit(tmp_path):
    before = csv.field_size_limit()
    file = write(tmp_path / "a.csv", f"text,label\n{'a' * 200_000},x\n")
    assert len(read_rows([file], CSV)[0].text) == 200_000
    assert csv.field_size_limit() == before


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.sampled_from("xyz")), min_size=1, max_size=8))
def test_what_pythons_csv_writes_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    assert items(read_rows([RawFile("all", path, "a")], CSV)) == rows


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_compression_is_told_by_the_first_bytes_and_a_cut_file_is_named(tmp_path, pack):
    data = pack("".join(json.dumps({"text": f"câu {k}", "label": k % 2}) + "\n" for k in range(50)).encode())
    layout = Layout(format="jsonl")
    assert read_rows([write(tmp_path / "a", data)], layout)[3].text == "câu 3"
    with pytest.raises(DataError, match="damaged or cut short"):
        read_rows([write(tmp_path / "b", data[: len(data) // 2])], layout)


def test_a_wrong_encoding_names_the_byte_and_the_mend(tmp_path):
    file = write(tmp_path / "a.csv", "text,label\ncafé,x\n".encode("latin-1"))
    with pytest.raises(DataError, match=r'a\.csv: byte 14 \(0xe9\) is not utf-8.*encoding = "cp1252"'):
        read_rows([file], CSV)
    assert items(read_rows([file], Layout(format="csv", encoding="latin-1"))) == [("café", "x")]


def test_utf_16_is_recognised_in_the_message_and_read_when_named(tmp_path):
    file = write(tmp_path / "a.csv", "text,label\nmột,x\n".encode("utf-16"))
    with pytest.raises(DataError, match='byte 0 .* e.g. encoding = "utf-16"'):
        read_rows([file], CSV)
    assert items(read_rows([file], Layout(format="csv", encoding="utf-16"))) == [("một", "x")]


def test_an_unknown_encoding_is_refused(tmp_path):
    with pytest.raises(DataError, match="no encoding 'utf8mb4'"):
        read_rows([write(tmp_path / "a.csv", "text,label\n")], Layout(format="csv", encoding="utf8mb4"))


def test_a_missing_column_names_those_there_and_the_nearest(tmp_path):
    file = write(tmp_path / "a.csv", "TEXT,label,user\na,x,1\n")
    with pytest.raises(DataError, match="no column 'text'; there are 'TEXT', 'label', 'user'; did you mean 'TEXT'"):
        read_rows([file], CSV)


def test_json_lines_keep_unicode_line_separators_and_name_a_bad_line(tmp_path):
    line = json.dumps({"text": "a\u2028b\x85c", "label": True}, ensure_ascii=False)
    layout = Layout(format="jsonl")
    assert items(read_rows([write(tmp_path / "a", f"{line}\n\n")], layout)) == [("a\u2028b\x85c", "True")]
    with pytest.raises(DataError, match="line 2 is not JSON"):
        read_rows([write(tmp_path / "b", f"{line}\n{{'text': 1}}\n")], layout)
    with pytest.raises(DataError, match="line 1 is not a JSON object"):
        read_rows([write(tmp_path / "c", "[1]\n")], layout)
    with pytest.raises(DataError, match="line 2: no key 'text'"):
        read_rows([write(tmp_path / "d", f'{line}\n{{"label": 1}}\n')], layout)


def test_parquet_labels_with_gaps_are_whole_numbers_again(tmp_path):
    pq.write_table(pa.table({"text": ["a", None, "c"], "label": [1.0, 2.5, None]}), tmp_path / "a.parquet")
    rows = read_rows([RawFile("train", tmp_path / "a.parquet", "a")], Layout(format="parquet"))
    assert items(rows) == [("a", "1"), ("", "2.5"), ("c", None)]


def test_text_that_is_not_text_is_refused(tmp_path):
    file = write(tmp_path / "a", '{"text": 3, "label": 1}\n')
    with pytest.raises(DataError, match="text is int, not text"):
        read_rows([file], Layout(format="jsonl"))


def test_parallel_line_files_are_joined_by_place(tmp_path):
    files = [
        write(tmp_path / "t", "một\u0085hai\r\n\r\nba\n", "train:text"),
        write(tmp_path / "l", "0\n1\n0", "train:label"),
    ]
    rows = read_rows(files, Layout(format="lines", names={"0": "neg", "1": "pos"}))
    assert items(rows) == [("một\u0085hai", "neg"), ("", "pos"), ("ba", "neg")]
    assert [row.id for row in rows] == ["train-000000", "train-000001", "train-000002"]


def test_parallel_files_of_other_lengths_or_alone_are_refused(tmp_path):
    text = write(tmp_path / "t", "a\nb\n", "train:text")
    with pytest.raises(DataError, match="l: 1 lines, but t has 2"):
        read_rows([text, write(tmp_path / "l", "0\n", "train:label")], Layout(format="lines"))
    with pytest.raises(DataError, match="no file has role 'train:label'"):
        read_rows([text], Layout(format="lines"))


def test_a_label_without_a_name_is_refused(tmp_path):
    file = write(tmp_path / "a.csv", "text,label\na,0\nb,2\n")
    with pytest.raises(DataError, match="item 2 has label '2'.*0, 1"):
        read_rows([file], Layout(format="csv", names={"0": "neg", "1": "pos"}))


def test_an_id_that_repeats_is_refused(tmp_path):
    files = [write(tmp_path / "a", "id,text,label\n7,a,x\n"), write(tmp_path / "b", "id,text,label\n7,b,x\n", "test")]
    with pytest.raises(DataError, match="id '7' .*stands in two rows"):
        read_rows(files, Layout(format="csv", id="id"))


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (("all", "test"), "stands alone"),
        (("train", "train"), "given twice"),
        (("test",), "no file has role 'train' or 'all'"),
        (("train:text",), "does not fit format 'csv'"),
        (("valid",), "does not fit"),
    ],
)
def test_roles_that_do_not_fit_are_refused(tmp_path, roles, message):
    with pytest.raises(DataError, match=message):
        read_rows([write(tmp_path / f"{k}", "text,label\na,x\n", role) for k, role in enumerate(roles)], CSV)
