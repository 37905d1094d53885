"""Problems set aside to measure models with: whole families, no near-copies, and nothing written for bad input."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_codex.config.problems import HoldOutConfig
from megatron_codex.data.family_split import is_held_out
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.jsonl import read_jsonl, write_jsonl
from megatron_codex.problems.families import family_of, likenesses
from megatron_codex.problems.hold_out import hold_out
from megatron_codex.problems.readers import read_problems
from megatron_codex.records import Problem

SHARE = 0.3
SIDES = ("train", "held_out", "left_out")


def _problem(number: int, words: str, *, project: int) -> Problem:
    return Problem(
        task_id=f"t{number}",
        prompt=f'def f(x):\n    """{words}"""\n',
        entry_point="f",
        canonical_solution="",
        test="",
        signature="def f(x):\n",
        docstring=words,
        body=f"    return x.{'.'.join(words.split())}\n",
        provenance={"project": f"project-{project}"},
    )


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    """Of forty projects, three each; ten of them have a function that is the same."""
    draw = random.Random(1)
    texts = [" ".join(f"w{draw.randrange(10**6)}" for _ in range(8)) for _ in range(120)]
    return [
        _problem(number, texts[0] if number % 3 == 0 and number % 4 == 0 else text, project=number // 3)
        for number, text in enumerate(texts)
    ]


def _split(folder: Path, problems: list[Problem], *, share: float = SHARE) -> dict[str, list[Problem]]:
    folder.mkdir()
    write_jsonl(folder / "problems.jsonl", (problem.to_json() for problem in problems))
    hold_out(HoldOutConfig(problems=(folder / "problems.jsonl",), output=folder / "out", share=share))
    return {side: _read(folder / "out" / f"{side}.jsonl") for side in SIDES}


def _read(path: Path) -> list[Problem]:
    return read_problems(path) if path.read_text() else []


def test_each_problem_is_on_one_side_and_each_family_held_out_or_not(tmp_path: Path, problems: list[Problem]) -> None:
    sides = _split(tmp_path / "a", problems)
    assert sorted(each.task_id for side in sides.values() for each in side) == sorted(each.task_id for each in problems)
    assert all(sides.values())
    held_out = {family_of(problem) for problem in sides["held_out"]}
    assert held_out == {
        family_of(each) for each in problems if is_held_out(family_of(each), share=SHARE, purpose="evaluation")
    }
    assert held_out.isdisjoint(family_of(problem) for side in ("train", "left_out") for problem in sides[side])


def test_nothing_of_the_rest_nearly_equals_what_is_held_out(tmp_path: Path, problems: list[Problem]) -> None:
    sides = _split(tmp_path / "a", problems)
    keys = dict(zip([each.task_id for each in problems], likenesses(problems), strict=True))
    held_out = set().union(*(keys[each.task_id] for each in sides["held_out"]))
    assert all(held_out.isdisjoint(keys[each.task_id]) for each in sides["train"])
    assert not any(held_out.isdisjoint(keys[each.task_id]) for each in sides["left_out"])
    assert not [each for each in sides["train"] if each.body == problems[0].body]


def test_a_family_stays_on_its_side_when_others_come_or_the_share_grows(
    tmp_path: Path, problems: list[Problem]
) -> None:
    first, fewer, more = (
        {each.task_id for each in _split(tmp_path / name, given, share=share)["held_out"]}
        for name, given, share in (("a", problems, 0.3), ("b", problems[:60], 0.3), ("c", problems, 0.5))
    )
    assert fewer == {task for task in first if task in {each.task_id for each in problems[:60]}}
    assert first < more


def test_what_is_left_can_be_validated_on(tmp_path: Path, problems: list[Problem]) -> None:
    families = {family_of(each) for each in _split(tmp_path / "a", problems)["train"]}
    assert any(is_held_out(family, share=SHARE) for family in families)
    assert not all(is_held_out(family, share=SHARE) for family in families)


def test_the_command_and_its_manifest(tmp_path: Path, problems: list[Problem]) -> None:
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for file, part in zip(files, (problems[:70], problems[70:]), strict=True):
        write_jsonl(file, (problem.to_json() for problem in part))
    arguments = ["--problems", *map(str, files), "--output", str(tmp_path / "out"), "--share", "0.3"]
    done = subprocess.run([sys.executable, "tools/hold_out.py", *arguments], capture_output=True, text=True, check=True)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    for side in SIDES:
        number = len(list(read_jsonl(tmp_path / "out" / f"{side}.jsonl")))
        assert f"{side}: {number} problems of {manifest['counts'][f'{side}_families']} families" in done.stdout
        assert manifest["counts"][f"{side}_problems"] == number
    assert len(manifest["inputs"]) == 2


def test_bad_input_is_named_and_nothing_is_written(tmp_path: Path, problems: list[Problem]) -> None:
    file, output = tmp_path / "problems.jsonl", tmp_path / "out"
    write_jsonl(file, (problem.to_json() for problem in problems[:6]))
    with pytest.raises(InputError, match=r"t0.*another of the files has this task"):
        hold_out(HoldOutConfig(problems=(file, file), output=output))
    with pytest.raises(
        InputError, match=r"share: got 1e-09; leaves nothing to measure with, of 2 families.*holds out one"
    ):
        hold_out(HoldOutConfig(problems=(file,), output=output, share=1e-9))
    with pytest.raises(InputError, match="leaves nothing to train on"):
        hold_out(HoldOutConfig(problems=(file,), output=output, share=1 - 1e-9))
    assert not output.exists()
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="must be more than 0 and less than 1"):
            HoldOutConfig(problems=(file,), output=output, share=share)
    with pytest.raises(ConfigError, match="names no file"):
        HoldOutConfig(problems=(), output=output)
