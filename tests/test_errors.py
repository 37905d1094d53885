from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from megatron_codex.errors import MISSING, ConfigError, Fault, InputError, fault_line

PROGRAM = """
from megatron_codex.errors import InputError, WorkError, run_command
def main():
    {body}
run_command(main)
"""


def run(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = PROGRAM.format(body=body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_input_error_is_one_line_even_with_newlines_in_the_value() -> None:
    line = str(InputError("a.jsonl:3", value="x\ny" * 200, rule="must be\nshort", remedy="cut it"))
    assert "\n" not in line
    assert len(line) < 250


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('raise InputError("f", value=1, rule="r", remedy="m")', 2),
        ('raise WorkError("a rank died")', 1),
        ("raise KeyboardInterrupt", 130),
        ("pass", 0),
    ],
    ids=["input", "work", "interrupt", "done"],
)
def test_exit_code_says_whose_fault_it_was(body: str, code: int) -> None:
    assert run(body).returncode == code


def test_only_rank_0_speaks_and_every_rank_exits_with_the_code() -> None:
    body = 'raise InputError("f", value=1, rule="r", remedy="m")'
    first, second = run(body, RANK="0"), run(body, RANK="1")
    assert first.stderr == "error: f: got 1; r; m\n"
    assert second.stderr == ""
    assert second.returncode == 2


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ('open("/dev/full", "w", buffering=1).write("x\\n")', 1, "no space is left on the disk; free some"),
        ('import os; os.makedirs("/dev/null/out")', 2, "/dev/null/out: a part of this path is a file"),
        ('import os; os.mkdir("/dev/null")', 2, "/dev/null: something else is there already"),
    ],
    ids=["full", "below a file", "in the way"],
)
def test_a_disk_that_takes_no_output_is_one_line_on_the_rank_that_met_it(body: str, code: int, line: str) -> None:
    done = run(body, RANK="1")
    assert done.returncode == code
    assert done.stderr.startswith(f"error: {line}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "body", ["assert 1 == 2", "import os; os.setuid(-2)", "import os; raise PermissionError(1, 'no')"]
)
def test_our_own_faults_keep_their_traceback(body: str) -> None:
    done = run(body)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_config_error_has_a_line_a_fault() -> None:
    faults = [Fault(field="a", value=1, rule="r", remedy="m"), Fault(field="b", rule="is required", remedy="give b")]
    assert str(ConfigError(faults, "c.yaml")).splitlines() == [
        "c.yaml: a: got 1; r; m",
        "c.yaml: b: is required; give b",
    ]


def test_fault_line_leaves_out_a_missing_value() -> None:
    assert fault_line("x", MISSING, "is required", "give it") == "x: is required; give it"


@pytest.mark.parametrize(
    "error",
    [
        InputError("a", value=[1], rule="r", remedy="m"),
        InputError("a", rule="r", remedy="m"),
        ConfigError([Fault(field="a", rule="r", remedy="m")], "c.yaml"),
    ],
    ids=["value", "no-value", "config"],
)
def test_an_error_arrives_from_another_process(error: InputError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.__dict__ == error.__dict__


def test_missing_is_itself_after_pickling() -> None:
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
