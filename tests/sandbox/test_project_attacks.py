"""Attacks of a project's own test suite (attacks/projects.py), at level A, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from megatron_codex.sandbox.probe import KernelFeatures
from tests.sandbox.attacks.projects import ATTACKS
from tests.sandbox.ordinary_user import HOME, run_as_ourselves, run_as_user


@pytest.fixture(scope="module", params=["root", "user"])
def done(
    request: pytest.FixtureRequest, features: KernelFeatures, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What attacks/projects.py prints."""
    if features.missing_namespaces:
        pytest.skip(f"no namespaces here: {features.missing_namespaces}")
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    program = ["-m", "tests.sandbox.attacks.projects"]
    if request.param == "user" and os.geteuid() == 0:
        text = run_as_user([*program, HOME])
    else:
        text = run_as_ourselves([*program, str(tmp_path_factory.mktemp("projects"))])
    result: dict[str, Any] = json.loads(text)
    assert (result["uid"] == 0) == (request.param == "root")
    return result


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_held(name: str, done: dict[str, Any]) -> None:
    verdict, detail, output = done["runs"][name]
    assert verdict == ATTACKS[name].verdict, (verdict, detail, output)
    assert verdict != "passed" or output.endswith("held\n"), output


def test_nothing_is_left(done: dict[str, Any]) -> None:
    assert done["left"] == []
