"""What one program leaves in its scratch directory, the next one does not find: not even that it was there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest

from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures
from megatron_codex.sandbox.program import Program

LOOK = """
import os
def f():
    s = os.stat('.')
    return repr([s.st_ctime_ns, s.st_mtime_ns, s.st_nlink, os.listdir()])
"""
TOUCH = """
import os, time
def f():
    s = os.stat('.')
    {touch}
    now = time.time_ns()
    time.sleep(0.05)  # a file system's clock is some milliseconds behind
    return repr(now)
"""
TOUCHES = {
    "file": "open('x', 'w').close()",
    "file_made_and_removed": "open('x', 'w').close(); os.remove('x')",
    "directory_made_and_removed": "os.mkdir('x'); os.rmdir('x')",
    "file_unlinked_while_open": "h = open('x', 'w'); h.write('y' * 99999); h.flush(); os.remove('x')",
}


@pytest.fixture(scope="module")
def alone(features: KernelFeatures) -> Iterator[JudgePool]:
    """One worker at level A, so that programs follow each other in the same cell."""
    if features.missing_namespaces:
        pytest.skip(f"no namespaces here: {features.missing_namespaces}")
    with JudgePool(1, timeout_s=1, features=features) as pool:
        yield pool


def answer_of(pool: JudgePool, source: str) -> Any:
    program = Program(source=source, entry_point="f", io_examples=({"args": [], "kwargs": {}, "output": "nothing"},))
    ((_, verdict),) = pool.judge([program])
    shown = re.match(r"call 1 of 1: it returned (.*), expected", verdict.detail)
    assert shown, verdict
    return ast.literal_eval(ast.literal_eval(shown[1]))


def test_untouched_cell_serves_the_next_program(alone: JudgePool) -> None:
    """Else the tests below could not fail. Reading leaves no trace."""
    first = answer_of(alone, LOOK)
    assert answer_of(alone, "import os\ndef f():\n    return repr(os.listdir())\n") == []
    assert answer_of(alone, LOOK) == first


@pytest.mark.parametrize("name", TOUCHES)
def test_touched_cell_is_thrown_away(name: str, alone: JudgePool) -> None:
    touched = answer_of(alone, TOUCH.format(touch=TOUCHES[name]))
    changed, modified, num_links, names = answer_of(alone, LOOK)
    assert touched < modified == changed, "a cell made after the touch"
    assert (num_links, names) == (2, [])
