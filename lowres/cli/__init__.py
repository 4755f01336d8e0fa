"""The command line: typer commands, each a few lines over the API. Frameworks are imported by the workers only."""

import sys

import typer

from lowres.cli import bring, compare, corpus, doctor, gptj, look, models, use, write
from lowres.cli.options import EXIT_FAULT, EXIT_STOPPED, EXIT_USAGE
from lowres.errors import LowresError, RecipeError, Stopped

app = typer.Typer(
    help="lowres: for your language, your labels and your budget, which transfers better, and how sure are we?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
tasks = typer.Typer(help="A user's own labelled data.", no_args_is_help=True)

app.command()(compare.run)
app.command()(compare.plan)
app.command()(compare.check)
app.command()(compare.report)
app.command()(compare.logs)
app.command()(write.new)
app.command()(bring.fetch)
app.command(name="ls")(look.list_names)
app.command()(doctor.doctor)
app.command()(use.predict)
app.command()(use.generate)
app.command()(use.export)
tasks.command(name="add")(write.task_add)
app.add_typer(tasks, name="task")
app.add_typer(corpus.app, name="corpus")
app.add_typer(models.app, name="model")
app.add_typer(gptj.app, name="gptj")


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version.")
) -> None:
    if version:
        from lowres import __version__

        typer.echo(f"lowres {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line. A user's fault is one line a fault on standard error and a non-zero exit."""
    try:
        app()
    except Stopped as stopped:
        print(f"lowres: {stopped}", file=sys.stderr)
        sys.exit(EXIT_STOPPED)
    except LowresError as error:
        for line in str(error).splitlines():
            print(f"lowres: {line}", file=sys.stderr)
        sys.exit(EXIT_USAGE if isinstance(error, RecipeError) else EXIT_FAULT)
