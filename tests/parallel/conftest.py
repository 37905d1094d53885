"""One rank's runs, made once, that layouts are compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parallel.jobs import base_job, merge, prompted_job, write_data
from tests.parallel.ranks import run_ranks


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with data/, and with the runs base, s, s_dropout and s_packed of one rank."""
    directory = tmp_path_factory.mktemp("parallel")
    write_data(directory)
    outputs = {
        "base": base_job(directory),
        "s": prompted_job(directory),
        "s_dropout": prompted_job(directory, model={"hidden_dropout": 0.2}),
        "s_packed": prompted_job(directory, data={"layout": "packed"}),
    }
    jobs = [merge(job, {"training": {"output_dir": str(directory / name)}}) for name, job in outputs.items()]
    run_ranks(1, jobs, directory / "one_rank")
    return directory
