"""ls: what there is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer


def list_names(
    what: Annotated[str, typer.Argument(help="recipes, cards, presets or runs; nothing: all four.")] = "",
    name: Annotated[str, typer.Argument(help="A preset, whose TOML is printed.")] = "",
) -> None:
    """List recipes, cards, presets and runs by name, or print a preset."""
    from lowres.errors import RecipeError
    from lowres.families.presets import find_preset

    kinds = _kinds()
    if what and what not in kinds:
        raise RecipeError(f"ls {what}: it lists recipes, cards, presets or runs")
    if name and what != "presets":
        raise RecipeError(f"ls {what} {name}: it prints presets alone: lowres ls presets NAME")
    if name:
        typer.echo(find_preset(name).read_text(encoding="utf-8"), nl=False)
        return
    for title, named in kinds.items():
        if what in ("", title):
            typer.echo(f"{title}:")
            for found, about in sorted(named().items()):
                typer.echo(f"  {found:40} {about}")


def _kinds() -> dict[str, Callable[[], Mapping[str, object]]]:
    """What can be listed: names, each with a file or a line."""
    from lowres.cards import names_of
    from lowres.families.presets import described, presets

    return {
        "recipes": lambda: names_of("recipes"),
        "cards": lambda: names_of("corpora"),
        "presets": lambda: {name: described(path) for name, path in presets().items()},
        "runs": lambda: {plan.parent.name: plan.parent for plan in Path("runs").glob("*/plan.json")},
    }
