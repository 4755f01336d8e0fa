import bz2
import gc
import hashlib
import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from sample_dumps import HEAD, TAIL, content, extraction, multistream, page, pages, rows_of, single, words

from lowres.artifacts import CORPUS_SPLITS, Corpus, Run
from lowres.corpus.block_file import PARTITION_BITS, BlockFile
from lowres.corpus.blocks import Sizes, extracted
from lowres.corpus.build import build_corpus
from lowres.corpus.documents import document_id
from lowres.corpus.dump import Export
from lowres.corpus.extract import Unaligned
from lowres.corpus.languages import same_language
from lowres.corpus.source import Source, stream_starts
from lowres.corpus.spec import CorpusSpec
from lowres.errors import DataError, Stopped
from lowres.text.shingles import places

SMALL = Sizes(streams=1, text=20_000)


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Path:
    """A multistream dump of a few blocks as `build_corpus` cuts it."""
    return multistream(tmp_path_factory.mktemp("several"), pages(110))


def build(folder: Path, source: Path, form: str = "mediawiki", **options) -> Run:
    out = folder / "out"
    out.mkdir(parents=True)
    run = Run(out=out, work=folder / "work", seed=0, files={"source": source}, **options)
    build_corpus({}, CorpusSpec(source_sha256="source", format=form, language="vie"), run)
    return run


def hashes(run: Run) -> list[str]:
    return [hashlib.sha256((run.out / f"{split}.parquet").read_bytes()).hexdigest() for split in CORPUS_SPLITS]


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_hold_the_same_wherever_they_are_cut_and_whoever_makes_them(tmp_path, threads):
    made = pages(60)
    whole = content(extracted(extraction(single(tmp_path, made), tmp_path / "whole"), 1, False))
    assert len(whole[0]) == 60 and whole[1] and whole[2]
    for name, path in {"plain": single(tmp_path, made), "bz2": multistream(tmp_path, made)}.items():
        job = extraction(path, tmp_path / name)
        blocks = list(extracted(job, threads, False, SMALL))
        assert len(blocks) >= 3
        assert content(blocks) == whole
        assert [block.last for block in blocks] == [False] * (len(blocks) - 1) + [True]


def test_shingle_places_are_read_by_partition(tmp_path):
    made = pages(60)
    whole = list(extracted(extraction(single(tmp_path, made), tmp_path / "a", bits=26), 1, False))
    for block in whole:
        parts = [block.places(partition) for partition in range(1 << 26 - PARTITION_BITS)]
        assert all(found.max() < 1 << PARTITION_BITS for found, _ in parts)
        edges = [np.cumsum(lengths)[:-1] for _, lengths in parts]
        several = [np.split(found, edge) for (found, _), edge in zip(parts, edges, strict=True)]
        texts = block.texts().decode()
        for row, pieces in zip(block.candidates().tolist(), zip(*several, strict=True), strict=True):
            _, title, size, _, _ = row
            raw = texts.encode()[title : title + size].decode()
            texts = texts.encode()[title + size :].decode()
            joined = np.concatenate([piece + (number << PARTITION_BITS) for number, piece in enumerate(pieces)])
            assert np.array_equal(joined, places([raw], 26)[0])


def test_stubs_are_the_same_whatever_the_partitions(tmp_path, monkeypatch):
    frame = "{} là một xã thuộc huyện Bình Lục của tỉnh Hà Nam có diện tích năm ki lô mét vuông"
    made = [page(n, frame.format(words(n, 2))) for n in range(1, 30)] + pages(10, 300)
    source = single(tmp_path, made)
    told = {}
    for bits in (19, PARTITION_BITS):
        monkeypatch.setattr("lowres.corpus.block_file.PARTITION_BITS", bits)
        monkeypatch.setattr("lowres.corpus.candidates.PARTITION_BITS", bits)
        told[bits] = build(tmp_path / str(bits), source)
    assert {row["reason"]: row["pages"] for row in told[19].facts["funnel"]}["stub"] == 29
    assert told[19].facts == told[PARTITION_BITS].facts


def test_a_finished_block_leaves_no_parser_behind(tmp_path):
    gc.collect()
    gc.disable()  # what only a search for cycles would find grows with the dump
    try:
        list(extracted(extraction(multistream(tmp_path, pages(60)), tmp_path), 1, False, SMALL))
        # isinstance would wake lazy modules of other libraries
        exports = [each for each in gc.get_objects() if type(each) is Export]
        assert not [each for each in exports if "dump.xml.bz2" in str(each.path)]
    finally:
        gc.enable()


def test_the_corpus_is_the_same_bytes_by_any_number_of_workers_and_from_one_stream(tmp_path, several):
    one = build(tmp_path / "one", several)
    two = build(tmp_path / "two", several, threads=2)
    stream = tmp_path / "single.xml.bz2"
    stream.write_bytes(bz2.compress(bz2.decompress(several.read_bytes())))
    from_stream = build(tmp_path / "stream", stream, threads=2)
    assert hashes(one) == hashes(two) == hashes(from_stream)
    assert one.facts == two.facts == from_stream.facts
    # a title says so only behind the template that the dump tells of, in whatever block that is
    titles = {row["title"] for split in CORPUS_SPLITS for row in Corpus(one.out).table(split).to_pylist()}
    assert "Trước (nhiều nghĩa)" in titles and "Sau (nhiều nghĩa)" not in titles


def test_a_stopped_build_goes_on_behind_its_last_finished_block(tmp_path, several):
    wanted = build(tmp_path / "wanted", several)
    told = []
    with pytest.raises(Stopped):
        build(tmp_path / "a", several, on_progress=lambda *said: told.append(said), stop_requested=lambda: bool(told))
    blocks = tmp_path / "a" / "work" / "blocks"
    first = BlockFile.read(blocks / "000000.block")
    assert first is not None and not (blocks / "000001.block").exists()
    raw = first.path.read_bytes()
    assert raw.count(words(1, 1500)[:100].encode()) == 1
    first.path.write_bytes(raw.replace(words(1, 1500)[:100].encode(), b"X" * 100))
    (blocks / "000001.partial").write_bytes(b"torn")
    (tmp_path / "a/out").rmdir()
    again = build(tmp_path / "a", several)
    texts = [text for split in CORPUS_SPLITS for text in Corpus(again.out).texts(split)]
    assert sum("X" * 100 in text for text in texts) == 1  # the finished block was taken as it stood
    assert again.facts == wanted.facts
    assert not any((tmp_path / "a/work").iterdir())


KILLED = """
import sys
from pathlib import Path
from lowres.artifacts import Run
from lowres.corpus.build import build_corpus
from lowres.corpus.spec import CorpusSpec

def told(*said):
    print("block", flush=True)
    sys.stdin.readline()

work, source = Path(sys.argv[1]), Path(sys.argv[2])
run = Run(out=work, work=work, seed=0, threads=3, files={"source": source}, on_progress=told)
build_corpus({}, CorpusSpec(source_sha256="source", format="mediawiki", language="vie"), run)
"""


def test_a_killed_build_leaves_no_process_and_the_next_one_ends_the_same(tmp_path, several):
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "work"), str(several)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None and killed.stdout.readline() == "block\n"
        children = psutil.Process(killed.pid).children()
        assert len(children) == 2
        killed.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert (tmp_path / "work/blocks/000000.block").is_file()
    assert hashes(build(tmp_path, several, threads=2)) == hashes(build(tmp_path / "wanted", several))


def test_streams_that_end_within_pages_are_read_as_one(tmp_path):
    xml = (HEAD + "".join(pages(110)) + TAIL).encode()
    middle = xml.index(b"<page>", 40_000)
    cuts = [0, xml.index(b"  <page>"), middle, 900_000, len(xml)]
    path = tmp_path / "pbzip2.xml.bz2"
    path.write_bytes(b"".join(bz2.compress(xml[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)))
    with pytest.raises(Unaligned):
        list(extracted(extraction(path, tmp_path), 1, False, SMALL))
    assert build(tmp_path / "a", path).facts == build(tmp_path / "b", single(tmp_path, pages(110))).facts


def test_a_page_of_50_mb_is_counted_and_nobody_holds_it(tmp_path):
    made = [page(1, words(1, 50)), page(2, "[[a|" * 12_500_000), page(3, words(3, 50))]
    job = extraction(single(tmp_path, made), tmp_path)
    tracemalloc.start()
    rows = [row for block in extracted(job, 1, False) for row in rows_of(block)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row.id, row.reason) for row in rows] == [(1, ""), (2, "too_long"), (3, "")]
    assert peak < 45_000_000
    by_workers = extracted(extraction(job.files[0].path, tmp_path / "two"), 2, False)
    assert [row for block in by_workers for row in rows_of(block)] == rows


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_fault_is_told_whoever_finds_it(tmp_path, threads):
    made = pages(20, 400)
    made[12] = made[12].replace("</title>", "</tilte>")
    faulty = multistream(tmp_path, made)
    with pytest.raises(DataError, match="malformed XML behind page 12 "):
        list(extracted(extraction(faulty, tmp_path / "a"), threads, False, SMALL))
    data = bytearray(multistream(tmp_path, pages(20, 400)).read_bytes())
    data[len(data) // 2] ^= 1
    flipped = tmp_path / "flipped.xml.bz2"
    flipped.write_bytes(data)
    with pytest.raises(DataError, match="damaged|no stream"):
        list(extracted(extraction(flipped, tmp_path / "b"), threads, False, SMALL))
    stream = bz2.compress(bz2.decompress(faulty.read_bytes()))
    cut = tmp_path / "cut.xml.bz2"
    cut.write_bytes(stream[:-20])
    with pytest.raises(DataError, match="malformed XML|truncated"):
        list(extracted(extraction(cut, tmp_path / "c"), threads, False, SMALL))


def test_a_flipped_mark_of_a_stream_loses_nothing_in_silence(tmp_path):
    path = multistream(tmp_path, pages(20, 400))
    starts = [start for start, _ in stream_starts(path, 1)]
    assert len(starts) >= 4
    data = bytearray(path.read_bytes())
    data[starts[2]] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is no stream"), Source(path) as source:
        list(source.chunks())
    with pytest.raises(DataError, match="is no stream"):
        list(extracted(extraction(path, tmp_path), 1, False, Sizes(streams=1)))


def test_json_lines_in_blocks_name_the_line(tmp_path):
    lines = [json.dumps({"title": f"T{n}", "text": words(n, 1500)}) for n in range(60)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    whole = content(extracted(extraction(path, tmp_path / "whole", "jsonl"), 1, False))
    blocks = list(extracted(extraction(path, tmp_path / "small", "jsonl"), 2, False, SMALL))
    assert len(blocks) >= 3 and content(blocks) == whole and len(whole[0]) == 60
    path.write_text("\n".join([*lines[:55], "{", *lines[55:]]))
    with pytest.raises(DataError, match="line 56 is not JSON"):
        list(extracted(extraction(path, tmp_path / "faulty", "jsonl"), 2, False, SMALL))


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_plain_text_is_a_document_a_blank_line_or_a_file(tmp_path, ends):
    documents = [f"dòng {n}{ends}{words(n, 1500)}" for n in range(60)]
    path = tmp_path / "a.txt"
    path.write_bytes(((ends + ends).join(documents) + ends + " \t" + ends + "cuối").encode("utf-8-sig"))
    blocks = list(extracted(extraction(path, tmp_path / "a", "text"), 2, False, SMALL))
    assert len(blocks) >= 3
    rows, texts, _ = content(blocks)
    assert len(rows) == 61
    assert texts.decode() == "".join(text.replace("\r", "") for text in documents) + "cuối"
    other = tmp_path / "b.txt"
    other.write_text("một\n\nhai")
    job = extraction((path, other), tmp_path / "b", "text", documents="file")
    rows, texts, _ = content(extracted(job, 2, False, SMALL))
    assert len(rows) == 2 and texts.endswith("một\nhai".encode())
    other.write_bytes(b"m\n\n\xff")
    with pytest.raises(DataError, match=r"b\.txt: line 3 is not UTF-8"):
        list(extracted(extraction(other, tmp_path / "c", "text"), 1, False))


def test_parquet_is_read_by_row_groups(tmp_path):
    rows = [{"title": f"T{n}", "body": words(n, 300), "extra": n} for n in range(40)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10)
    job = extraction(path, tmp_path / "a", "parquet", text_field="body")
    blocks = list(extracted(job, 2, False, SMALL))
    assert len(blocks) == 4
    found, texts, _ = content(blocks)
    assert texts.decode() == "".join(row["title"] + row["body"] for row in rows)
    assert [row.id for row in found] == [document_id(row["title"], row["body"]) for row in rows]
    for field, said in (("text", "no column 'text' .it has: body, extra, title."), ("extra", "holds int64")):
        with pytest.raises(DataError, match=said):
            list(extracted(extraction(path, tmp_path / field, "parquet", text_field=field), 1, False))
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        list(extracted(extraction(cut, tmp_path / "cut", "parquet", text_field="body"), 1, False))


def test_several_files_are_one_corpus(tmp_path):
    made = pages(20, 400)
    one = build(tmp_path / "one", single(tmp_path, made))
    parts = (single(tmp_path, made[:7], "1.xml"), multistream(tmp_path, made[7:], "2.xml.bz2"))
    out = tmp_path / "two/out"
    out.mkdir(parents=True)
    run = Run(out=out, work=tmp_path / "two", seed=0, threads=2, files=dict(zip("ab", parts, strict=True)))
    spec = CorpusSpec(source_sha256="a", more_sha256=("b",), format="mediawiki", language="vie")
    build_corpus({}, spec, run)
    assert hashes(run) == hashes(one)
    assert spec.raw_files() == ("a", "b")
    assert "more_sha256" not in CorpusSpec(source_sha256="a", format="mediawiki", language="vie").hashed()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make", [multistream, single])
def test_whole_pages_before_a_cut_are_kept_only_if_that_is_allowed(tmp_path, make, threads):
    made = pages(60)
    data = make(tmp_path, made).read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(DataError, match="truncated"):
        list(extracted(extraction(cut, tmp_path / "a"), threads, False, SMALL))
    rows, _, _ = content(extracted(extraction(cut, tmp_path / "b", allow_truncated=True), threads, False, SMALL))
    wanted, _, _ = content(extracted(extraction(single(tmp_path, made, "x"), tmp_path / "c"), threads, False, SMALL))
    assert 30 < len(rows) < 50
    assert rows[:-1] == wanted[: len(rows) - 1]
    assert rows[-1].reason == "truncated" and rows[-1].id in (0, wanted[len(rows) - 1].id)


def test_lines_before_a_cut_are_kept_only_if_that_is_allowed(tmp_path):
    data = "".join(json.dumps({"text": words(n, 300)}) + "\n" for n in range(700)).encode()
    for name, packed in {"bz2": bz2.compress(data), "zst": zstandard.compress(data)}.items():
        cut = tmp_path / name
        cut.write_bytes(packed[: len(packed) * 3 // 4])
        with pytest.raises(DataError, match="truncated"):
            list(extracted(extraction(cut, tmp_path / f"{name}-a", "jsonl"), 1, False))
        job = extraction(cut, tmp_path / f"{name}-b", "jsonl", allow_truncated=True)
        rows, _, _ = content(extracted(job, 1, False))
        assert 5 < len(rows) < 650
        assert [row.reason for row in rows] == [""] * (len(rows) - 1) + ["truncated"]


def test_a_dump_of_another_language_is_refused(tmp_path):
    path = multistream(tmp_path, pages(10, 200))
    path.write_bytes(bz2.compress(bz2.decompress(path.read_bytes()).replace(b'xml:lang="vi"', b'xml:lang="so"')))
    with pytest.raises(DataError, match="the wiki in 'so', and the corpus is declared as 'vie'"):
        build(tmp_path / "a", path)


@pytest.mark.parametrize(
    ("wiki", "language", "same"),
    [
        ("vi", "vie", True),
        ("en", "vie", False),
        ("sw", "swh", True),
        ("zh-yue", "yue", True),
        ("als", "gsw", True),
        ("als", "sqi", False),
        ("no", "nob", True),
        ("no", "nno", False),
        ("be-x-old", "bel", True),
        ("nah", "nhn", True),
        ("sh", "hrv", True),
        ("", "vie", True),
        ("not-a-code", "vie", True),
    ],
)
def test_codes_of_wikis_and_languages(wiki, language, same):
    assert same_language(wiki, language) is same


def test_titles_are_never_paths(tmp_path):
    made = [page(n, words(n, 200), "../../../outside") for n in range(1, 6)]
    run = build(tmp_path / "in/side", single(tmp_path, made))
    titles = [row["title"] for split in CORPUS_SPLITS for row in Corpus(run.out).table(split).to_pylist()]
    assert titles == ["../../../outside"] * 5
    assert {path.name for path in tmp_path.iterdir()} == {"in", "dump.xml"}
