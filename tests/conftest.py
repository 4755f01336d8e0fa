"""One thread for every library, and nothing from the network, in every test."""

import atexit
import bz2
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from lowres.artifacts import Run
from lowres.cards import TreebankCard, read_card
from lowres.guard import guard_torchvision
from lowres.kernels.build import SOURCES, NotBuilt, build
from lowres.kernels.load import Missing, library
from lowres.text.spec import SegmenterSettings, trained_segmenter

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" not in os.environ:  # a folder for all processes of the tests: a program is compiled once
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled = tempfile.mkdtemp(prefix="lowres-compiled-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton's kernels on the CPU; "0" tests them on a GPU

REPOSITORY = Path(__file__).parents[1]

guard_torchvision()  # before any test imports transformers, which remembers whether torchvision is there


_LONGEST = ("quickstart", "experiment", "ulmfit", "gptj", "corpus")
"""Folders of tests that take longest; they are begun first."""
_NEED_TINY = {
    "tests/cli/test_logs_command.py",
    "tests/experiment/test_local.py",
    "tests/experiment/test_prompt_recipe.py",
    "tests/experiment/test_kill.py",
    "tests/quickstart/test_export_command.py",
    "tests/quickstart/test_use.py",
}


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest folders are begun first."""
    items.sort(key=lambda item: _LONGEST.index(_folder(item)) if _folder(item) in _LONGEST else len(_LONGEST))


class _Scheduling(LoadScopeScheduling):
    """A file's tests run in one process, and all that need `tiny` in one, so that what they share is made once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "tiny" if file in _NEED_TINY else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """How tests are shared out to processes."""
    return _Scheduling(config, log)


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


_LONE = ("tôi", "ăn", "cơm", "mua", "và", "đi", "nó", "thấy")
_SPACED = ("sinh viên", "máy bay", "nhà trường", "học tập", "thành phố", "Hà Nội")


def _conllu(sentences: int, seed: int) -> str:
    """Sentences of a toy Vietnamese: words that hold spaces, a contraction (dzậy: như, vậy), full stops attached."""
    draw, blocks = random.Random(seed), []
    for number in range(sentences):
        words = [draw.choice(draw.choice((_LONE, _SPACED))) for _ in range(draw.randint(3, 7))]
        rows = [f"{place}\t{word}" + "\t_" * 8 for place, word in enumerate(words, 1)]
        n = len(words)
        if number % 3 == 0:
            rows += [f"{n + 1}-{n + 2}\tdzậy" + "\t_" * 7 + "\tSpaceAfter=No"]
            rows += [f"{n + 1}\tnhư" + "\t_" * 8, f"{n + 2}\tvậy" + "\t_" * 8]
            n += 2
        else:
            rows[-1] = rows[-1].removesuffix("_") + "SpaceAfter=No"
        rows.append(f"{n + 1}\t." + "\t_" * 8)
        head = ["# newpar"] if number % 4 == 0 else []
        blocks.append("\n".join([*head, f"# sent_id = {number}", *rows]) + "\n")
    return "\n".join(blocks) + "\n"


@pytest.fixture(scope="session")
def treebank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a toy treebank, with its files beside it."""
    folder = tmp_path_factory.mktemp("treebank")
    lines = ['card = "treebank"', 'name = "toy"', 'language = "vie"', 'script = "Latn"', 'licence = "not published"']
    lines.append('statement = "Sentences of a toy language, drawn at random for the tests."')
    for seed, (role, sentences) in enumerate({"train": 120, "dev": 20, "test": 20}.items()):
        path = folder / f"{role}.conllu"
        path.write_text(_conllu(sentences, seed), encoding="utf-8")
        content = path.read_bytes()
        lines += ["[[files]]", f'role = "{role}"', f'path = "{path.name}"', f"bytes = {len(content)}"]
        lines.append(f'sha256 = "{hashlib.sha256(content).hexdigest()}"')
    card = folder / "toy.toml"
    card.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return card


@pytest.fixture(scope="session")
def toy_segmenter(treebank: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of the stage that trained a segmenter on the toy treebank; its folder is `out`."""
    from lowres.text.stages import train_segmenter

    found, path = read_card(str(treebank), TreebankCard)
    settings = SegmenterSettings(steps=60, eval_steps=20, batch_size=8, lr=2e-2, emb_dim=8, hidden_dim=16)
    files = {file.pinned: path.parent / str(file.path) for file in found.files}
    out, work = (tmp_path_factory.mktemp(name) for name in ("toy_segmenter", "toy_segmenter_work"))
    run = Run(out=out, work=work, seed=0, files=files)
    train_segmenter({}, trained_segmenter(found, settings).spec, run)  # type: ignore[arg-type]
    return run


@pytest.fixture(scope="session")
def built_kernels() -> None:
    """The compiled kernels of this tree, built where an installation has not done so; skips without a C compiler."""
    if isinstance(library(), Missing):
        try:
            build(SOURCES)
        except NotBuilt as missing:
            pytest.skip(str(missing))
