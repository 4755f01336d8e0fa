"""A small real corpus (the articles of the mini corpus), its tokenizer and packed tokens, a toy task, and runs."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowres.artifacts import Run, write_json
from lowres.families.ulmfit.kernels import kernels
from lowres.text.normalise import Normalisation, normalise
from lowres.tokenizers.spec import PackSpec, Subword, TokenizerSpec
from lowres.tokenizers.stages import pack_tokens, train_tokenizer

GOOD = ("tuyệt vời", "rất hay", "dễ hiểu", "nhiệt tình")
BAD = ("nhàm chán", "khó hiểu", "quá tệ", "lộn xộn")
FILLERS = ("giảng viên", "bài giảng", "môn học", "phòng máy", "tài liệu", "buổi học", "thầy", "cô")


class Steps:
    """A stop flag that is raised at the n-th question, and the facts of a run's progress."""

    def __init__(self, stop_after: int | None):
        self.left, self.reports = stop_after, 0

    def progress(self, done: float, total: float, unit: str, note: str) -> None:
        assert 0 <= done <= total
        self.reports += 1

    def stop(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """new_run(name, stop_after=None): a Run with a fresh `out`; runs of one name share their `work`."""
    made: list[str] = []

    def make(name: str, stop_after: int | None = None) -> Run:
        out, work = tmp_path / f"{name}-out-{len(made)}", tmp_path / f"{name}-work"
        made.append(name)
        out.mkdir()
        work.mkdir(exist_ok=True)
        steps = Steps(stop_after)
        return Run(out=out, work=work, seed=0, on_progress=steps.progress, stop_requested=steps.stop)

    return make


def _table(rows: list[dict], path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    articles = sorted((repository / "corpora/vi/mini/source/articles").glob("*.wiki"))[:18]
    assert len(articles) == 18
    texts = [normalise(path.read_text(encoding="utf-8"), Normalisation())[:1500] for path in articles]
    for split, part in {"train": texts[:14], "valid": texts[14:16], "test": texts[16:]}.items():
        rows = [{"id": k, "title": "", "text": t, "bytes": len(t.encode()), "split": split} for k, t in enumerate(part)]
        _table(rows, folder / f"{split}.parquet")
    return folder


def _stage_run(folder: Path) -> Run:
    return Run(out=folder, work=folder, seed=0)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    spec = TokenizerSpec(subword=Subword(vocab_size=500), language="vie")
    train_tokenizer({"corpus": corpus}, spec, _stage_run(folder))
    return folder


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, corpus: Path, tokenizer: Path) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    pack_tokens({"corpus": corpus, "tokenizer": tokenizer}, PackSpec(), _stage_run(folder))
    return folder


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 train, 24 dev, 24 test texts of two labels that a single word tells apart."""
    folder = tmp_path_factory.mktemp("task")
    rows = []
    for split, count in {"train": 96, "dev": 24, "test": 24}.items():
        for k in range(count):
            words = (GOOD, BAD)[k % 2]
            filler = " ".join(FILLERS[(k + step * 3) % len(FILLERS)] for step in range(k % 5))
            text = f"{FILLERS[k % len(FILLERS)]} {words[k // 2 % 4]} {filler}".strip()
            label = ("tích cực", "tiêu cực")[k % 2]
            rows.append({"id": f"{split}{k}", "split": split, "label": label, "text": text, "group": None})
    columns = [(name, pa.string()) for name in ("id", "split", "label", "text", "group")]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), folder / "documents.parquet")
    about = {"name": "toy", "kind": "classification", "language": "vie", "labels": ["tiêu cực", "tích cực"]}
    write_json(folder / "task.json", {**about, "max_chars": 400, "normalisation": Normalisation().model_dump()})
    return folder


@pytest.fixture(scope="session")
def subset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subset")
    rows = [{"id": f"{split}{k}", "split": split} for split, n in {"train": 64, "dev": 16}.items() for k in range(n)]
    _table(rows, folder / "subset.parquet")
    return folder


@pytest.fixture(scope="session")
def built_kernels(built_kernels: None) -> None:
    """Built, and found by this room."""
    kernels.cache_clear()
