"""doctor: what this machine has and lacks."""

from typing import Annotated

import typer

from lowres.cli.options import StoreFolder


def doctor(
    store: StoreFolder = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Measure matrix products and kernels too; half a minute.")
    ] = False,
) -> None:
    """Show versions, devices, threads, kernels and disk; name what is missing and the command that adds it."""
    from lowres.api import open_store
    from lowres.doctor import findings

    for name, found in findings(open_store(store).root, benchmark):
        typer.echo(f"{name:16} {found}")
