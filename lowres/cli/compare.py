"""run, plan, check, report, logs: from a recipe to a comparison."""

import time
from pathlib import Path
from typing import Annotated

import typer

from lowres.cli.options import EXIT_CELLS_FAILED, Mirror, Offline, RecipeName, RunName, Runs, Set, StoreFolder, Until
from lowres.errors import DataError, RecipeError


def run(
    recipe: RecipeName,
    overrides: Set = None,
    store: StoreFolder = None,
    mirror: Mirror = None,
    offline: Offline = False,
    until: Until = None,
    runs: Runs = Path("runs"),
) -> None:
    """Run a recipe: from raw data to a table here and a report.html. Run again, it goes on where it was."""
    from rich.console import Console

    from lowres import api
    from lowres.cli.live import Watcher
    from lowres.recipe import load_recipe
    from lowres.report.page import write_report
    from lowres.report.results import load_results
    from lowres.report.summary import summarise
    from lowres.report.terminal import print_terminal

    started = time.monotonic()
    console = Console(highlight=False)
    planned = api.plan(load_recipe(recipe, overrides or []), _stage(until))
    where = api.Where(store, mirror or [], offline, runs)
    with Watcher(console) as watcher:
        folder, outcome = api.execute(planned, where, watcher, watcher.fetched)
    summary = summarise(load_results(folder))
    page = write_report(folder, summary)
    print_terminal(summary.results, console, summary)
    console.print(f"report: {page}   ({time.monotonic() - started:.0f} s)", soft_wrap=True)
    if outcome.errors:
        for line in outcome.errors:
            console.print(f"failed: {line}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_CELLS_FAILED)


def plan(recipe: RecipeName, overrides: Set = None, store: StoreFolder = None, until: Until = None) -> None:
    """Show what a run would do: its stages, what is cached and what is new. Nothing is computed."""
    from rich.console import Console

    from lowres import api
    from lowres.cli.live import plan_table
    from lowres.experiment.plan import walk_back
    from lowres.recipe import load_recipe

    planned = api.plan(load_recipe(recipe, overrides or []), _stage(until))
    missing = walk_back(planned.wanted(), api.open_store(store))
    Console(highlight=False).print(plan_table(planned, missing))


def check(
    recipe: RecipeName,
    overrides: Set = None,
    store: StoreFolder = None,
    mirror: Mirror = None,
    offline: Offline = False,
) -> None:
    """Check a recipe and its cards: every fault at once, and whether the data is at hand."""
    from rich.console import Console

    from lowres import api
    from lowres.cli.live import plan_table
    from lowres.experiment.plan import walk_back
    from lowres.fetch import Finder, all_mirrors
    from lowres.recipe import load_recipe

    planned = api.plan(load_recipe(recipe, overrides or []))
    opened = api.open_store(store)
    finder = Finder(opened, all_mirrors(mirror), offline)
    faults = []
    for raw in planned.raw_files.values():
        try:
            place = finder.locate(raw.card, raw.card_path, raw.file)
        except DataError as error:
            faults.append(str(error))
            continue
        typer.echo(f"{raw.card.name} ({raw.file.role}): {place}")
    if faults:
        raise RecipeError(faults)
    Console(highlight=False).print(plan_table(planned, walk_back(planned.wanted(), opened)))
    typer.echo(f"{planned.loaded.name}: no fault found")


def report(run_name: RunName) -> None:
    """Write the report of a run again from its records, and print its table."""
    from rich.console import Console

    from lowres.cli.use import run_folder
    from lowres.report.page import write_report
    from lowres.report.results import load_results
    from lowres.report.summary import summarise
    from lowres.report.terminal import print_terminal

    folder = run_folder(run_name)
    console = Console(highlight=False)
    summary = summarise(load_results(folder))
    page = write_report(folder, summary)
    print_terminal(summary.results, console, summary)
    console.print(f"report: {page}", soft_wrap=True)


def logs(
    run_name: RunName,
    store: StoreFolder = None,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", metavar="DIR", help="Write TensorBoard scalars there, too.")
    ] = None,
) -> None:
    """Show how far the trainings of a run are, or how they ended: steps, learning rate and losses."""
    from rich.console import Console

    from lowres import api
    from lowres.cli.live import trainings_table
    from lowres.cli.use import run_folder
    from lowres.experiment.logs import trainings, write_tensorboard
    from lowres.recipe import load_recipe

    planned = api.plan(load_recipe(run_folder(run_name) / "recipe.toml"))
    found = list(trainings(planned, api.open_store(store)))
    if not found:
        raise DataError(f"{run_name}: no training of this run has a log in the store; name its store with --store")
    if tensorboard:
        write_tensorboard(found, tensorboard)
    Console(highlight=False).print(trainings_table(found))


def _stage(until: str | None) -> str | None:
    from lowres.experiment.plan import LAST_STAGES

    if until is not None and until not in LAST_STAGES:
        raise RecipeError(f"--until {until}: it is one of {', '.join(LAST_STAGES)}")
    return until
