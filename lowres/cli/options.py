"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

EXIT_FAULT, EXIT_USAGE, EXIT_CELLS_FAILED, EXIT_STOPPED = 1, 2, 3, 130

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's path, or its name: vi/compare.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; repeatable. seeds=[0,1,2]")
]
StoreFolder = Annotated[
    Path | None, typer.Option("--store", help="Where artifacts are kept. Default: LOWRES_HOME, else the cache folder.")
]
Mirror = Annotated[
    list[Path] | None, typer.Option("--mirror", help="A folder searched for raw files by checksum; repeatable.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Never open a URL.")]
Runs = Annotated[Path, typer.Option("--runs", help="The folder in which run folders are made.")]
Until = Annotated[
    str | None, typer.Option("--until", help="Stop early: corpus, tokenizer, lm, classifier, predict or report.")
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or its name below runs/.")]
