"""A wheel carries recipes and cards, and works outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def unpacked(repository, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def test_a_wheel_carries_every_recipe_and_card(unpacked, repository):
    for folder in ("recipes", "corpora"):
        here = {path.relative_to(repository).as_posix() for path in (repository / folder).rglob("*.toml")}
        there = {
            path.relative_to(unpacked / "lowres").as_posix() for path in (unpacked / "lowres" / folder).rglob("*.toml")
        }
        assert here == there
    table = Path("lowres/wikipedias.tsv")
    assert (unpacked / table).read_bytes() == (repository / table).read_bytes()


def test_the_unpacked_wheel_finds_its_own_recipe_and_data(unpacked, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "LOWRES_HOME": str(tmp_path / "store")}
    command = [sys.executable, "-m", "lowres", "check", "quickstart", "--offline"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(unpacked / "lowres/corpora/vi/mini") in done.stdout.replace("\n", "")
