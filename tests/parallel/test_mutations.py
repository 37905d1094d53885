"""Verification catches faults that are put into the package, one at a time, and names a tensor.

A part of those of tests/parallel/mutations.py, which runs all of them by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.parallel.mutations import IN_THE_TEST_COMMAND, SOUND
from tests.parallel.ranks import ROOT

pytestmark = [pytest.mark.multirank, pytest.mark.slow]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("mutations")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    names = [SOUND.name, *IN_THE_TEST_COMMAND]
    command = [sys.executable, "-m", "tests.parallel.mutations", str(directory), *names]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-3000:]
    return {name: json.loads((directory / f"{name}.json").read_text()) for name in names}


def test_without_a_fault_nothing_is_found(reports: dict[str, dict[str, Any]]) -> None:
    assert reports[SOUND.name].get("first", "no report") is None, reports[SOUND.name]


@pytest.mark.parametrize("name", IN_THE_TEST_COMMAND)
def test_a_fault_is_caught_and_a_tensor_named(reports: dict[str, dict[str, Any]], name: str) -> None:
    assert "error" not in reports[name], reports[name]
    first = reports[name]["first"]
    assert first is not None, "verification saw no difference"
    assert "on rank" in first, first
