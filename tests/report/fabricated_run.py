"""A run folder as a run leaves it, fabricated from records: four methods, two train sizes and all, 3 subsets x 2 seeds,
300 test items, one failed cell and one that was never tried. Labels and names hold what HTML and Markdown trip over.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowres.artifacts import Cost, write_json
from lowres.experiment.records import (
    CellRecord,
    CorpusRecord,
    LanguageModelRecord,
    MachineRecord,
    PlannedCell,
    PlanRecord,
    Record,
    TaskRecord,
)
from lowres.fingerprint import fingerprint

TASK = "vi/sentiment"
LABELS = ["<b>negative</b>", "neutral | mixed", "positive & glad"]
ITEMS, SUBSETS, SEEDS = 300, 3, 2
SIZES = (100, 1000, "full")
FULL = 11_426
SKILL = {
    "majority": (0.0, 0.0, 0.0),
    "tfidf": (0.52, 0.68, 0.76),
    "multifit": (0.66, 0.75, 0.80),
    "multifit-random": (0.42, 0.66, 0.78),
    "gptj-scratch": (0.50, 0.69, 0.75),
}
FAMILY = {"majority": "baselines", "tfidf": "baselines", "gptj-scratch": "gptj"}
METHODS = {
    "majority": {"family": "baselines", "model": "majority"},
    "tfidf": {"family": "baselines", "model": "tfidf-lr"},
    "multifit": {"family": "ulmfit", "init": "pretrain", "lm": {"cell": "qrnn", "epochs": 10}},
    "multifit-random": {"family": "ulmfit", "init": "random", "lm": {"cell": "qrnn", "epochs": 10}},
    "gptj-scratch": {"family": "gptj", "init": "pretrain", "size": "tiny"},
}
FAILED = ("gptj-scratch", 1000, 1, 0)
UNTRIED = ("gptj-scratch", 1000, 2, 1)
RECIPE = 'name = "vi-compare"\nlanguage = "vie"\ntrain_sizes = [100, 1000, "full"]  # <- and all\n'


def fabricate(folder: Path, methods: tuple[str, ...] = tuple(SKILL), faults: bool = True, plan: bool = True) -> Path:
    """Writes the run and returns its folder. Without `faults` every cell ends ok; without `plan` no plan is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    planned = [
        PlannedCell(
            cell=fingerprint([method, size, subset, seed])[:32],
            method=method,
            family=FAMILY.get(method, "ulmfit"),
            task=TASK,
            train_size=size,
            subset=subset,
            seed=seed,
        )
        for size in SIZES
        for subset in range(1 if size == "full" else SUBSETS)
        for method in methods
        for seed in range(SEEDS)
    ]
    for cell in planned:
        place = (cell.method, cell.train_size, cell.subset, cell.seed)
        if not (faults and place == UNTRIED):
            write_cell(folder, cell, "nan" if faults and place == FAILED else "ok")
    models = {name: fingerprint(name) for name in methods if name not in ("majority", "tfidf")}
    if plan:
        write(
            folder / "plan.json",
            PlanRecord(
                name="vi-compare",
                cells=planned,
                language="vie",
                methods={name: METHODS[name] for name in methods},
                language_models=models,
                tasks={TASK: "task-id"},
                corpus="corpus-id",
            ),
        )
    write_models(folder, models)
    write_materials(folder)
    return folder


def write(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record.model_dump(mode="json"))


def write_cell(folder: Path, cell: PlannedCell, status: str, attempt: int = 1) -> None:
    """One attempt, with its predictions where it ended ok."""
    used = FULL if cell.train_size == "full" else int(cell.train_size)
    scale = 1 + used / 1000
    record = CellRecord(
        **cell.model_dump(),
        attempt=attempt,
        labels_used=used,
        status=status,
        error=None if status == "ok" else "loss became <nan> at step 40; lower lm.lr",
        scores={split: {"macro_f1": 0.5, "accuracy": 0.6} for split in ("dev", "test")} if status == "ok" else {},
        cost=Cost(wall_s=4.2 * scale, cpu_s=8 * scale, peak_bytes=900_000_000, bytes_seen=int(80_000 * scale)),
        language_model=None if cell.family == "baselines" else fingerprint(cell.method),
        parameters={"majority": 3, "tfidf": 41_230}.get(cell.method, 6_020_000),
        artifacts={"predictions": f"p-{cell.cell}"},
        settings=METHODS[cell.method],
        finished=f"2026-05-01T10:00:{attempt:02}+00:00",
    )
    write(folder / "cells" / cell.cell / f"{attempt}.json", record)
    if status == "ok":
        write_predictions(folder / "predictions" / f"p-{cell.cell}", cell)


def write_predictions(folder: Path, cell: PlannedCell) -> None:
    """Right with the method's skill at this size, which varies by subset and seed; items have their own difficulty."""
    folder.mkdir(parents=True)
    items = np.random.default_rng(0)
    gold, difficulty = items.choice(3, ITEMS, p=[0.45, 0.1, 0.45]), items.normal(0, 0.3, ITEMS)
    own = np.random.default_rng(int(cell.cell[:8], 16))
    subset = np.random.default_rng([cell.subset, SIZES.index(cell.train_size)]).normal(0, 0.03)
    skill = SKILL[cell.method][SIZES.index(cell.train_size)] + subset + own.normal(0, 0.01)
    luck = items.uniform(0, 1, ITEMS) + own.normal(0, 0.03, ITEMS)
    right = luck < np.clip(skill + difficulty, 0.02, 0.98)
    guess = items.choice(3, ITEMS, p=[0.45, 0.1, 0.45])
    predicted = np.zeros(ITEMS, int) if cell.method == "majority" else np.where(right, gold, guess)
    table = {
        "id": [f"t{k}" for k in range(ITEMS)],
        "split": ["test"] * ITEMS,
        "label": [LABELS[k] for k in gold],
        "predicted": [LABELS[k] for k in predicted],
        "probabilities": pa.array([np.eye(3, dtype=np.float32)[k] for k in predicted], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    write_json(folder / "labels.json", LABELS)


def write_models(folder: Path, models: dict[str, str]) -> None:
    about = {
        "multifit": ("QRNN, 4 layers of 600", 6_020_000, "from scratch", 1.912),
        "multifit-random": ("QRNN, 4 layers of 600", 6_020_000, "random initialisation", None),
        "gptj-scratch": ("GPT-J, 4 layers of 256", 5_870_000, "from scratch", 2.034),
    }
    for name, identity in models.items():
        architecture, parameters, origin, bits = about[name]
        trained = Cost(wall_s=754, cpu_s=1400, peak_bytes=1_800_000_000, bytes_seen=140_000_000, tokens_seen=36_000_000)
        write(
            folder / "models" / f"{name}.json",
            LanguageModelRecord(
                id=identity,
                method=name,
                family="gptj" if "gptj" in name else "ulmfit",
                architecture=architecture,
                parameters=parameters,
                origin=origin,
                tokenizer="SentencePiece unigram",
                vocab_size=8000,
                bits_per_byte=bits,
                nats_per_token=None if bits is None else 5.1,
                fertility=None if bits is None else 1.31,
                tokens_per_byte=None if bits is None else 0.26,
                unknown_rate=None if bits is None else 0.00031,
                held_out_bytes=None if bits is None else 502_113,
                cost=Cost() if bits is None else trained,
            ),
        )


def write_materials(folder: Path) -> None:
    """The task, the corpus and the machine."""
    counts = {"train": (5200, 458, 5768), "dev": (705, 73, 805), "test": (135, 30, 135)}
    write(
        folder / "tasks" / "task-id.json",
        TaskRecord(
            id="task-id",
            name=TASK,
            language="vie",
            labels=LABELS,
            counts={split: dict(zip(LABELS, numbers, strict=True)) for split, numbers in counts.items()},
            share_of_bytes_cut=0.0031,
            licence="CC BY-NC-SA 4.0 <https://example.org/licence>",
            statement="Feedback of students at a Vietnamese university, in Vietnamese (Latin script), 2013 to 2016.",
            audit={
                "test_in_train": {"count": 6, "of": 300, "examples": ["t1", "t2", "t3"]},
                "dev_in_train": {"count": 0, "of": 1583, "examples": []},
                "test_in_corpus": {"count": 1, "of": 212, "examples": ["t7"]},
                "ngram": 13,
            },
        ),
    )
    write(
        folder / "corpora" / "corpus-id.json",
        CorpusRecord(
            id="corpus-id",
            name="vi/wikipedia-2023-head",
            language="vie",
            facts={
                "documents": {"train": 10_210, "valid": 561, "test": 548},
                "bytes": {"train": 40_112_003, "valid": 2_120_400, "test": 2_099_310},
                "funnel": [
                    {"reason": "redirect", "pages": 3104, "example_ids": [12, 40, 77]},
                    {"reason": "stub <template>", "pages": 8210, "example_ids": [3, 5, 8]},
                ],
            },
            licence="CC BY-SA 4.0",
            statement="Articles of the Vietnamese Wikipedia as of 2023; about half were written by bots.",
            cost=Cost(wall_s=61, peak_bytes=700_000_000),
        ),
    )
    write(
        folder / "machine.json",
        MachineRecord(
            command="lowres run recipes/vi/compare.toml --offline",
            date="2026-05-01",
            processor="AMD EPYC 7B13 (avx2)",
            cores=2,
            memory_bytes=16_000_000_000,
            platform="Linux-6.1-x86_64",
            versions={"lowres": "0.1.0", "python": "3.11.9", "torch": "2.12.0", "jax": "0.10.1"},
            threads=1,
            wall_s=3184.0,
        ),
    )
