"""gptj info and convert: checkpoints of GPT-J, as others publish them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lowres.errors import RecipeError

app = typer.Typer(help="Checkpoints of GPT-J.", no_args_is_help=True)
Source = Annotated[str, typer.Argument(metavar="SRC", help="A folder, or an fsspec URL of mesh-transformer-jax.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A config.json that stands in for the folder's.")]
DTYPES = ("float32", "bfloat16", "float16")


@app.command()
def info(source: Source, config: ConfigFile = None) -> None:
    """Say what a checkpoint is, how large, and what is missing or wrong; its weights are not read."""
    from lowres.families.gptj.checkpoints.convert import info as described
    from lowres.families.gptj.checkpoints.convert import raise_faults

    lines, faults = described(source, config)
    for line in lines:
        typer.echo(line)
    raise_faults(faults)


@app.command()
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(metavar="DST", help="The new folder.")],
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16. Default: the source's.")] = None,
    shard_size: Annotated[str, typer.Option(help="The largest file: 500MB, 5GB.")] = "5GB",
    config: ConfigFile = None,
) -> None:
    """Write a checkpoint of any layout as a folder of transformers: config.json and *.safetensors."""
    from lowres.families.gptj.checkpoints.convert import convert as converted

    chosen: Any = dtype
    if dtype not in (None, *DTYPES):
        raise RecipeError(f"--dtype is {dtype!r}; it is one of {', '.join(DTYPES)}")
    for line in converted(source, target, chosen, shard_size, config):
        typer.echo(line)
