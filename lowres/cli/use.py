"""predict and generate: using what a run trained."""

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


def predict(
    run_name: RunName,
    method: Annotated[str, typer.Argument(help="A method of the run.")],
    task: Annotated[str | None, typer.Option(help="The task, where the run has several.")] = None,
    train_size: Annotated[str | None, typer.Option(help="Labels it was trained on.")] = None,
    subset: Annotated[int | None, typer.Option(help="The draw of labels.")] = None,
    seed: Annotated[int | None, typer.Option(help="The classifier's seed.")] = None,
) -> None:
    """Label each line of standard input with a stored classifier: label, tab, probability."""
    from lowres.api import load_classifier
    from lowres.experiment.keep import choose_classifier

    chosen = choose_classifier(run_folder(run_name), method, task, train_size, subset, seed)
    print(f"lowres: {chosen.described}", file=sys.stderr)
    lines = [line.rstrip("\r\n") for line in sys.stdin]
    for prediction in load_classifier(chosen.folder).predict(lines):
        print(f"{prediction.label}\t{prediction.probability:.4f}")


def generate(
    run_name: RunName,
    method: Annotated[str, typer.Argument(help="A method of the run that has a language model.")],
    prompt: Annotated[str, typer.Option(help="Text to go on from.")] = "",
    tokens: Annotated[int, typer.Option(help="At most so many tokens.")] = 60,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="0: all tokens.")] = 50,
    top_p: Annotated[float, typer.Option(help="Nucleus: the likeliest tokens that hold this probability.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal text.")] = 0,
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
    print(load_generator(opened.path(record.id)).generate(start, tokens, temperature, top_k, top_p, seed))
