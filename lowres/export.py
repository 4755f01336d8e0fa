"""Models as folders to pass on: what a run trained, with checksums and a model card, ready to be pushed to a hub."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowres.artifacts import Manifest
from lowres.errors import DataError
from lowres.experiment.jobs import imported
from lowres.experiment.keep import ChosenClassifier, model_record, ok_cells
from lowres.families import family
from lowres.families.contract import Packing
from lowres.packages import CARD, MANIFEST, new_folder, write_manifest
from lowres.report.model_card import classifier_card, language_model_card
from lowres.report.results import load_results
from lowres.report.summary import summarise
from lowres.store import Store


@dataclass(frozen=True)
class Exported:
    """A package and its size."""

    folder: Path
    bytes: int


def export_classifier(run: Path, chosen: ChosenClassifier, out: Path, packing: Packing) -> Exported:
    """Puts a run's classifier into the new folder `out`.

    Raises DataError where `out` exists, or the family knows no 8-bit or ONNX form.
    """
    own = family(chosen.cell.family)
    if own.exporter is None and (packing.int8 or packing.onnx):
        option = "--int8" if packing.int8 else "--onnx"
        raise DataError(f"{chosen.cell.method}: {option} is for methods of the family ulmfit; leave it out")
    with new_folder(out) as folder:
        if own.exporter is None:
            _copy(chosen.folder, folder)
        else:
            imported(own.exporter)(chosen.folder, folder, packing)
        card = classifier_card(summarise(load_results(run)), chosen.cell, _notes(packing))
        (folder / CARD).write_text(card, encoding="utf-8")
        origin = _origin(run, Manifest.read(chosen.folder)) | {"cell": chosen.cell.model_dump(mode="json")}
        write_manifest(folder, "classifier", chosen.cell.family, origin)
    return Exported(out, _size(out))


def export_language_model(run: Path, method: str, store: Store, out: Path) -> Exported:
    """Puts a method's language model, forward, backward or both, into the new folder `out`, as `init` reads it.

    Raises DataError where the method has none, or it is not in the store.
    """
    results = load_results(run)
    record = results.language_model(method) or model_record(run, method)
    places = {_way(store, record.id): record.id} | _of_classifiers(run, method, store)
    with new_folder(out) as folder:
        for way, artifact in places.items():
            _copy(_standing(store, artifact), folder / way if len(places) > 1 else folder)
        (folder / CARD).write_text(language_model_card(results, record, sorted(places)), encoding="utf-8")
        origin = _origin(run, Manifest.read(store.path(record.id))) | {"method": method, "artifacts": places}
        write_manifest(folder, "language-model", record.family, origin)
    return Exported(out, _size(out))


def _notes(packing: Packing) -> list[str]:
    notes = []
    if packing.int8:
        notes.append("Its matrices are rounded to 8 bits, a scale a row; the scores below are those before rounding.")
    if packing.onnx:
        notes.append("`forward.onnx`, `backward.onnx` hold the same network in float32 for onnxruntime.")
    return notes


def _standing(store: Store, artifact: str) -> Path:
    if not store.has(artifact):
        raise DataError(
            f"the language model {artifact[:12]} is not in the store {store.root}; name its store with --store"
        )
    return store.path(artifact)


def _way(store: Store, artifact: str) -> str:
    return Manifest.read(_standing(store, artifact)).spec.get("direction", "forward")


def _of_classifiers(run: Path, method: str, store: Store) -> dict[str, str]:
    """Direction -> language model before tuning, of the method's classifiers whose manifests are at hand."""
    found: dict[str, str] = {}
    for cell in ok_cells(run):
        path = run / "classifiers" / cell.cell
        if cell.method != method or not (path / MANIFEST).is_file():
            continue
        for role, artifact in Manifest.read(path).inputs.items():
            if role in ("lm_forward", "lm_backward"):
                manifest = Manifest.read(_standing(store, artifact))
                while "lm" in manifest.inputs:
                    artifact = manifest.inputs["lm"]
                    manifest = Manifest.read(_standing(store, artifact))
                found[role.removeprefix("lm_")] = artifact
    return found


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))


def _origin(run: Path, manifest: Manifest) -> dict[str, Any]:
    """What the package was made from."""
    wanted = {"id", "stage", "version", "spec", "inputs", "facts", "cost", "lowres", "created"}
    artifact = manifest.model_dump(mode="json", include=wanted)
    artifact["spec"].pop("path", None)  # a place on this machine
    return {"run": run.name, "artifact": artifact}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
