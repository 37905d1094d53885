"""A tiny project from its directory to its problems, and projects whose suites do not work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.problems import TraceConfig
from megatron_codex.errors import InputError
from megatron_codex.problems.ci_project import ProjectOutcome
from megatron_codex.problems.ci_traces import drop_duplicates, trace_projects
from megatron_codex.problems.readers import read_problems
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program

Trace = Callable[..., tuple[list[ProjectOutcome], Path]]


@pytest.fixture
def trace(tmp_path: Path, isolation: None) -> Trace:
    def run(*projects: Path, **settings: Any) -> tuple[list[ProjectOutcome], Path]:
        output = tmp_path / "output"
        settings = {"timeout_s": 60.0, "num_replays": 2, "workers": 2, "num_mutants": 4, "install": False, **settings}
        outcomes = trace_projects(TraceConfig(project=tuple(map(str, projects)), output=output, **settings))
        assert outcomes is not None
        return outcomes, output

    return run


@pytest.fixture(scope="module")
def small_words(tmp_path_factory: pytest.TempPathFactory, isolation: None, projects: Path) -> Path:
    """The fixture project as an sdist, traced: the output directory."""
    base = tmp_path_factory.mktemp("traced")
    sdist = base / "small_words-1.2.0.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(projects / "small_words", "small_words-1.2.0", filter=_without_caches)
    settings = {"timeout_s": 60.0, "num_replays": 3, "workers": 2, "num_mutants": 8, "install": False}
    config = TraceConfig(project=(str(sdist),), output=base / "output", **settings)
    trace_projects(config)
    return base / "output"


@pytest.fixture(scope="module")
def problems(small_words: Path) -> dict[str, Problem]:
    return {problem.entry_point: problem for problem in read_problems(small_words / "problems.jsonl")}


@pytest.fixture(scope="module")
def reasons(small_words: Path) -> dict[str, str]:
    rows = map(json.loads, (small_words / "dropped.jsonl").read_text().splitlines())
    return {row["function"].rsplit(":", 1)[1]: row["reason"] for row in rows}


def test_good_functions_become_problems(problems: dict[str, Problem]) -> None:
    assert sorted(problems) == [
        "Box.size",
        "count_vowels",
        "halve",
        "numbers",
        "shorten",
        "split_words",
        "steps",
        "take_last",
        "tally",
        "uses_module",
    ]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("roll", "not reproduced"),
        ("count_calls", "varies"),
        ("toggle", "equal arguments, different results"),
        ("add_to_total", "writes a global"),
        ("now", "not reproduced"),
        ("any_order", "not reproduced"),
        ("opaque", "result not plain"),
        ("takes_opaque", "arguments not plain"),
        ("always_one", "too few different outcomes"),
        ("third_party", "imports a third-party package"),
        ("make_adder", "result not plain"),
        ("add", "nested"),
        ("initials", "no docstring"),
        ("is_vowel", "no docstring"),
    ],
)
def test_others_are_dropped_with_their_reason(reasons: dict[str, str], function: str, reason: str) -> None:
    # A hash order may come out the same in one replay, by chance; then the later ones find it.
    expected = {reason, "varies"} if function == "any_order" else {reason}
    assert reasons[function] in expected


def test_a_problem_has_all_its_fields(problems: dict[str, Problem]) -> None:
    problem = problems["shorten"]
    assert problem.task_id == "small-words-1.2.0/small_words.words.shorten"
    assert problem.prompt == (
        "from __future__ import annotations\n\n\n"
        'SUFFIX = "..."\n\n\n'
        "def shorten(text: str, limit: int = 5, *, suffix: str = SUFFIX) -> str:\n"
        '    """\n'
        "    Cut a text that is longer than the limit, and say so with a suffix.\n"
        "\n"
        '    The suffix comes "on top" of the limit.\n'
        '    """\n'
    )
    assert problem.canonical_solution == problem.body
    assert problem.body.startswith("    # Short texts stay as they are.\n    return ")
    assert problem.licence == "MIT"
    assert problem.source == "small_words-1.2.0.tar.gz"
    assert problem.provenance["file"] == "src/small_words/words.py"
    assert problem.provenance["line"] == 16
    assert problem.provenance["num_calls"] == 4
    assert len(problem.provenance["sha256"]) == 64
    tests = problem.provenance["tests"]
    assert (tests["mutants"], tests["chosen"]) == (8, 4)
    assert tests["mutation_score"] == tests["killed"] / 8 > 0.5
    assert tests["covered"] == tests["branch_exits"] == 2
    assert problem.created_by.startswith("trace_ci.py ")


def test_defaults_are_left_out_of_calls(problems: dict[str, Problem]) -> None:
    assert "candidate('a') == 'a'" in problems["shorten"].test
    assert "candidate('abcdefgh', 2) == 'ab...'" in problems["shorten"].test
    assert "candidate('abcdefgh', suffix='\"') == 'abcde\"'" in problems["shorten"].test


def test_context_follows_imports_through_the_project(problems: dict[str, Problem]) -> None:
    assert problems["count_vowels"].context == (
        'from __future__ import annotations\n\n\nVOWELS = "aeiou"\n\n\n'
        "def is_vowel(letter):\n    return letter in VOWELS\n\n\n"
    )
    assert "import re\n" in problems["split_words"].context
    assert problems["split_words"].context.endswith('WORD = re.compile(r"[a-z]+")\n\n\n_WORD = WORD\n\n\n')


def test_arguments_are_recorded_before_they_are_changed(problems: dict[str, Problem]) -> None:
    assert "argument_0 = [1, 2, 3]\n    assert candidate(argument_0) == 3\n    assert argument_0 == [1, 2]\n" in (
        problems["take_last"].test
    )


def test_exceptions_become_tests(problems: dict[str, Problem]) -> None:
    assert any(example.get("raises") == "ValueError" for example in problems["halve"].io_examples)
    assert "except ValueError:" in problems["halve"].test


def test_recursive_calls_are_recorded(problems: dict[str, Problem]) -> None:
    assert problems["steps"].provenance["num_pairs"] == 9
    assert problems["steps"].signature.startswith("@functools.lru_cache(maxsize=None)\n")


def test_the_tests_tell_right_from_wrong(problems: dict[str, Problem]) -> None:
    with JudgePool(2, timeout_s=3.0) as pool:
        right = [Program.of(problem, problem.canonical_solution) for problem in problems.values()]
        wrong = [Program.of(problem, "    return None\n") for problem in problems.values()]
        verdicts = dict(pool.judge([*right, *wrong]))
    names = [verdicts[index].verdict for index in range(len(verdicts))]
    assert names[: len(right)] == ["passed"] * len(right)
    assert "passed" not in names[len(right) :]


def test_funnel_adds_up(small_words: Path) -> None:
    funnel = json.loads((small_words / "funnel.json").read_text())
    (project,) = funnel["of_projects"]
    assert project["project"] == "small-words-1.2.0"
    assert project["status"] == "done"
    assert project["tests"]["passed"] == 4
    counts, before = project["counts"], None
    for stage, count in counts.items():
        lost = sum(project["dropped"].get(stage, {}).values())
        assert before is None or count == before - lost
        before = count
    assert counts["problems"] == 10
    manifest = json.loads((small_words / "manifest.json").read_text())
    assert manifest["counts"]["problems"] == 10


def test_bad_projects_do_not_stop_the_others(trace: Trace, tmp_path: Path) -> None:
    good = _project(
        tmp_path, "good", "def test():\n    from lib import double\n    assert double(2) == 4 != double(1)\n"
    )
    failing = _project(tmp_path, "failing", "def test():\n    assert False\n")
    leaving = _project(tmp_path, "leaving", "import os\ndef test():\n    os._exit(0)\n")
    needing = _project(tmp_path, "needing", "import no_such_package_xyz\n")
    untested = _project(tmp_path, "untested", None)
    broken = tmp_path / "broken-1.0.tar.gz"
    broken.write_bytes(b"\x1f\x8b this is no archive")
    outcomes, output = trace(broken, failing, leaving, needing, untested, good)
    reasons = {outcome.path.name: (outcome.reason, outcome.detail) for outcome in outcomes}
    assert reasons["broken-1.0.tar.gz"][0] == "broken archive"
    assert reasons["failing"][0] == "no test passes"
    assert reasons["leaving"][0] == "tests end early"
    assert reasons["needing"] == ("no test passes", "modules missing: no_such_package_xyz")
    assert reasons["untested"][0] == "no tests"
    assert reasons["good"] == ("", "")
    assert [problem.entry_point for problem in read_problems(output / "problems.jsonl")] == ["double"]
    funnel = json.loads((output / "funnel.json").read_text())
    assert funnel["projects_failed"] == 5
    # The same shape as the filter's funnel, summed over projects: the report reads both.
    assert funnel["counts"]["problems"] == 1
    assert funnel["counts"]["called"] == sum(project["counts"]["called"] for project in funnel["of_projects"])
    assert funnel["dropped"].keys() <= funnel["counts"].keys()


def test_pytest_s_settings_hold_inside(trace: Trace, tmp_path: Path) -> None:
    """conftest.py, markers, python_files, testpaths, doctests of addopts, a program of /tmp."""
    root = _project(tmp_path, "configured", None)
    (root / "checks").mkdir()
    (root / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef number():\n    return 5\n")
    (root / "checks" / "check_lib.py").write_text(
        "import lib, pytest\n"
        "def test_fixture(number):\n    assert lib.double(number) == 10\n"
        "@pytest.mark.slow\ndef test_slow():\n    assert lib.double(7) == 14\n"
        "class CheckClass:\n    def test_method(self, tmp_path):\n        assert lib.double(2) == 4\n"
    )
    (root / "pytest.ini").write_text(
        "[pytest]\npython_files = check_*.py\npython_classes = Check*\ntestpaths = checks\nmarkers = slow\n"
        "addopts = --strict-markers --cov=lib -m 'not slow'\nfilterwarnings = error\n"
    )
    (root / "tox.ini").write_text("[testenv]\ncommands = pytest {posargs}\n")
    (outcome,), _ = trace(root)
    assert outcome.facts["tests"]["passed"] == 2
    assert {name: outcome.facts["tests"][name] for name in ("failed", "errors")} == {"failed": 0, "errors": 0}
    assert outcome.facts["runner"]["command"] == "pytest -m 'not slow' checks"
    assert outcome.facts["runner"]["found_in"] == "tox.ini"


def test_a_command_in_which_no_test_passes_gives_way_to_the_tests_that_are_found(trace: Trace, tmp_path: Path) -> None:
    test = "def test():\n    from lib import double\n    assert double(2) == 4 != double(1)\n"
    root = _project(tmp_path, "odd", test)
    (root / "tox.ini").write_text("[testenv]\ncommands = pytest -k nothing_is_called_so\n")
    (outcome,), _ = trace(root)
    assert outcome.reason == ""
    assert outcome.facts["runner"]["command"] == "pytest test_lib.py"
    assert outcome.facts["runner"]["tried_before"]["command"] == "pytest -k nothing_is_called_so ."
    assert outcome.facts["runner"]["tried_before"]["reason"].startswith("no test passes: ")


def test_a_suite_runs_with_the_wheels_that_it_needs_and_its_own_command(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "needed-1.5-py3-none-any.whl", "w") as archive:
        archive.writestr("needed.py", "FACTOR = 2\n")
        archive.writestr("needed-1.5.dist-info/METADATA", "Metadata-Version: 2.1\nName: needed\nVersion: 1.5\n")
        archive.writestr("needed-1.5.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("needed-1.5.dist-info/RECORD", "")
    root = _project(tmp_path, "mine", None)
    (root / "suite").mkdir()
    (root / "suite" / "some_t.py").write_text(
        "import importlib.util, unittest\nfrom needed import FACTOR\nfrom lib import double\n"
        "class T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(double(2), 2 * FACTOR)\n"
        "        self.assertEqual(double(1), FACTOR)\n        self.assertIsNone(importlib.util.find_spec('pytest'))\n"
    )
    (root / "tox.ini").write_text(
        "[testenv]\ndeps =\n    needed>=1\n    absent\ncommands = python -m unittest discover -s suite -p '*_t.py'\n"
    )
    (outcome,), output = trace(root, install=True, wheels=(wheels,), cache=tmp_path / "cache")
    assert (outcome.reason, outcome.facts["tests"]["passed"]) == ("", 1)
    assert outcome.facts["environment"]["packages"] == {"needed": "1.5"}
    assert set(outcome.facts["environment"]["dropped"]) == {"pytest>=7", "absent"}
    assert outcome.facts["runner"]["command"] == "unittest discover -s suite -p '*_t.py'"
    assert [problem.entry_point for problem in read_problems(output / "problems.jsonl")] == ["double"]


def test_a_suite_that_hangs_is_stopped(trace: Trace, tmp_path: Path) -> None:
    hanging = _project(tmp_path, "hanging", "import time\ndef test():\n    time.sleep(600)\n")
    (outcome,), _ = trace(hanging, timeout_s=4.0)
    assert outcome.reason == "timeout"
    assert outcome.seconds < 60


def test_equal_programs_count_once() -> None:
    def outcome(*task_ids: str, body: str) -> ProjectOutcome:
        fields = {"prompt": "def f():\n", "entry_point": "f", "canonical_solution": body, "test": "t"}
        problems = [Problem(task_id=task_id, **fields) for task_id in task_ids]
        result = ProjectOutcome(path=Path("p"), problems=problems)
        result.funnel.reach("problems", len(problems))
        return result

    known: set[str] = set()
    first, copy, other = (
        outcome("a", body="    return 1\n"),
        outcome("b", body="    return 1\n"),
        outcome("a", "c", body="    return 2\n"),
    )
    for each in (first, copy, other):
        drop_duplicates(each, known)
    assert [[problem.task_id for problem in each.problems] for each in (first, copy, other)] == [["a"], [], ["c"]]
    assert copy.funnel.counts["problems"] == 0
    assert copy.funnel.reasons["problems"]["duplicate by body"] == 1


def test_a_missing_project_is_bad_input_before_any_work(tmp_path: Path) -> None:
    config = TraceConfig(project=(str(tmp_path), f"{tmp_path}/absent.tar.gz"), output=tmp_path / "output")
    with pytest.raises(InputError, match=r"absent\.tar\.gz: no such project"):
        trace_projects(config)
    assert not (tmp_path / "output").exists()


def test_an_output_that_exists_is_bad_input_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "problems.jsonl").write_text("precious")
    monkeypatch.setattr("megatron_codex.problems.ci_traces.do_task", lambda *_: pytest.fail("work began"))
    with pytest.raises(InputError, match="exists already"):
        trace_projects(TraceConfig(project=(str(tmp_path),), output=tmp_path / "output"))
    assert (tmp_path / "output" / "problems.jsonl").read_text() == "precious"


def _project(base: Path, name: str, test: str | None) -> Path:
    root = base / name
    root.mkdir()
    (root / "lib.py").write_text('def double(number):\n    """Double a number."""\n    return 2 * number\n')
    if test is not None:
        (root / "test_lib.py").write_text(test)
    return root


def _without_caches(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else member


def test_exit_codes_of_the_command(tmp_path: Path, isolation: None) -> None:
    tool = Path(__file__).parents[2] / "tools" / "trace_ci.py"
    (tmp_path / "bad.tar.gz").write_text("no archive")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(tool), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    missing = run("--project", "./absent", "--output", "out")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("error: ./absent: no such project; name an sdist, a wheel, a directory, ")
    assert not (tmp_path / "out").exists()
    failed = run("--project", "bad.tar.gz", "--output", "out")
    assert failed.returncode == 1
    assert "FAILED: broken archive: " in failed.stdout.splitlines()[1]
    assert failed.stderr.splitlines()[-1] == "error: every project failed: out/funnel.json says why"
    assert json.loads((tmp_path / "out" / "funnel.json").read_text())["projects_failed"] == 1
