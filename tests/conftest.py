"""One thread for every library, and nothing from the network, in every test."""

import bz2
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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


@dataclass(frozen=True)
class Dumps:
    """A copy of the dumps site, served from a folder: `url` is its root."""

    root: Path
    url: str

    def add(self, database: str, date: str, status: str = "done", job: str = "articlesmultistreamdump") -> None:
        """Puts a dump there, with its dumpstatus.json."""
        folder = self.root / database / date
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for name in ("pages-articles-multistream.xml.bz2", "pages-articles-multistream-index.txt.bz2"):
            path = folder / f"{database}-{date}-{name}"
            path.write_bytes(bz2.compress(f"{path.name}\n".encode() * 50))
            digests = {kind: hashlib.new(kind, path.read_bytes()).hexdigest() for kind in ("md5", "sha1")}
            files[path.name] = {"size": path.stat().st_size, "url": f"/{database}/{date}/{path.name}", **digests}
        jobs = {"articlesdump": {"status": "done", "files": {}}, job: {"status": status, "files": files}}
        (folder / "dumpstatus.json").write_text(json.dumps({"version": "0.8", "jobs": jobs}))


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def dumps(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dumps]:
    """A dumps site on this machine, still empty."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path_factory.mktemp("dumps")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=root)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Dumps(root, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


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
