"""The filter, on crafted problems and samples."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.problems import FilterConfig
from megatron_codex.errors import InputError
from megatron_codex.problems.filter import filter_problems
from megatron_codex.problems.funnel import Funnel
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.refusals import is_allowed
from megatron_codex.problems.trivial import trivial_bodies
from megatron_codex.records import Verdict
from megatron_codex.sandbox.pool import JudgePool

PROMPT = "def f(x):\n"
RIGHT, WRONG, LOOP = "    return x + 1\n", "    return x\n", "    while True:\n        pass\n"
RANDOM = "    import random\n    return x + 1 if random.random() < 0.5 else x\n"


def _problem(task_id: str, **fields: Any) -> dict[str, Any]:
    test = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(4) == 5\n"
    row = {"task_id": task_id, "prompt": PROMPT, "entry_point": "f", "canonical_solution": RIGHT, "test": test}
    return {**row, **fields}


def _sample(task_id: str, completion: str, **fields: Any) -> dict[str, Any]:
    return {"task_id": task_id, "completion": completion, **fields}


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


PROBLEMS = [
    _problem("easy", provenance={"origin": "here"}),
    _problem("hard"),
    _problem("flaky"),
    _problem("flaky reference", canonical_solution=RANDOM),
    _problem("broken", canonical_solution=WRONG),
    _problem("unsampled"),
    _problem("untested", test=""),
    _problem("slow"),
    _problem("weak", test="def check(candidate):\n    assert candidate(1) == candidate(1) == 2\n"),
]
# Each random sample keeps its verdict for three repeats with probability 1/4; all twenty do with 4 ** -20.
SAMPLES = [
    _sample("easy", RIGHT, mean_logp=-0.5, note="kept"),
    _sample("easy", RIGHT, mean_logp=-0.25),
    _sample("easy", WRONG),
    _sample("hard", WRONG),
    _sample("hard", "    retur\n"),
    *[_sample("flaky", RANDOM + f"    # {number}\n") for number in range(20)],
    *[_sample("flaky reference", RIGHT)],
    _sample("broken", RIGHT),
    _sample("untested", RIGHT),
    _sample("slow", LOOP),
    _sample("weak", RIGHT),
]


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory, isolation: None) -> tuple[Path, Funnel]:
    base = tmp_path_factory.mktemp("filter")
    config = FilterConfig(
        problems=_write(base / "problems.jsonl", PROBLEMS),
        samples=_write(base / "samples.jsonl", SAMPLES),
        output=base / "output",
        repeats=3,
        timeout_s=0.5,
        workers=2,
    )
    return base / "output", filter_problems(config)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_solved_problems_stay(filtered: tuple[Path, Funnel]) -> None:
    kept = {problem.task_id: problem for problem in read_problems(filtered[0] / "problems.jsonl")}
    assert set(kept) - {"flaky reference"} == {"easy"}  # a random reference passes in all three repeats 1 time in 8
    assert kept["easy"].provenance == {"origin": "here", "filter": {"num_samples": 3, "num_passed": 2, "repeats": 3}}


def test_the_others_are_dropped_with_their_reason(filtered: tuple[Path, Funnel]) -> None:
    reasons = {row["task_id"]: row["reason"] for row in _rows(filtered[0] / "dropped.jsonl")}
    # A random reference may fail in all three repeats (1 in 8), or pass in all (1 in 8, and then its sample passes).
    assert reasons.pop("flaky reference", "kept") in {"unstable", "reference fails", "kept"}
    assert reasons == {
        "hard": "unsolved",
        "flaky": "unstable",
        "broken": "reference fails",
        "unsampled": "no samples",
        "untested": "no tests",
        "slow": "unsolved",
        "weak": "weak tests",
    }


def test_funnel_adds_up(filtered: tuple[Path, Funnel]) -> None:
    output, funnel = filtered
    written = json.loads((output / "funnel.json").read_text())
    assert written["counts"] == funnel.counts
    assert funnel.counts["problems"] == 9
    assert funnel.counts["sampled"] == 7
    assert "weak tests" in (output / "funnel.svg").read_text()
    before = funnel.counts["problems"]
    for stage in funnel.stages[1:]:
        before -= funnel.reasons[stage].total()
        assert funnel.counts[stage] == before


def test_every_judged_sample_has_a_verdict_for_each_repeat(filtered: tuple[Path, Funnel]) -> None:
    rows = [row for row in _rows(filtered[0] / "results.jsonl") if row["task_id"] == "easy"]
    assert sorted(row["repeat"] for row in rows) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert {row["completion"]: row["verdict"] for row in rows} == {RIGHT: "passed", WRONG: "wrong"}
    assert {row["mean_logp"] for row in rows} == {-0.5, -0.25, None}
    assert sum(row.get("note") == "kept" for row in rows) == 3
    assert all(row["isolation"].startswith("A: ") for row in rows)
    slow = [row for row in _rows(filtered[0] / "results.jsonl") if row["task_id"] == "slow"]
    assert {row["verdict"] for row in slow} == {"timeout"}
    assert not [row for row in _rows(filtered[0] / "results.jsonl") if row["task_id"] in ("broken", "weak")]


def test_weak_tests_may_be_kept_and_licences_and_benchmarks_decide_first(tmp_path: Path, isolation: None) -> None:
    benchmark = (
        "".join(f"    total{number} = x * {number} + offset{number}\n" for number in range(9)) + "    return 1\n"
    )
    problems = [
        PROBLEMS[-1] | {"licence": "MIT License"},
        _problem("copied", canonical_solution=benchmark, licence="MIT"),
        _problem("bought", licence="Proprietary"),
        _problem("unlicensed"),
    ]
    config = FilterConfig(
        problems=_write(tmp_path / "p.jsonl", problems),
        samples=_write(tmp_path / "s.jsonl", [_sample("weak", RIGHT), _sample("bought", RIGHT)]),
        output=tmp_path / "output",
        licences=("mit", "BSD-3-Clause"),
        decontaminate=(_write(tmp_path / "b.jsonl", [_problem("Bench/1", canonical_solution=benchmark)]),),
        drop_weak_tests=False,
        repeats=1,
        workers=1,
    )
    funnel = filter_problems(config)
    assert funnel.reasons["allowed"] == {"licence": 2, "benchmark": 1}
    assert funnel.counts["solved"] == 1
    details = {row["task_id"]: row["detail"] for row in _rows(tmp_path / "output" / "dropped.jsonl")}
    assert details == {"copied": "Bench/1 (exact)", "bought": "Proprietary", "unlicensed": "none named"}


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True), ("MIT License", True), ("The MIT License  (MIT)", True), ("mit", True), ("", False),
        ("BSD License", False), ("BSD-3-Clause", True), ("New BSD License", True), ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True), ("MIT AND GPL-3.0-only", False), ("(MIT AND BSD-3-Clause) OR GPL-2.0", True),
        ("GPL-3.0-only AND (MIT OR BSD-3-Clause)", False), ("MIT AND (GPL-3.0-only OR BSD-3-Clause)", True),
        ("MIT License, BSD 3-Clause", True), ("MIT License, BSD License", False), ("MITRE", False),
    ],
)  # fmt: skip
def test_licences_are_taken_by_their_names_and_expressions(licence: str, allowed: bool) -> None:
    assert is_allowed(licence, {"mit", "bsd-3-clause"}) == allowed


def test_trivial_bodies_are_not_the_solution_itself() -> None:
    prompt = 'class A:\n    def m(self, x, *more, y=1):\n        """Say it."""\n'
    bodies = trivial_bodies(prompt, "        return len(x)\n", "A.m", ["'a'"])
    assert {"return None", "return self", "return x", "return more", "return y", "return 'a'"} <= set(bodies)
    assert bodies["return x"] == "        return x\n"
    assert "return len(self)" in bodies
    assert "return len(self)" not in trivial_bodies(prompt, "        return len(self)\n", "A.m")


def test_a_fault_of_the_sandbox_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: None) -> None:
    whole = JudgePool.judge

    def judge(self: JudgePool, programs: Any) -> Any:
        for index, verdict in whole(self, programs):
            yield index, Verdict(verdict="infra", detail="lost", cpu_s=0, wall_s=0, isolation=verdict.isolation)

    monkeypatch.setattr(JudgePool, "judge", judge)
    config = FilterConfig(
        problems=_write(tmp_path / "p.jsonl", PROBLEMS[:1]),
        samples=_write(tmp_path / "s.jsonl", SAMPLES[:1]),
        output=tmp_path / "output",
        repeats=1,
        workers=1,
    )
    funnel = filter_problems(config)
    assert funnel.reasons["judged"] == {"not judged": 1}


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([_sample("easy", RIGHT), _sample("other", RIGHT)], r"s\.jsonl:2: task_id: got 'other'"),
        ([{"task_id": "easy"}], r"s\.jsonl:1: missing field completion"),
        ([_sample("easy", RIGHT, prompt_sha256="0" * 64)], r"s\.jsonl:1: prompt_sha256: .*another one"),
    ],
    ids=["unknown task", "no completion", "another prompt"],
)
def test_faulty_samples_are_named_before_anything_runs(
    tmp_path: Path, samples: list[dict[str, Any]], message: str
) -> None:
    config = FilterConfig(
        problems=_write(tmp_path / "p.jsonl", PROBLEMS[:1]),
        samples=_write(tmp_path / "s.jsonl", samples),
        output=tmp_path / "output",
    )
    with pytest.raises(InputError, match=message):
        filter_problems(config)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(("min_passes", "kept"), [(2, 1), (3, 0)])
def test_min_passes_counts_equal_samples_each(tmp_path: Path, isolation: None, min_passes: int, kept: int) -> None:
    config = FilterConfig(
        problems=_write(tmp_path / "p.jsonl", PROBLEMS[:1]),
        samples=_write(tmp_path / "s.jsonl", SAMPLES[:3]),
        output=tmp_path / "output",
        min_passes=min_passes,
        repeats=1,
        workers=1,
    )
    funnel = filter_problems(config)
    assert funnel.counts["solved"] == kept
    assert dict(funnel.reasons["solved"]) == ({} if kept else {"rarely solved": 1})


def test_samples_of_the_right_prompt_are_taken(tmp_path: Path, isolation: None) -> None:
    sample = _sample("easy", RIGHT, prompt_sha256=hashlib.sha256(PROMPT.encode()).hexdigest())
    config = FilterConfig(
        problems=_write(tmp_path / "p.jsonl", PROBLEMS[:1]),
        samples=_write(tmp_path / "s.jsonl", [sample]),
        output=tmp_path / "output",
        results=tmp_path / "r.jsonl",
        repeats=1,
        workers=1,
    )
    assert filter_problems(config).counts["solved"] == 1
    assert len(_rows(tmp_path / "r.jsonl")) == 1
    assert not (tmp_path / "output" / "results.jsonl").exists()


def test_mbpp_samples_may_number_their_tasks(tmp_path: Path, isolation: None) -> None:
    config = FilterConfig(
        problems=_write(tmp_path / "p.jsonl", [PROBLEMS[0] | {"task_id": "MBPP/7"}]),
        samples=_write(tmp_path / "s.jsonl", [_sample("easy", RIGHT) | {"task_id": 7}]),
        output=tmp_path / "output",
        repeats=1,
        workers=1,
    )
    assert filter_problems(config).counts["solved"] == 1


def test_the_command(tmp_path: Path, isolation: None) -> None:
    tool = Path(__file__).parents[2] / "tools" / "filter_problems.py"
    _write(tmp_path / "p.jsonl", PROBLEMS[:2])
    _write(tmp_path / "s.jsonl", SAMPLES[:5])
    command = [sys.executable, str(tool), "--problems", "p.jsonl", "--samples", "s.jsonl", "--output", "out"]
    run = subprocess.run([*command, "--repeats", "1"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "problems 2 -> allowed 2 -> sampled 2 -> judged 2 -> reference_passes 2 -> strong 2 -> stable 2 -> solved 1",
        "dropped before solved: 1 unsolved",
    ]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert again.stderr.startswith("error: out: the output exists already")
