"""Workers of this machine: what they find in their environment."""

import os
from pathlib import Path

from lowres import processor
from lowres.experiment.local import worker_environment


def test_what_jax_compiles_is_kept_in_the_store_unless_the_user_said_where(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    own = worker_environment(1, "cpu", True, tmp_path)["JAX_COMPILATION_CACHE_DIR"]
    assert own == str(tmp_path / "compiled" / processor.digest())
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    assert worker_environment(1, "cpu", True, tmp_path)["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"


def test_a_run_leaves_what_it_compiled(tiny):
    kept = [path.name for path in Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).iterdir()]
    assert any(name.startswith("jit_lm_step") for name in kept)
