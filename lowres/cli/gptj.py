"""gptj info, convert, generate: checkpoints of GPT-J, as others publish them. gptj plan: what its training takes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lowres.cli.options import EXIT_FAULT, RecipeName, Set
from lowres.errors import RecipeError

app = typer.Typer(help="Checkpoints of GPT-J, and what its training takes.", no_args_is_help=True)
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


@app.command()
def generate(
    source: Source,
    prompts: Annotated[list[str] | None, typer.Option("--prompt", help="Text to go on from; repeatable.")] = None,
    tokens: Annotated[int, typer.Option(help="At most so many tokens a text.")] = 60,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="0: all tokens.")] = 0,
    top_p: Annotated[float, typer.Option(help="Nucleus: the likeliest tokens that hold this probability.")] = 0.95,
    repetition_penalty: Annotated[float, typer.Option(help="Over 1: tokens that stand there are less likely.")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(help="A text ends before this; repeatable.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Texts for each prompt, by seed, seed + 1, ...")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal text.")] = 0,
    int8: Annotated[bool, typer.Option("--int8", help="Matrices of 8 bits: a quarter of the memory.")] = False,
    offload: Annotated[
        str | None, typer.Option(help="host: layers stay in the host's memory, for a device too small for them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a text: prompt, seed, text.")] = False,
    config: ConfigFile = None,
) -> None:
    """Let a checkpoint go on from prompts, all at once; without --prompt from each line of standard input."""
    import json
    import sys

    from lowres.experiment.jobs import imported

    if offload not in (None, "host"):
        raise RecipeError(f"--offload is {offload!r}; it is 'host'")
    room = "lowres.families.gptj.generate"
    sampling = imported(f"{room}:Sampling")(temperature, top_k, top_p, repetition_penalty, tuple(stop or ()))
    generator = imported(f"{room}:load_any")(source, config, int8, offload)
    given = prompts if prompts is not None else [line.rstrip("\r\n") for line in sys.stdin]
    asked = [(prompt, seed + place) for prompt in given for place in range(samples)]
    texts = generator.generate_batch([p for p, _ in asked], tokens, sampling, [s for _, s in asked])
    for (prompt, of_seed), text in zip(asked, texts, strict=True):
        line = {"prompt": prompt, "seed": of_seed, "text": text}
        typer.echo(json.dumps(line, ensure_ascii=False) if as_json else text)


@app.command()
def plan(
    recipe: RecipeName,
    method: Annotated[str | None, typer.Argument(metavar="[METHOD]", help="Default: the only one of GPT-J.")] = None,
    tpu: Annotated[
        str | None, typer.Option(help="A slice of TPUs: v2-8, v3-8, v3-32, v4-8, v5e-8, v6e-8, v5p-8.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="The memory of a GPU: 11GB, 24GB, 80GB.")] = None,
    shape: Annotated[str | None, typer.Option(help="Where init is not here: gptj-6b, or a config.json.")] = None,
    overrides: Set = None,
    search: Annotated[bool, typer.Option(help="Look for the nearest setting that fits.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="All that was found, as one JSON object.")] = False,
) -> None:
    """Compile a method's training steps for a machine that is not here: whether they fit, and how fast they may be.

    Exit code 1 where one does not fit.
    """
    import json

    from lowres.families.gptj.planning import asking
    from lowres.families.gptj.planning.slices import gpu_bytes, slice_of

    if (tpu is None) == (gpu is None):
        raise RecipeError("name one machine: --tpu SLICE, e.g. v3-8, or --gpu MEMORY, e.g. 24GB")
    machine = {"tpu": slice_of(tpu).name} if tpu is not None else {"gpu": gpu_bytes(str(gpu))}
    asked = _asked(recipe, overrides or [], method, shape, {**machine, "search": search})
    found = asking.found(asked, lambda line: typer.echo(line, err=True))
    for line in [json.dumps(found)] if as_json else asking.lines(found, asked):
        typer.echo(line)
    if not all(one["fits"] for one in found["found"]):
        raise typer.Exit(EXIT_FAULT)


def _asked(recipe: str, overrides: list[str], method: str | None, shape: str | None, more: dict[str, Any]) -> Any:
    """A recipe's trainings; its data are not read. Raises RecipeError where it has no such method of this family."""
    from lowres.families.gptj.planning.asked import Asked, ids_of, shape_of, trainings
    from lowres.recipe import load_recipe

    loaded = load_recipe(recipe, overrides)
    ours = {name: block for name, block in loaded.recipe.methods.items() if block.family == "gptj"}
    if method is None and len(ours) > 1:
        raise RecipeError(f"{loaded.name} has several methods of gptj; name one: {', '.join(ours)}")
    name = next(iter(ours), None) if method is None else method
    if name not in ours:
        said = f"{loaded.name} has no method {method!r} of gptj" if method else f"{loaded.name} has no method of gptj"
        raise RecipeError(f"{said}; it has {', '.join(ours) or 'none'}")
    own = ids_of(loaded.recipe.tokenizer) if loaded.corpus or loaded.recipe.tokenizer.kind == "hf" else None
    sizes = None if shape is None else shape_of(shape)
    found = trainings(ours[name], f"methods.{name}", own, sizes, bool(loaded.tasks))
    return Asked(trainings=tuple(found), mesh=loaded.recipe.run.mesh, **more)
