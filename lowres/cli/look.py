"""ls and doctor: what there is, and what is missing."""

import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

from lowres.cli.options import StoreFolder


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


_EXTRAS = {
    "ray": ("a cluster executor", "pip install 'lowres[ray]'"),
    "jupyterlab": ("notebooks", "pip install 'lowres[notebooks]'"),
    "pytest": ("the tests", "pip install 'lowres[test]'"),
}
_NEEDED = ("fastai", "torch", "sentencepiece", "transformers", "jax", "datasets", "stanza", "scikit-learn", "pyarrow")


def doctor(store: StoreFolder = None) -> None:
    """Show versions, devices, threads and disk; name what is missing and the command that adds it."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import psutil

    from lowres import __version__
    from lowres.api import open_store
    from lowres.experiment.local import cores
    from lowres.experiment.results import processor_name

    def said(name: str, value: str) -> None:
        typer.echo(f"{name:16} {value}")

    said("lowres", __version__)
    said("python", platform.python_version())
    for name in _NEEDED:
        try:
            said(name, version(name))
        except PackageNotFoundError:
            said(name, "missing: pip install lowres")
    for name, (purpose, command) in _EXTRAS.items():
        try:
            said(name, version(name))
        except PackageNotFoundError:
            said(name, f"not installed, needed for {purpose} only: {command}")
    memory = psutil.virtual_memory()
    said("processor", processor_name())
    said("cores", f"{cores()} (a run uses run.threads each for as many workers as fit)")
    said("memory", f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free")
    said("gpu", _accelerators())
    root = open_store(store).root
    said("store", f"{root} ({shutil.disk_usage(root).free / 2**30:.1f} GiB free)")


def _accelerators() -> str:
    if shutil.which("nvidia-smi"):
        return "NVIDIA driver found; JAX on it: pip install 'lowres[gpu]'"
    if any(Path("/dev").glob("accel*")):
        return "TPU found; JAX on it: pip install 'lowres[tpu]'"
    return "none found; the processor is used"
