"""Writing a run's folder: records from manifests, one immutable file an attempt, each written whole or not at all."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel

from lowres import processor
from lowres.artifacts import Cost, Manifest, Node, write_json
from lowres.errors import DataError
from lowres.experiment.plan import Cell, Plan
from lowres.experiment.records import (
    CellRecord,
    CorpusRecord,
    LanguageModelRecord,
    MachineRecord,
    Status,
    TaskRecord,
)
from lowres.store import Store, disk_faults
from lowres.tokenizers.spec import READ_GPT2_TOKENIZER, READ_HF_TOKENIZER, TRAIN_WORD_TOKENIZER


class RunFolder:
    """`runs/NAME/`: see lowres.experiment.records for what lies where."""

    def __init__(self, root: Path, plan: Plan, store: Store):
        self.root, self.plan, self.store = root, plan, store

    def begin(self) -> None:
        """Makes the folder and writes the plan and the recipe as resolved, before anything is computed."""
        with disk_faults(str(self.root)):
            for name in ("cells", "models", "tasks", "corpora", "predictions", "classifiers"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            (self.root / "recipe.toml").write_text(_toml(self.plan.loaded.content), encoding="utf-8")
        _write(self.root / "plan.json", self.plan.record())

    def attempts(self, cell: Cell) -> list[CellRecord]:
        """All attempts at a cell, oldest first."""
        files = sorted((self.root / "cells" / cell.id).glob("*.json"), key=lambda path: int(path.stem))
        return [CellRecord.model_validate_json(path.read_text(encoding="utf-8")) for path in files]

    def write_cell(self, cell: Cell, status: Status, error: str | None = None) -> CellRecord:
        """Records an attempt at a cell; where it ended ok, its scores, cost and predictions are copied here."""
        folder = self.root / "cells" / cell.id
        folder.mkdir(exist_ok=True)
        number = 1 + max((int(path.stem) for path in folder.glob("*.json")), default=0)
        method = self.plan.loaded.recipe.methods[cell.method]
        model = self.plan.language_models.get(cell.method)
        nodes = {
            "classifier": cell.classifier,
            "predictions": cell.predictions,
            "scores": cell.scores,
            "subset": cell.subset_node,
        }
        made = self._facts(cell.classifier)
        record = CellRecord(
            cell=cell.id,
            attempt=number,
            method=cell.method,
            family=method.family,
            task=cell.task,
            train_size=cell.train_size,
            labels_used=self._facts(cell.subset_node).get("labels_used"),
            subset=cell.subset,
            seed=cell.seed,
            status=status,
            error=error,
            scores={split: self._facts(cell.scores).get(split, {}) for split in ("dev", "test")}
            if status == "ok"
            else {},
            cost=self._sum_of_costs(cell.classifier, cell.predictions),
            tuning=self._tuning_cost(cell.classifier),
            language_model=model.weights.id if model else None,
            **{name: made[name] for name in ("parameters", "prompt", "prompts") if name in made},
            artifacts={role: node.id for role, node in nodes.items()},
            settings=method.model_dump(mode="json"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if status == "ok":
            _mirror(self.store.path(cell.predictions.id), self.root / "predictions" / cell.predictions.id)
        _write(folder / f"{number}.json", record)
        return record

    def write_models(self) -> None:
        """Records every language model whose weights stand."""
        for name, model in self.plan.language_models.items():
            weights = self._manifest(model.weights)
            if weights is None:
                continue
            evaluated = self._facts(model.evaluation) if model.evaluation else {}
            tokenizer = self._tokenizer_facts(model.weights)
            record = LanguageModelRecord(
                id=model.weights.id,
                method=name,
                family=self.plan.loaded.recipe.methods[name].family,
                architecture=str(weights.facts.get("architecture", "unknown")),
                parameters=int(weights.facts.get("parameters", 0)),
                origin=str(weights.facts.get("origin", "unknown")),
                tokenizer=str(tokenizer.get("name", "unknown")),
                vocab_size=int(tokenizer.get("vocab_size", 0)),
                tokens_per_character=tokenizer.get("tokens_per_character"),
                segmented_fertility=tokenizer.get("segmented_fertility"),
                **{key: evaluated.get(key) for key in _EVALUATED},
                cost=weights.cost,
                facts=weights.facts,
            )
            _write(self.root / "models" / f"{name}.json", record)

    def write_inputs(self) -> None:
        """Records the corpus and every task that stands."""
        corpus = self.plan.corpus
        manifest = self._manifest(corpus) if corpus else None
        if corpus is not None and manifest is not None and self.plan.loaded.corpus is not None:
            card = self.plan.loaded.corpus[0]
            record = CorpusRecord(
                id=corpus.id,
                name=card.name,
                language=card.language,
                facts={**manifest.facts, "date": card.date, "source_sha256": card.texts[0].pinned},
                licence=card.licence,
                statement=card.statement,
                cost=manifest.cost,
            )
            _write(self.root / "corpora" / f"{corpus.id}.json", record)
        for task in self.plan.tasks:
            if not (self.store.has(task.read.id) and self.store.has(task.audit.id)):
                continue
            facts = self._facts(task.read)
            record = TaskRecord(
                id=task.read.id,
                name=task.name,
                language=task.card.language,
                kind=task.card.kind,
                labels=list(facts["labels"]),
                counts=facts["counts"],
                documents=facts.get("documents", {}),
                without_labels=facts.get("without_labels", {}),
                share_of_bytes_cut=facts["share_of_bytes_cut"],
                licence=task.card.licence,
                statement=task.card.statement,
                audit=self._facts(task.audit),
            )
            _write(self.root / "tasks" / f"{task.read.id}.json", record)

    def write_machine(self, command: str, threads: int, wall_s: float) -> None:
        """Records where and how this run was made."""
        _write(self.root / "machine.json", machine(command, threads, wall_s))

    def keep_classifier(self, cell: Cell) -> Path:
        """Puts the classifier of a cell into the run's folder (hard links where the file system has them)."""
        target = self.root / "classifiers" / cell.id
        _mirror(self.store.path(cell.classifier.id), target)
        return target

    def _manifest(self, node: Node) -> Manifest | None:
        """None where the artifact does not stand, or another run prunes it at this moment."""
        try:
            return Manifest.read(self.store.path(node.id))
        except DataError:
            return None

    def _facts(self, node: Node) -> dict[str, Any]:
        manifest = self._manifest(node)
        return manifest.facts if manifest else {}

    def _tokenizer_facts(self, weights: Node) -> dict[str, Any]:
        node = weights.inputs.get("tokenizer")
        facts = self._facts(node) if node else {}
        if node is None or not facts:
            return {}
        if node.stage is TRAIN_WORD_TOKENIZER:
            name = "words"
        elif node.stage is READ_HF_TOKENIZER:
            name = f"Hugging Face {facts.get('model', '')}"
        else:
            gpt2 = node.stage is READ_GPT2_TOKENIZER
            name = "GPT-2 BPE" if gpt2 else f"SentencePiece {node.spec.hashed()['subword']['model']}"
        measured = (found for found in self.plan.fertility if found.inputs["tokenizer"].id == node.id)
        return {"name": name, **facts, **next(map(self._facts, measured), {})}

    def _tuning_cost(self, classifier: Node) -> Cost | None:
        """Of the language models that were tuned for this classifier; None where none was."""
        tuned = [node for node in classifier.inputs.values() if node.stage.name.endswith(".tune_lm")]
        return self._sum_of_costs(*tuned) if tuned else None

    def _sum_of_costs(self, *nodes: Node) -> Cost:
        """Seconds add up, the peak is the highest; what does not stand counts nothing."""
        manifests = [self._manifest(node) for node in nodes]
        parts = [manifest.cost for manifest in manifests if manifest]
        return Cost(
            wall_s=sum(part.wall_s for part in parts),
            cpu_s=sum(part.cpu_s for part in parts),
            accelerator_s=sum(part.accelerator_s for part in parts),
            peak_bytes=max((part.peak_bytes for part in parts), default=0),
            bytes_seen=sum(part.bytes_seen for part in parts),
            tokens_seen=sum(part.tokens_seen for part in parts),
        )


_EVALUATED = ("bits_per_byte", "nats_per_token", "fertility", "tokens_per_byte", "unknown_rate", "held_out_bytes")


def machine(command: str, threads: int, wall_s: float) -> MachineRecord:
    """The machine that runs this, and the versions of what counts."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import psutil

    from lowres import __version__

    versions = {"lowres": __version__, "python": platform.python_version()}
    for name in ("torch", "fastai", "jax", "sentencepiece", "transformers", "datasets", "stanza", "scikit-learn"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return MachineRecord(
        command=command,
        date=datetime.now(UTC).date().isoformat(),
        processor=processor_name(),
        cores=processor.cores(),
        memory_bytes=psutil.virtual_memory().total,
        platform=platform.platform(),
        versions=versions,
        threads=threads,
        wall_s=round(wall_s, 1),
    )


def processor_name() -> str:
    """The processor's own name for itself, with the instruction sets that matter for matrix products."""
    fast = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in processor.flags()]
    return f"{processor.model()} ({', '.join(fast)})" if fast else processor.model()


def _toml(content: dict[str, Any]) -> str:
    """A recipe's content as TOML; method blocks made in Python are written as their fields."""

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json", exclude_none=True)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return tomli_w.dumps(plain(content))


def _write(path: Path, record: BaseModel) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with disk_faults(str(path)):
        write_json(partial, record.model_dump(mode="json"))
        partial.replace(path)


def _mirror(source: Path, target: Path) -> None:
    """`target` becomes a copy of `source`, by hard links where possible; whole or absent."""
    if target.is_dir():
        return
    building = target.with_name(f"{target.name}.{os.getpid()}.partial")
    shutil.rmtree(building, ignore_errors=True)
    with disk_faults(str(target)):
        try:
            shutil.copytree(source, building, copy_function=os.link)
        except (shutil.Error, OSError):
            shutil.rmtree(building, ignore_errors=True)
            shutil.copytree(source, building)
        building.rename(target)


def best_cells(folder: RunFolder, method: str | None = None) -> dict[tuple[str, str], tuple[Cell, CellRecord]]:
    """(method, task) -> its cell with the best dev macro-F1 (the first of equals) and that cell's record."""
    best: dict[tuple[str, str], tuple[Cell, CellRecord]] = {}
    for cell in folder.plan.cells:
        if method is not None and cell.method != method:
            continue
        record = next((record for record in reversed(folder.attempts(cell)) if record.status == "ok"), None)
        if record is None:
            continue
        key = (cell.method, cell.task)
        if key not in best or dev_score(record) > dev_score(best[key][1]):
            best[key] = (cell, record)
    return best


def dev_score(record: CellRecord) -> float:
    """What classifiers are chosen by: macro-F1 on dev; a task without dev counts as worst."""
    return record.scores.get("dev", {}).get("macro_f1", -1.0)
