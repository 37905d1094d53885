"""What the tests of problems share: the fixture projects, and a skip where programs cannot be isolated."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.sandbox.probe import probe_kernel

PROJECTS = Path(__file__).parents[1] / "fixtures" / "projects"


@pytest.fixture(scope="session")
def projects() -> Path:
    return PROJECTS


@pytest.fixture(scope="session")
def isolation() -> None:
    """For tests that run other people's programs."""
    found = probe_kernel()
    missing = found.missing_basics or found.missing_namespaces or ("" if found.landlock_abi else "Landlock")
    if missing:
        pytest.skip(f"isolation level A is impossible here: {missing}")
