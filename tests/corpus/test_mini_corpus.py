"""The embedded Vietnamese corpus is what its README says: as built, large enough, varied, and read as its gold says."""

import csv
import re
import runpy
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from lowres.artifacts import CORPUS_SPLITS, Corpus, Run
from lowres.corpus.build import build_corpus
from lowres.corpus.dump import Dump
from lowres.corpus.source import Source
from lowres.corpus.spec import CorpusSpec
from lowres.corpus.templates import rules_for
from lowres.corpus.wikitext import clean
from lowres.families.baselines.models import PUBLISHED_C, fit_tfidf_lr, prepare
from lowres.families.baselines.spec import Features
from lowres.metrics.classification import macro_f1
from lowres.tasks.audit import words
from lowres.text.normalise import Normalisation, normalise

MINI = Path(__file__).parents[2] / "corpora/vi/mini"
DUMP = MINI / "viwiki-mini-pages-articles.xml.bz2"
STUBS = 15
NGRAM = 5
MOST_SHARED = 0.2
SETS = ("topics", "opinions")
SLANG = {"k", "ko", "dc", "đc", "sp", "mn", "ib", "vs", "ntn", "hok"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> tuple[Corpus, dict]:
    out = tmp_path_factory.mktemp("mini")
    run = Run(out=out, work=out / "work", seed=0, files={"source": DUMP})
    build_corpus({}, CorpusSpec(source_sha256="source", format="mediawiki", language="vie"), run)
    return Corpus(out), run.facts


@pytest.fixture(scope="module")
def pages() -> dict[str, tuple[int, str, str]]:
    """Title -> namespace, wikitext, and what the extractor makes of it, before any filter."""
    with Source(DUMP) as source:
        dump = Dump(source)
        return {
            page.title: (
                page.ns,
                page.text,
                normalise(clean(page.text, dump.namespaces, page.title, rules_for("vie")), Normalisation()),
            )
            for page in dump
        }


def split_rows(name: str, split: str) -> list[dict[str, str]]:
    with (MINI / name / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def all_rows(name: str) -> list[dict[str, str]]:
    return [row for split in ("train", "dev", "test") for row in split_rows(name, split)]


def grams(text: str, n: int = NGRAM) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[place : place + n]) for place in range(len(found) - n + 1)}


def test_what_is_built_is_what_the_sources_say():
    build = runpy.run_path(str(MINI / "build.py"))["build"]
    files, _ = build()
    assert [name for name, data in files.items() if (MINI / name).read_bytes() != data] == []


def test_it_is_as_large_as_promised(corpus):
    texts = [row["text"] for split in CORPUS_SPLITS for row in corpus[0].table(split).to_pylist()]
    assert len(texts) >= 150
    assert sum(len(text.encode()) for text in texts) >= 250_000
    assert min(map(len, texts)) >= 600
    assert max(map(len, texts)) <= 6000


def test_the_filters_find_what_was_put_there_for_them(corpus):
    left_out = {row["reason"]: row["pages"] for row in corpus[1]["funnel"] if row["pages"]}
    assert left_out == {"redirect": 10, "other_namespace": 2, "disambiguation": 2, "stub": STUBS}


@pytest.mark.parametrize(
    "mark",
    ["{{Thông tin ", "<ref", "{|", "\n* ", "\n# ", "[[Tập tin:", "[[Thể loại:", "{{convert|", "{{lang|", "{{nowrap|"]
    + ["{{formatnum:", "\n=== ", "[[", "|", "<!--", "&nbsp;", "<math>", "<gallery"],
)
def test_the_articles_carry_the_markup_of_real_ones(mark, pages):
    assert sum(mark in text for ns, text, _ in pages.values() if ns == 0) >= 3


@pytest.mark.parametrize("gold", sorted((MINI / "gold").glob("*.txt")), ids=lambda path: path.stem)
def test_the_extractor_gives_the_text_a_hand_gave(gold, pages):
    head = (MINI / f"source/articles/{gold.stem}.wiki").read_text(encoding="utf-8").splitlines()[0]
    extracted = pages[head.removeprefix("title: ")][2]
    assert extracted.splitlines() == gold.read_text(encoding="utf-8").splitlines()


def test_ten_articles_have_a_gold_text():
    assert len(list((MINI / "gold").glob("*.txt"))) == 10


def test_no_two_articles_repeat_each_other(pages):
    shared: Counter[tuple[str, str]] = Counter()
    owners: dict[tuple[str, ...], set[str]] = {}
    sizes = {}
    for title, (ns, _, text) in pages.items():
        if ns == 0 and len(text) >= 600 and "Loài này được nhà tự nhiên học" not in text:
            found = grams(text)
            sizes[title] = len(found)
            for gram in found:
                owners.setdefault(gram, set()).add(title)
    for titles in owners.values():
        shared.update(combinations(sorted(titles), 2))
    assert {pair: n for pair, n in shared.items() if n > 0.04 * min(sizes[title] for title in pair)} == {}


@pytest.mark.parametrize(("name", "labels", "size"), [("topics", 4, 600), ("opinions", 2, 400)])
def test_a_set_has_its_labels_balanced_in_every_split(name, labels, size):
    assert len(all_rows(name)) >= size
    for split in ("train", "dev", "test"):
        counts = Counter(row["label"] for row in split_rows(name, split))
        assert len(counts) == labels
        assert len(set(counts.values())) == 1


@pytest.mark.parametrize("name", SETS)
def test_no_text_of_a_set_is_another_one_with_a_word_swapped(name):
    rows = all_rows(name)
    assert len({" ".join(words(row["text"])) for row in rows}) == len(rows)
    found = {row["id"]: grams(row["text"]) for row in rows}
    owners: dict[tuple[str, ...], list[str]] = {}
    for identity, mine in found.items():
        for gram in mine:
            owners.setdefault(gram, []).append(identity)
    shared = Counter(pair for ids in owners.values() for pair in combinations(sorted(ids), 2))
    alike = {pair: n for pair, n in shared.items() if n > MOST_SHARED * min(len(found[one]) for one in pair)}
    assert alike == {}


def test_no_topic_sentence_is_taken_from_the_articles(pages):
    prose = set().union(*(grams(text, 8) for _, _, text in pages.values()))
    assert [row["id"] for row in all_rows("topics") if grams(row["text"], 8) & prose] == []


def test_opinions_are_as_rough_as_real_ones():
    texts = [row["text"] for row in all_rows("opinions")]
    without_marks = sum(text.isascii() and len(text) > 20 for text in texts)
    with_emoji = sum(bool(re.search("[\U0001f300-\U0001faff⭐❤☹]|:\\)|:\\(|=\\)", text)) for text in texts)
    slang = sum(bool(SLANG & set(words(text))) for text in texts)
    assert min(without_marks, with_emoji, slang) >= len(texts) // 20


@pytest.mark.parametrize("name", SETS)
def test_a_baseline_neither_fails_nor_saturates(name):
    train, test = split_rows(name, "train"), split_rows(name, "test")
    labels = sorted({row["label"] for row in train})
    gold = np.array([labels.index(row["label"]) for row in train])
    prepared = prepare([row["text"] for row in train], Features(), binary=False)
    model = fit_tfidf_lr(prepared, gold, labels, PUBLISHED_C["tfidf-lr"])
    wanted = np.array([labels.index(row["label"]) for row in test])
    predicted = model.predict_proba([row["text"] for row in test]).argmax(1)
    assert 0.6 < macro_f1(wanted, predicted, len(labels)) < 0.97
