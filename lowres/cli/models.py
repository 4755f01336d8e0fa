"""model import and info: language models that others trained, and what is in a folder."""

from pathlib import Path
from typing import Annotated

import typer

from lowres.errors import DataError

app = typer.Typer(help="Models in folders.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Unpacked: of fastai, MultiFiT or fastai_ulmfit.")]


@app.command(name="import")
def import_model(
    source: Folder, out: Annotated[Path, typer.Argument(help="The new folder, for init in a recipe.")]
) -> None:
    """Read an AWD-LSTM or QRNN language model in a layout of others, and write it as lowres reads it."""
    for line in _importer()(source, out):
        typer.echo(line)
    typer.echo(f'{out}   (in a recipe: init = "{out}")')


@app.command()
def info(source: Folder) -> None:
    """Say what a folder holds: a package of lowres, whose checksums are checked, or a model that can be imported."""
    from lowres.packages import is_package, open_package

    if not is_package(source):
        for line in _importer()(source, None):
            typer.echo(line)
        return
    package = open_package(source)
    typer.echo(f"{package.kind}, family {package.family}, lowres {package.lowres}; every checksum is right")
    for name in package.files:
        typer.echo(f"  {name:40} {(source / name).stat().st_size:,}")


def _importer():
    from lowres.experiment.jobs import imported
    from lowres.families import family

    importer = family("ulmfit").importer
    if importer is None:
        raise DataError("no family reads models of others")
    return imported(importer)
