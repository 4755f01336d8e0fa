import os
import subprocess
import sys

import pytest

from lowres.doctor import ask

NAMES = ("lowres", "libraries", "processor", "cores", "threads", "memory", "store", "accelerator", "torch devices")
NAMES += (
    "C compiler",
    "ULMFiT kernels",
    "CUDA kernels",
    "float32 products",
    "bfloat16",
    "jax devices",
    "GPT-J writing",
)


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> list[str]:
    """The lines of `lowres doctor` where there is no C compiler; the last one names the frameworks that it imported."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(sorted({'torch', 'jax', 'fastai'} & set(sys.modules))))\n"
        "sys.argv = ['lowres', 'doctor']\n"
        "from lowres.cli import main; main()"
    )
    environment = os.environ | {"CC": "no-such-compiler", "LOWRES_HOME": str(tmp_path_factory.mktemp("store"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def value(lines: list[str], name: str) -> str:
    return next(line.removeprefix(name).strip() for line in lines if line.startswith(f"{name} "))


def test_doctor_fits_a_screen_and_has_every_line(told):
    assert 15 <= len(told) <= 24
    assert all(value(told, name) for name in NAMES)


def test_doctor_brings_no_framework_into_its_own_process(told):
    assert told[-1] == "[]"


def test_doctor_says_which_kernels_are_used_and_what_a_compiler_would_bring(told):
    assert value(told, "ULMFiT kernels").startswith(("compiled for ", "none, plain torch is used: "))
    assert value(told, "C compiler").startswith("no C compiler (no-such-compiler); with one, pip install")


def test_a_framework_that_does_not_start_is_a_line(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so is not there')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    ((name, said),) = ask("ulmfit", "lowres.families.ulmfit.abilities", benchmark=False)
    assert (name, said) == ("ulmfit", "does not start: ImportError: libtorch.so is not there")
