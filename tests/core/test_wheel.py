"""A wheel carries recipes and cards, and works outside the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def built(repository: Path, place: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True, env=os.environ | environment)
    (wheel,) = place.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def unpacked(repository, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    wheel = built(repository, place)
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
    presets = "lowres/families/ulmfit/presets"
    assert {p.name for p in (unpacked / presets).iterdir()} == {p.name for p in (repository / presets).iterdir()}
    table = Path("lowres/wikipedias.tsv")
    assert (unpacked / table).read_bytes() == (repository / table).read_bytes()


def test_the_unpacked_wheel_finds_its_own_recipe_and_data(unpacked, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "LOWRES_HOME": str(tmp_path / "store")}
    command = [sys.executable, "-m", "lowres", "check", "quickstart", "--offline"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(unpacked / "lowres/corpora/vi/mini") in done.stdout.replace("\n", "")


KERNELS = "lowres/kernels"


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_a_wheel_has_kernels_that_load_where_a_compiler_is(unpacked, tmp_path):
    assert {"kernels.c", "built.json"} <= {path.name for path in (unpacked / KERNELS).iterdir()}
    said = "from lowres.families.ulmfit.kernels import kernels; print(type(kernels()).__name__)"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run([sys.executable, "-c", said], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "Kernels\n", done.stderr
    (tag,) = (line for line in next(unpacked.glob("*.dist-info/WHEEL")).read_text().splitlines() if "Tag: " in line)
    assert tag.startswith("Tag: py3-none-") and not tag.endswith("-any")


def test_a_wheel_without_a_compiler_is_pure_python(repository, tmp_path):
    wheel = built(repository, tmp_path, CC="no-such-compiler")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist() if name.startswith(KERNELS)}
    assert "kernels.c" in names and not [name for name in names if name.endswith((".so", ".json"))]
