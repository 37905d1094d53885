"""What tests of the judge share: two small problems that a site holds, and its server."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from megatron_codex.config.contests import ContestSiteConfig, MineConfig
from megatron_codex.problems.contests.readings import function_readings, script_readings
from megatron_codex.problems.contests.values import call_example, raising_example
from megatron_codex.records import Problem

DOUBLING = "def double(x):\n    if x is None:\n        raise ValueError('no')\n    return 2 * x\n"
SUMMING = "print(sum(map(int, input().split())))\n"
CALLS = [
    *(call_example([1], {}, 2), call_example([2], {}, 4), call_example([], {"x": [1]}, [1, 1])),
    *(raising_example([None], {}, "ValueError"), call_example([1.0], {}, 2.0), call_example(["é\n"], {}, "é\né\n")),
]
PAIRS = [{"input": f"{number} 1\n", "output": f"{number + 1}\n"} for number in range(4)]


def function_problem() -> Problem:
    return function_readings([DOUBLING], "double", "Double it.", [CALLS], task_id="t/double")[0]


def script_problem() -> Problem:
    return script_readings([SUMMING], "Add.", PAIRS, task_id="t/sum & so")[0]


def with_first_test(problem: Problem) -> Problem:
    """What a contestant knows."""
    return dataclasses.replace(
        problem, test="", io_examples=problem.io_examples[:1], stdio_examples=problem.stdio_examples[:1]
    )


def site_config(**fields: Any) -> ContestSiteConfig:
    fast: dict[str, Any] = {"submissions_per_minute": 1e6, "burst": 1000, "workers": 1, "timeout_s": 1.0}
    return ContestSiteConfig(problems=Path("-"), **{**fast, **fields})


def mine_config(folder: Path, **fields: Any) -> MineConfig:
    return MineConfig(**{"input": (folder,), "output": folder / "output", "workers": 1, **fields})
