"""ls: what there is."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def list_names(
    what: Annotated[str, typer.Argument(help="recipes, cards or runs; nothing: all three.")] = "",
) -> None:
    """List recipes, cards and runs by name."""
    from lowres.cards import names_of
    from lowres.errors import RecipeError

    kinds: dict[str, Literal["recipes", "corpora"]] = {"recipes": "recipes", "cards": "corpora"}
    if what not in ("", "runs", *kinds):
        raise RecipeError(f"ls {what}: it lists recipes, cards or runs")
    for title, kind in kinds.items():
        if what in ("", title):
            typer.echo(f"{title}:")
            for name, path in sorted(names_of(kind).items()):
                typer.echo(f"  {name:40} {path}")
    if what in ("", "runs"):
        typer.echo("runs:")
        for plan in sorted(Path("runs").glob("*/plan.json")):
            typer.echo(f"  {plan.parent.name:40} {plan.parent}")
