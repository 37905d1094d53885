"""Fixtures of all tests, and how the tests are shared out among several processes (pytest -n)."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.slurm_cluster import slurm_cluster

__all__ = ["slurm_cluster"]

_ROOT = Path(__file__).parent
_TOGETHER = ("convert", "problems", "sampling", "sandbox")
"""Folders whose tests share what is dear to make (conftest.py), or count what is left on the machine."""
_LONGEST_FIRST = (
    *("training/test_resume.py", "planning/test_plan.py", "parallel/test_verify.py", "planning/test_dry_run.py"),
    *("parallel/test_mutations.py", "training/test_deepspeed.py", "native/test_sanitizers.py", "sandbox", "problems"),
    *("parallel/test_layouts.py", "training/test_faults.py", "corpus/test_preprocess_restart.py", "sampling"),
    *("ops/test_cuda_build.py", "ops/test_bindings.py", "training/test_kernels.py"),
)


def pytest_configure() -> None:
    """A shell that runs the tests in the background hands on that Ctrl-C is ignored: tests of it, and what they start,
    want it as a terminal gives it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begin."""
    order = {name: number for number, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(_group(item.path.relative_to(_ROOT)), len(order)))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process runs all tests of a file, or of such a folder (as --dist=loadgroup, which fails with pytest 9.2)."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _group(Path(nodeid.partition("::")[0]).relative_to(_ROOT.name))

    return Scheduling(config, log)


def _group(path: Path) -> str:
    return path.parts[0] if path.parts[0] in _TOGETHER else path.as_posix()
