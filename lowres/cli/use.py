"""predict, generate and export: using what a run trained."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lowres.cli.options import RunName, StoreFolder
from lowres.errors import DataError


def run_folder(name: str) -> Path:
    """The folder of a run given by path or by name below runs/. Raises DataError where there is none."""
    for folder in (Path(name), Path("runs") / name):
        if (folder / "plan.json").is_file():
            return folder
    known = sorted(path.parent.name for path in Path("runs").glob("*/plan.json"))
    hint = f"runs here: {', '.join(known)}" if known else "no run was made here yet: lowres run RECIPE"
    raise DataError(f"{name}: no run of that name or path; {hint}")


Task = Annotated[str | None, typer.Option(help="The task, where the run has several.")]
TrainSize = Annotated[str | None, typer.Option(help="Labels it was trained on.")]
Subset = Annotated[int | None, typer.Option(help="The draw of labels.")]
Seed = Annotated[int | None, typer.Option(help="The classifier's seed.")]


def predict(
    source: Annotated[str, typer.Argument(metavar="RUN|FOLDER", help="A run, or a folder of lowres export.")],
    method: Annotated[str | None, typer.Argument(help="A method of the run.")] = None,
    task: Task = None,
    train_size: TrainSize = None,
    subset: Subset = None,
    seed: Seed = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="By an exported folder's ONNX graphs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines with the probability of every label.")] = False,
) -> None:
    """Label each line of standard input with a stored classifier: label, tab, probability.

    Of a multi-label classifier a line has all its labels, the most probable first; it may be empty.
    """
    from lowres.api import load_classifier
    from lowres.packages import is_package

    if method is None and is_package(Path(source)):
        folder = Path(source)
    elif method is None:
        raise DataError(f"{source}: not a folder of lowres export; of a run name the method: lowres predict RUN METHOD")
    else:
        from lowres.experiment.keep import choose_classifier

        chosen = choose_classifier(run_folder(source), method, task, train_size, subset, seed)
        folder = chosen.folder
        print(f"lowres: {chosen.described}", file=sys.stderr)
    classifier = load_classifier(folder, onnx=onnx)
    lines = [line.rstrip("\r\n") for line in sys.stdin]
    for row in classifier.predict_proba(lines):
        chosen = classifier.chosen(row)
        if as_json:
            every = {label: round(float(p), 6) for label, p in zip(classifier.labels, row, strict=True)}
            print(json.dumps({"labels": [one.label for one in chosen], "probabilities": every}, ensure_ascii=False))
        else:
            print("\t".join(f"{one.label}\t{one.probability:.4f}" for one in chosen))


def export(
    run_name: RunName,
    method: Annotated[str, typer.Argument(help="A method of the run.")],
    out: Annotated[Path | None, typer.Option(help="The new folder. Default: exports/RUN-METHOD.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Matrices of 8 bits: a quarter of the size, faster.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="ONNX graphs beside the weights.")] = False,
    lm: Annotated[bool, typer.Option("--lm", help="The method's language model, as init reads it.")] = False,
    task: Task = None,
    train_size: TrainSize = None,
    subset: Subset = None,
    seed: Seed = None,
    store: StoreFolder = None,
) -> None:
    """Put a run's classifier or language model into one folder: weights, tokenizer, checksums, model card."""
    from lowres.experiment.keep import choose_classifier
    from lowres.export import export_classifier, export_language_model
    from lowres.families.contract import Packing

    run = run_folder(run_name)
    target = out or Path("exports") / f"{run.name}-{method}{'-lm' if lm else ''}"
    if lm and (int8 or onnx):
        raise DataError("--int8 and --onnx are for classifiers; a language model is exported in float32")
    if lm:
        from lowres.api import open_store

        done = export_language_model(run, method, open_store(store), target)
    else:
        chosen = choose_classifier(run, method, task, train_size, subset, seed)
        print(f"lowres: {chosen.described}", file=sys.stderr)
        done = export_classifier(run, chosen, target, Packing(int8, onnx))
    print(f"{done.folder}   {done.bytes / 1e6:.1f} MB")


def generate(
    run_name: RunName,
    method: Annotated[str, typer.Argument(help="A method of the run that has a language model.")],
    prompt: Annotated[str, typer.Option(help="Text to go on from.")] = "",
    tokens: Annotated[int, typer.Option(help="At most so many tokens.")] = 60,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="0: all tokens.")] = 50,
    top_p: Annotated[float, typer.Option(help="Nucleus: the likeliest tokens that hold this probability.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal text.")] = 0,
    int8: Annotated[bool, typer.Option("--int8", help="By matrices of 8 bits, which is faster.")] = False,
    store: StoreFolder = None,
) -> None:
    """Let a run's language model go on from a prompt."""
    from lowres.api import load_generator, open_store
    from lowres.cards import read_toml
    from lowres.experiment.keep import model_record
    from lowres.text.normalise import Normalisation, normalise

    folder = run_folder(run_name)
    record = model_record(folder, method)
    opened = open_store(store)
    if not opened.has(record.id):
        raise DataError(f"{method}: its language model is not in the store {opened.root}; name its store with --store")
    origin = f"{record.architecture}, {record.parameters / 1e6:.1f} M parameters, {record.origin}"
    print(f"lowres: {origin}", file=sys.stderr)
    policy = Normalisation.model_validate(read_toml(folder / "recipe.toml").get("normalisation", {}))
    start = normalise(prompt, policy)
    generator = load_generator(opened.path(record.id), int8=int8)
    print(generator.generate(start, tokens, temperature, top_k, top_p, seed))
