import bz2
import hashlib
import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from lowres.artifacts import CORPUS_SPLITS, Corpus, Run
from lowres.corpus.build import build_corpus, position, split_ends
from lowres.corpus.spec import CorpusSpec, Filters, LanguageFilter, Splits
from lowres.errors import DataError, Stopped
from lowres.text.normalise import Normalisation, normalise

MINI = Path(__file__).parents[2] / "corpora/vi/mini/viwiki-mini-pages-articles.xml.bz2"


def run_in(folder: Path, source: Path, **options) -> Run:
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    return Run(out=out, work=folder / "work", seed=0, files={"source": source}, **options)


def build(
    folder: Path, source: Path, form: str = "mediawiki", threads: int = 1, against: Path | None = None, **settings
) -> tuple[Corpus, dict]:
    run = run_in(folder, source, threads=threads)
    inputs = {"against_eng": against} if against else {}
    build_corpus(inputs, CorpusSpec(source_sha256="source", format=form, language="vie", **settings), run)
    return Corpus(run.out), run.facts


def rows(corpus: Corpus) -> list[dict]:
    return [row for split in CORPUS_SPLITS for row in corpus.table(split).to_pylist()]


def lines(folder: Path, texts: list[str]) -> Path:
    path = folder / "texts.jsonl.xz"
    folder.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps({"title": f"T{n}", "text": text}) + "\n" for n, text in enumerate(texts))
    path.write_bytes(lzma.compress(data.encode()))
    return path


def words(seed: int, count: int = 60) -> str:
    """A text unlike any other: words spelled from a hash."""
    digests = (hashlib.sha256(f"{seed} {n}".encode()).hexdigest()[:6] for n in range(count))
    return "".join(" " + digest.translate(str.maketrans("0123456789", "ghijklmnop")) for digest in digests).strip()


@pytest.fixture(scope="module")
def mini(tmp_path_factory) -> tuple[Corpus, dict]:
    return build(tmp_path_factory.mktemp("mini"), MINI)


def test_every_page_of_the_mini_dump_is_a_document_or_in_the_funnel(mini):
    corpus, facts = mini
    left_out = {row["reason"]: row["pages"] for row in facts["funnel"]}
    assert left_out["redirect"] >= 4 and left_out["other_namespace"] >= 2 and left_out["disambiguation"] >= 1
    assert left_out["too_short"] + left_out["stub"] >= 4
    assert sum(left_out.values()) + sum(facts["documents"].values()) == facts["source_pages"]
    assert all(len(row["example_ids"]) == min(3, row["pages"]) for row in facts["funnel"])
    assert facts["documents"]["train"] >= 35


def test_the_tables_hold_what_the_view_promises(mini):
    corpus, facts = mini
    for split in CORPUS_SPLITS:
        table = corpus.table(split)
        assert table.schema.names == ["id", "title", "text", "bytes", "split"]
        assert [str(kind) for kind in table.schema.types] == ["int64", "string", "string", "int64", "string"]
        found = table.to_pylist()
        assert [row["id"] for row in found] == sorted(row["id"] for row in found)
        assert facts["bytes"][split] == sum(row["bytes"] for row in found) > 0
        for row in found:
            assert row["split"] == split
            assert row["bytes"] == len(row["text"].encode()) >= facts["min_bytes"]
            assert row["text"] == normalise(row["text"], Normalisation())


def test_no_document_sits_in_two_splits(mini):
    ids = [row["id"] for row in rows(mini[0])]
    assert len(ids) == len(set(ids))


def test_equal_requests_give_equal_bytes_whatever_a_killed_run_left(tmp_path, mini):
    work = tmp_path / "work"
    (work / "blocks").mkdir(parents=True)
    (work / "blocks/plan.json").write_text("left over")
    (work / "blocks/000000.block").write_bytes(b"left over" * 1000)
    again, facts = build(tmp_path, MINI)
    assert facts == mini[1]
    for split in CORPUS_SPLITS:
        name = f"{split}.parquet"
        assert (again.path / name).read_bytes() == (mini[0].path / name).read_bytes()
    assert list(work.iterdir()) == []


def test_splits_are_ranges_of_the_hash_so_more_documents_move_none(tmp_path):
    texts = [words(n) for n in range(300)]
    fewer, _ = build(tmp_path / "a", lines(tmp_path / "a", texts[:200]), "jsonl")
    more, facts = build(tmp_path / "b", lines(tmp_path / "b", texts), "jsonl")
    placed = {row["id"]: row["split"] for row in rows(more)}
    assert len(placed) == 300
    assert all(placed[row["id"]] == row["split"] for row in rows(fewer))
    for page_id, split in placed.items():
        expected = "test" if position(page_id) < 0.05 else "valid" if position(page_id) < 0.1 else "train"
        assert split == expected
    assert 5 <= facts["documents"]["valid"] <= 30


@pytest.mark.parametrize("count", range(8))
def test_small_corpora_have_every_split_from_three_documents_on(count):
    positions = np.linspace(0.3, 0.9, count)
    test, valid = split_ends(positions, Splits())
    sizes = (test, valid - test, count - valid)
    assert sum(sizes) == count
    assert sizes == ((1, 1, count - 2) if count >= 3 else (0, 0, count))
    low = split_ends(np.linspace(0.0, 0.04, count), Splits())
    assert count < 3 or (0 < low[0] < low[1] < count)


def test_the_byte_budget_draws_nested_train_documents_and_leaves_the_held_out_ones(tmp_path):
    source = lines(tmp_path, [words(n) for n in range(200)])
    everything, _ = build(tmp_path / "all", source, "jsonl")
    large, _ = build(tmp_path / "large", source, "jsonl", max_bytes=40_000)
    small, facts = build(tmp_path / "small", source, "jsonl", max_bytes=15_000)
    ids = [{row["id"] for row in corpus.table("train").to_pylist()} for corpus in (small, large, everything)]
    assert ids[0] < ids[1] < ids[2]
    assert 14_000 < facts["bytes"]["train"] <= 15_000
    assert small.table("test").equals(everything.table("test"))
    assert {row["reason"]: row["pages"] for row in facts["funnel"]}["over_budget"] == len(ids[2]) - len(ids[0])
    with pytest.raises(DataError, match="max_bytes is 10"):
        build(tmp_path / "none", source, "jsonl", max_bytes=10)


def test_duplicates_short_texts_and_stubs_go_and_can_be_kept(tmp_path):
    stubs = [
        f"Xã {words(n, 1)} là một xã thuộc huyện Bình Lục, tỉnh Hà Nam, Việt Nam, có diện tích {n} km² và có dân số "
        f"năm {n} là {n * 31} người theo số liệu đã được công bố."
        for n in range(6)
    ]
    copies = [words(1000)] * 5
    source = lines(tmp_path, [words(n) for n in range(20)] + stubs + copies + ["", "ngắn"])
    _, facts = build(tmp_path / "a", source, "jsonl", filters=Filters(min_bytes=100))
    left_out = {row["reason"]: row["pages"] for row in facts["funnel"]}
    assert (left_out["empty"], left_out["duplicate"], left_out["too_short"], left_out["stub"]) == (1, 4, 1, 6)
    assert sum(facts["documents"].values()) == 21
    open_filters = Filters(min_bytes=0, stubs=False, duplicates=False, near_duplicates=None)
    _, facts = build(tmp_path / "b", source, "jsonl", filters=open_filters)
    assert sum(facts["documents"].values()) == 20 + 6 + 5 + 1


def test_near_duplicates_leave_their_smallest_id_and_straddle_no_split(tmp_path):
    texts = [words(n // 3, 100) + f" {words(n + 500, n % 3)}" for n in range(240)]
    source = lines(tmp_path, texts)
    open_filters = {"min_bytes": 0, "stubs": False}
    before, _ = build(tmp_path / "a", source, "jsonl", filters=Filters(**open_filters, near_duplicates=None))
    after, facts = build(tmp_path / "b", source, "jsonl", filters=Filters(**open_filters, near_duplicates=0.8))
    groups: dict[str, list[dict]] = {}
    for row in rows(before):
        groups.setdefault(row["text"][:300], []).append(row)
    assert len(groups) == 80
    assert any(len({row["split"] for row in group}) > 1 for group in groups.values())
    smallest = {min(row["id"] for row in group) for group in groups.values()}
    assert {row["id"] for row in rows(after)} == smallest
    left_out = {row["reason"]: row for row in facts["funnel"]}["near_duplicate"]
    assert left_out["pages"] == 160
    assert len(left_out["example_ids"]) == 3 and not smallest & set(left_out["example_ids"])


def test_documents_in_another_script_or_language_go(tmp_path):
    ours = ["Sông Hồng chảy qua nhiều tỉnh ở miền Bắc " + words(n) for n in range(30)]
    source = lines(tmp_path, [*ours, "Река течёт через многие области " * 9, words(7)])
    by_script = Filters(stubs=False, language=LanguageFilter(script="Latn"))
    _, facts = build(tmp_path / "a", source, "jsonl", filters=by_script)
    left_out = {row["reason"]: row["pages"] for row in facts["funnel"]}
    assert (left_out["other_script"], left_out["other_language"]) == (1, 0)
    english = "The river flows through several provinces and the university has many students "
    other, _ = build(
        tmp_path / "b",
        lines(tmp_path / "b", [f"{english} {n}" * 9 for n in range(30)]),
        "jsonl",
        filters=Filters(stubs=False, near_duplicates=None),
    )
    mixed = lines(tmp_path / "c", [*(f"Sinh viên đọc nhiều sách hay {n} " * 9 for n in range(30)), english * 9])
    by_language = Filters(
        stubs=False, near_duplicates=None, language=LanguageFilter(identifier="ngrams", against=("en/x",))
    )
    _, facts = build(tmp_path / "d", mixed, "jsonl", against=other.path, filters=by_language)
    left_out = {row["reason"]: row for row in facts["funnel"]}
    assert left_out["other_language"]["pages"] == 1
    assert sum(facts["documents"].values()) == 30


def test_near_duplicates_and_languages_are_told_over_blocks_and_by_any_number_of_workers(tmp_path):
    english = "The river flows through several provinces and the university has many students "
    filling = " Sông Hồng chảy qua nhiều tỉnh" * 300
    texts = [words(n // 2, 500) + filling + words(n + 900, 3) for n in range(180)]
    texts[1::50] = ["Река течёт через многие области " * 200] * 4
    texts[5::60] = [f"{english} {words(n, 1)} " * 200 for n in range(3)]
    texts[7] = texts[6]
    assert sum(len(text.encode()) for text in texts) > 1 << 21  # two blocks
    source = lines(tmp_path, texts)
    other = lines(tmp_path / "b", [f"{english} {n} " * 9 for n in range(30)])
    against = build(tmp_path / "b", other, "jsonl", filters=Filters(stubs=False, near_duplicates=None))[0].path
    language = LanguageFilter(script="Latn", identifier="ngrams", against=("en/x",))
    filters = Filters(stubs=False, near_duplicates=0.7, language=language)
    one, two = (build(tmp_path / str(n), source, "jsonl", threads=n, against=against, filters=filters) for n in (1, 2))
    assert one[1] == two[1]
    left_out = {row["reason"]: row["pages"] for row in one[1]["funnel"] if row["pages"]}
    # 8 of the 90 pairs had lost one already
    assert left_out == {"duplicate": 4, "other_script": 1, "other_language": 3, "near_duplicate": 82}
    assert all(one[0].table(split) == two[0].table(split) for split in CORPUS_SPLITS)
    assert len({row["text"][:300] for row in rows(one[0])}) == sum(one[1]["documents"].values()) == 90


def test_repeated_ids_are_one_document_even_where_duplicates_are_kept(tmp_path):
    page = json.dumps({"title": "T", "text": words(1)}) + "\n"
    path = tmp_path / "a.jsonl"
    path.write_text(page * 3)
    _, facts = build(tmp_path, path, "jsonl", filters=Filters(duplicates=False))
    assert sum(facts["documents"].values()) == 1


def test_the_normalisation_policy_holds_for_the_corpus(tmp_path):
    source = lines(tmp_path, [f"== Mục ==\nTIẾNG “VIỆT” {words(n)}" for n in range(4)])
    policy = Normalisation(lowercase=True, straight_quotes=True)
    corpus, _ = build(tmp_path, source, "jsonl", normalisation=policy)
    assert all(row["text"].startswith('mục\ntiếng "việt" ') for row in rows(corpus))


def test_zero_documents_name_the_largest_filter(tmp_path):
    with pytest.raises(DataError, match=r"no document is left of 6 pages; the largest filter, 'too_short', took 6"):
        build(tmp_path, lines(tmp_path, [f"chữ {words(n, 2)}" for n in range(6)]), "jsonl")
    empty = tmp_path / "empty.xml"
    empty.write_text('<mediawiki version="0.11"><siteinfo></siteinfo></mediawiki>')
    with pytest.raises(DataError, match="holds no pages"):
        build(tmp_path, empty)


def test_a_truncated_dump_is_one_clear_line(tmp_path):
    cut = tmp_path / "cut.xml.bz2"
    cut.write_bytes(MINI.read_bytes()[:-2000])
    with pytest.raises(DataError, match="truncated; fetch it again"):
        build(tmp_path, cut)
    assert not any((tmp_path / "work").glob("*"))
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_is_told_and_a_stop_is_heard(tmp_path):
    told = []
    source = lines(tmp_path, [words(n) for n in range(150)])
    spec = CorpusSpec(source_sha256="source", format="jsonl", language="vie")
    build_corpus({}, spec, run_in(tmp_path / "a", source, on_progress=lambda *report: told.append(report)))
    assert len(told) >= 4
    assert all(done <= total for done, total, _, _ in told)
    run = run_in(tmp_path / "b", source, stop_requested=lambda: True)
    with pytest.raises(Stopped):
        build_corpus({}, spec, run)
    assert list(run.out.iterdir()) == []


def test_multistream_dumps_give_the_same_corpus(tmp_path, mini):
    xml = bz2.decompress(MINI.read_bytes())
    path = tmp_path / "multistream.xml.bz2"
    path.write_bytes(b"".join(bz2.compress(xml[at : at + 50_000]) for at in range(0, len(xml), 50_000)))
    corpus, _ = build(tmp_path, path)
    assert rows(corpus) == rows(mini[0])
