from pathlib import Path

import pytest
from fabricated_run import fabricate

from lowres.report.results import load_results
from lowres.report.summary import Summary, summarise


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fabricated run with a failed and an untried cell. Read it; do not write to it."""
    return fabricate(tmp_path_factory.mktemp("runs") / "vi-compare")


@pytest.fixture(scope="session")
def summary(run_folder: Path) -> Summary:
    """The numbers of `run_folder`."""
    return summarise(load_results(run_folder))


@pytest.fixture(scope="session")
def clean_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fabricated run with every cell ok. Read it; do not write to it."""
    return fabricate(tmp_path_factory.mktemp("runs") / "clean", faults=False)
