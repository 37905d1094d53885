"""Programs that want at the machine (attacks/): each at both levels, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from megatron_codex.records import Verdict
from megatron_codex.sandbox.probe import KernelFeatures
from megatron_codex.sandbox.program import Program
from tests.sandbox.attacks.all import ATTACKS
from tests.sandbox.attacks.attack import TOOLS
from tests.sandbox.ordinary_user import HOME, run_as_ourselves, run_as_user

JudgeOne = Callable[[Program], Verdict]
SETTINGS = [(level, user) for level in ("A", "B") for user in ("root", "user")]
JUDGE_ATTACKS = ("-m", "tests.sandbox.attacks.judge_attacks")


@pytest.fixture(scope="module", params=SETTINGS, ids=[f"level_{level.lower()}_as_{user}" for level, user in SETTINGS])
def judged(
    request: pytest.FixtureRequest, features: KernelFeatures, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What judge_attacks.py prints in this setting."""
    level, user = request.param
    if level == "A" and features.missing_namespaces:
        pytest.skip(f"no namespaces here: {features.missing_namespaces}")
    if level == "B" and features.landlock_abi < 6:
        pytest.skip(f"Landlock ABI {features.landlock_abi} is below 6")
    if user == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    if user == "user" and os.geteuid() == 0:
        text = run_as_user([*JUDGE_ATTACKS, level, HOME])
    else:
        text = run_as_ourselves([*JUDGE_ATTACKS, level, str(tmp_path_factory.mktemp("attacks"))])
    result: dict[str, Any] = json.loads(text)
    assert (result["uid"] == 0) == (user == "root") and result["isolation"].startswith(f"{level}: ")
    return result


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_held(name: str, judged: dict[str, Any]) -> None:
    verdict, detail, cpu_s = judged["verdicts"][name]
    assert verdict in ATTACKS[name].verdicts, (verdict, detail)
    assert detail.isprintable() and cpu_s < 3


def test_attack_that_comes_through_is_noticed_and_numpy_works(judged: dict[str, Any]) -> None:
    assert (judged["open"], judged["numpy"]) == ("wrong", "passed")


def test_attacks_leave_and_change_nothing(judged: dict[str, Any]) -> None:
    assert judged["left"] == {}


def judge_source(source: str, judge_one: JudgeOne) -> Verdict:
    example = {"args": [], "kwargs": {}, "output": "held"}
    return judge_one(Program(source=TOOLS + source, entry_point="f", io_examples=(example,)))


def test_attempts_would_be_noticed(judge_one: JudgeOne) -> None:
    """An attack that does come through is reported: the tests above can fail."""
    verdict = judge_source("def f():\n    return attempt(lambda: open(os.__file__).read(10))\n", judge_one)
    assert verdict.verdict == "wrong" and "is open" in verdict.detail


def test_host_paths_are_not_even_there(judge_one: JudgeOne, level: str) -> None:
    """Landlock denies opening only; that a path cannot be looked up is the new root directory's doing."""
    if level == "B" and os.geteuid() != 0:
        pytest.skip("level B gives an ordinary user no root directory of its own")
    source = """
def f():
    return attempt(*(lambda path=path: os.stat(path) for path in ('/etc', '/home', '/var', '/proc/1', '/sys')))
"""
    verdict = judge_source(source, judge_one)
    assert verdict.verdict == "passed", verdict


def test_scratch_files_are_private(judge_one: JudgeOne, level: str) -> None:
    """Level A: files in the working directory, which go with their program; level B: none."""
    write = "def f():\n    open('x', 'w').write('y')\n    return 'held' if open('x').read() == 'y' else 'lost'\n"
    verdict = judge_source(write, judge_one)
    assert verdict.verdict == ("passed" if level == "A" else "error"), verdict
    look = "def f():\n    return repr(os.listdir()) if os.listdir() else 'held'\n"
    if level == "A":
        assert judge_source(look, judge_one).verdict == "passed"


def test_imports_of_the_standard_library_and_numpy_work(judge_one: JudgeOne) -> None:
    source = """
import math, re, collections, typing, decimal, sqlite3, zlib, asyncio, unittest, xml.etree.ElementTree, csv, zoneinfo
import concurrent.futures, difflib, email, html, http, logging, pprint, queue, secrets, shlex, struct, tempfile, uuid
def f():
    import numpy as np
    assert np.linalg.det(np.eye(3)) == 1
    try: input()
    except EOFError: return 'held'
"""
    verdict = judge_source(source, judge_one)
    assert verdict.verdict == "passed", verdict
