"""Small problems and samples for the tests of evaluate.py, and the command itself."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests" / "data"
SQUARE = {
    "task_id": "t/square",
    "prompt": "def square(x):\n    '''The square.'''\n",
    "entry_point": "square",
    "canonical_solution": "    return x * x\n",
    "test": "def check(candidate):\n    assert candidate(3) == 9\n",
}
OTHER = {**SQUARE, "task_id": "t/other"}
RIGHT, WRONG = "    return x * x\n", "    return x\n"
SLOW = "    sum(range(1_000_000))\n    return x * x\n"
MEASURED = ("cpu_s", "wall_s", "cpu_factor")
LAUNCHED = ("OMPI_", "PMI_", "SLURM_PROCID", "SLURM_STEP_", "SLURM_ARRAY_")


def sample(completion: str = RIGHT, task_id: Any = "t/square", **fields: Any) -> dict[str, Any]:
    return {"task_id": task_id, "completion": completion, **fields}


def different_samples(number: int, body: str = RIGHT) -> list[dict[str, Any]]:
    """Every third wrong, no two equal, two tasks in turn."""
    return [
        sample((body if n % 3 else WRONG) + f"# {n}\n", "t/other" if n % 2 else "t/square", mark=n)
        for n in range(number)
    ]


def write_lines(path: Path, rows: list[Any]) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def write_inputs(folder: Path, samples: list[Any]) -> list[str]:
    """The arguments of a run on these samples, with two problems, into folder/results.jsonl."""
    return [
        *("--samples", str(write_lines(folder / "samples.jsonl", samples))),
        *("--problems", str(write_lines(folder / "problems.jsonl", [SQUARE, OTHER]))),
        *("--output", str(folder / "results.jsonl")),
    ]


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(REPOSITORY / "tools" / "evaluate.py"), *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    """Ours without a launcher's variables, and with these."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHED)}
    return {**own, "PYTHONPATH": str(REPOSITORY), **variables}


def evaluate(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(**variables), capture_output=True, text=True, timeout=300, check=False
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_times(path: Path) -> list[dict[str, Any]]:
    """The rows of a results file, but for what was measured."""
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in rows_of(path)]
