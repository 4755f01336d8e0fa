"""One thread for every library, and nothing from the network, in every test."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Place:
    """A folder with a store and runs of its own, and what was printed when a recipe was run there."""

    root: Path
    printed: str = ""

    def command(self, *arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a lowres command there, in a process of its own."""
        environment = {**os.environ, "LOWRES_HOME": str(self.root / "store"), "COLUMNS": "120"}
        words = [sys.executable, "-m", "lowres", *map(str, arguments)]
        return subprocess.run(words, cwd=self.root, env=environment, capture_output=True, text=True, input=stdin)


def _after_running(root: Path, recipe: Path) -> Place:
    place = Place(root)
    done = place.command("run", recipe, "--offline")
    assert done.returncode == 0, done.stdout + done.stderr
    return Place(root, done.stdout)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where the quickstart was run, from its command line."""
    return _after_running(tmp_path_factory.mktemp("quickstart"), REPOSITORY / "recipes/quickstart.toml")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where the 20-second recipe was run, uninterrupted."""
    return _after_running(tmp_path_factory.mktemp("tiny"), REPOSITORY / "tests/tiny.toml")
