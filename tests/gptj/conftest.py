"""A tiny tokenizer, corpus and task, made once for the room's tests."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowres.artifacts import Run
from lowres.tokenizers.spec import Subword
from lowres.tokenizers.subword import train_subword

PLACES = ["Riga", "Daugavpils", "Rezekne", "Ludza", "Balvi", "Preili"]
THINGS = ["river", "market", "church", "school", "forest", "lake", "museum", "bridge"]
GOOD = ["good", "fine", "lovely", "excellent"]
BAD = ["bad", "poor", "dreadful", "awful"]


def sentences(count, seed, adjectives):
    draw = np.random.default_rng(seed)
    return [
        f"The {draw.choice(THINGS)} of {draw.choice(PLACES)} is {draw.choice(adjectives)} and the "
        f"{draw.choice(THINGS)} near it is {draw.choice(adjectives)} too."
        for _ in range(count)
    ]


def write_corpus(folder: Path) -> None:
    folder.mkdir()
    for number, split in enumerate(("train", "valid", "test")):
        texts = [" ".join(sentences(6, 10 * number + i, GOOD + BAD)) for i in range(40 if split == "train" else 4)]
        rows = [
            {"id": i, "title": "", "text": t, "bytes": len(t.encode()), "split": split} for i, t in enumerate(texts)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")


def write_task(folder: Path) -> None:
    folder.mkdir()
    rows = []
    for number, (split, count) in enumerate((("train", 60), ("dev", 20), ("test", 20))):
        for label, adjectives in (("bad", BAD), ("good", GOOD)):
            for text in sentences(count // 2, 100 + 2 * number + (label == "bad"), adjectives):
                name = f"{split}-{len(rows)}"
                rows.append({"id": name, "split": split, "label": label, "text": text, "group": None})
    schema = pa.schema([(name, pa.string()) for name in ("id", "split", "label", "text", "group")])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "documents.parquet")
    facts = {"name": "toy", "kind": "classification", "language": "eng", "labels": ["bad", "good"], "max_chars": 500}
    facts["normalisation"] = {"unicode": "NFC", "straight_quotes": False, "lowercase": False}
    (folder / "task.json").write_text(json.dumps(facts))


@pytest.fixture(scope="session")
def rooms(tmp_path_factory):
    """A folder with the artifacts `corpus`, `tokenizer`, `packed`, `task` and `subset`, and a maker of runs."""
    from lowres.artifacts import Manifest, write_json
    from lowres.tokenizers.spec import PackSpec
    from lowres.tokenizers.stages import pack_tokens

    base = tmp_path_factory.mktemp("gptj")
    write_corpus(base / "corpus")
    write_task(base / "task")
    texts = pq.read_table(base / "corpus" / "train.parquet").column("text").to_pylist()
    (base / "tokenizer").mkdir()
    train_subword(texts * 20, Subword(vocab_size=300, byte_fallback=True), "eng").save(base / "tokenizer")
    run = Run(base / "packed", base / "work", seed=0)
    run.out.mkdir()
    pack_tokens({"corpus": base / "corpus", "tokenizer": base / "tokenizer"}, PackSpec(), run)
    manifest = dict.fromkeys(("id", "stage", "lowres", "created"), "") | dict.fromkeys(("spec", "inputs", "files"), {})
    manifest = Manifest(version=1, facts=run.facts, cost={}, **manifest)
    write_json(base / "packed" / "manifest.json", manifest.model_dump(mode="json"))
    rows = pq.read_table(base / "task" / "documents.parquet").to_pylist()
    (base / "subset").mkdir()
    kept = [{"id": row["id"], "split": row["split"]} for row in rows if row["split"] != "test"]
    pq.write_table(pa.Table.from_pylist(kept), base / "subset" / "subset.parquet")
    return base


@pytest.fixture(scope="session")
def pretrained(rooms, tmp_path_factory):
    """(folder, facts) of a language model trained on the tiny corpus."""
    from lowres.families.gptj import stages
    from lowres.families.gptj.settings import PretrainSpec

    base = tmp_path_factory.mktemp("pretrained")
    run = Run(base, base, seed=0)
    sizes = {"n_layer": 1, "n_embd": 32, "n_head": 2, "rotary_dim": 8, "n_ctx": 32}
    inputs = {"packed": rooms / "packed", "tokenizer": rooms / "tokenizer"}
    stages.pretrain_lm(inputs, PretrainSpec(**sizes, batch_size=8, epochs=3.0, lr=3e-3, seed=0), run)
    return base, run.facts


@pytest.fixture
def new_run(tmp_path):
    """A maker of runs, each with an empty out folder; the same work folder for the same name."""
    made = []

    def make(work: str = "work", **options) -> Run:
        out = tmp_path / f"out-{len(made)}"
        out.mkdir()
        made.append(out)
        (tmp_path / work).mkdir(exist_ok=True)
        return Run(out, tmp_path / work, seed=0, **options)

    return make
