"""How projects run their own tests: read from their files, none of which is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.problems.projects.command_lines import Step, read_line
from megatron_codex.problems.projects.import_roots import find_import_roots
from megatron_codex.problems.projects.test_commands import choose_command, read_own_commands

from .conftest import write_files

TOX = """
[tox]
envlist = py3
[base]
deps = from-base
[testenv]
deps =
    pytest>=6
    {[base]deps}
    -rrequirements/ci.txt
    cov: coverage
extras = ci
commands =
    cov: coverage erase
    {envpython} -m pytest --cov={toxinidir} -n 4 -m "not slow" -k 'a or b' {posargs:tests more} --ignore=tests/slow
"""
NOX = """
import nox
raise SystemExit("run")
@nox.session(python=["3.11"])
def tests(session):
    session.install("-r", "requirements/ci.txt", ".[ci]", "freezegun")
    session.run("pytest", "tests", *session.posargs, env={"A": "b"})
"""
TRAVIS = """
language: python
install: pip install mock
script:
  - flake8
  - cd tests && nosetests
  - travis_retry coverage run --source x -m unittest discover -s tests -p "*_t.py" -v
"""
WORKFLOW = """
on: push
jobs:
  test:
    steps:
      - uses: actions/checkout
      - run: |
          pip install .[ci] pytest-mock
          uv run --group test pytest --junitxml out.xml ${{ matrix.args }} \\
            sub/tests
"""
TABLES = """
[tool.tox.env_run_base]
deps = ["pytest", "-r{tox_root}/requirements/ci.txt"]
extras = ["ci"]
commands = [
    ["ruff", "check"],
    ["pytest", {replace = "posargs", default = ["tests"], extend = true}, "--import-mode=importlib"],
]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project without a word on how its tests are run."""
    files = ("tests/test_a.py", "more/test_b.py", "sub/tests/test_c.py", "tests/slow/test_d.py")
    return write_files(tmp_path, {**dict.fromkeys(files, ""), "requirements/ci.txt": "from-file\n"})


@pytest.mark.parametrize(
    ("file", "text", "command", "requirements", "extras"),
    [
        (
            "tox.ini",
            TOX,
            ("pytest", "-m", "not slow", "-k", "a or b", "--ignore", "tests/slow", "tests", "more"),
            ("pytest>=6", "from-base", "from-file", "coverage"),
            ("ci",),
        ),
        (
            "pyproject.toml",
            TABLES,
            ("pytest", "--import-mode", "importlib", "tests"),
            ("pytest", "from-file"),
            ("ci",),
        ),
        ("noxfile.py", NOX, ("pytest", "tests"), ("from-file", "freezegun"), ("ci",)),
        (".travis.yml", TRAVIS, ("unittest", "discover", "-s", "tests", "-p", "*_t.py"), ("mock",), ()),
        (".github/workflows/a.yml", WORKFLOW, ("pytest", "sub/tests"), ("pytest-mock",), ("ci",)),
    ],
    ids=["tox.ini", "tox tables", "nox", "travis", "github"],
)
def test_the_project_s_own_command(
    root: Path, file: str, text: str, command: tuple[str, ...], requirements: tuple[str, ...], extras: tuple[str, ...]
) -> None:
    own = read_own_commands(write_files(root, {file: text}))
    assert own.command is not None
    assert (own.command.runner, *own.command.arguments) == command
    assert own.command.found_in == file
    assert own.requirements == requirements
    assert own.extras == extras
    assert own.unsupported == (("nosetests",) if file == ".travis.yml" else ())


def test_the_first_file_that_runs_tests_wins(root: Path) -> None:
    write_files(root, {"tox.ini": "[testenv]\ncommands = ruff check\n", "noxfile.py": NOX, ".travis.yml": TRAVIS})
    own = read_own_commands(root)
    assert own.command is not None and own.command.found_in == "noxfile.py"
    assert own.unsupported == ("nosetests",)


def test_a_command_on_test_files_goes_before_doctests(root: Path) -> None:
    write_files(root, {"README.rst": "", "pkg/__init__.py": ""})
    doctests = "pytest README.rst\n  pytest --doctest-modules pkg\n"
    own = read_own_commands(write_files(root, {"tox.ini": f"[testenv]\ncommands =\n  {doctests}  pytest tests\n"}))
    assert own.command is not None and own.command.arguments == ("tests",)
    own = read_own_commands(write_files(root, {"tox.ini": f"[testenv]\ncommands =\n  {doctests}"}))
    assert own.command is not None and own.command.arguments == ("README.rst",)


def test_only_what_is_installed_for_the_tests_counts_and_for_this_python(root: Path) -> None:
    tox = """
[testenv]
deps = py27: ancient
    py27,py311: right
    py312: newer
    !py27: not-old
commands = pytest tests
[testenv:docs]
deps = sphinx
commands = sphinx-build docs
"""
    assert read_own_commands(write_files(root, {"tox.ini": tox}), python="3.11").requirements == ("right", "not-old")


def test_discovery_by_configuration_and_by_names(root: Path) -> None:
    own = read_own_commands(root)
    assert own.command is None
    named = choose_command(root, own, ("tests", "more"), has_pytest=True)
    assert (named.runner, named.arguments, named.found_in) == ("pytest", ("tests", "more"), "discovery")
    write_files(
        root, {"setup.cfg": "[tool:pytest]\ntestpaths = sub/*\naddopts = --cov x --doctest-modules -p no:cov\n"}
    )
    configured = choose_command(root, own, ("tests",), has_pytest=True)
    assert configured.arguments == ("--doctest-modules", "-p", "no:cov", "sub/tests")
    assert configured.left_out == ("--cov",)
    write_files(root, {"pytest.ini": "[pytest]\ntestpaths =\n    more\n    absent\n"})
    assert choose_command(root, own, ("tests",), has_pytest=True).arguments == ("more",)
    without = choose_command(root, own, ("tests",), has_pytest=False)
    assert (without.runner, without.arguments) == ("unittest", ("tests",))


def test_paths_that_are_not_there_or_lead_outside_are_left_out(root: Path) -> None:
    write_files(root, {"tox.ini": "[testenv]\ncommands = pytest absent ../../etc /etc more/test_b.py::test_x\n"})
    own = read_own_commands(root)
    assert own.command is not None
    assert own.command.arguments == ("more/test_b.py::test_x",)
    assert own.command.left_out == ("absent", "../../etc", "/etc")
    write_files(root, {"tox.ini": "[testenv]\ncommands =\n  pytest {envsitepackagesdir}/pkg\n  pytest tests\n"})
    own = read_own_commands(root)
    assert own.command is not None and own.command.arguments == ("tests",)
    write_files(root, {"tox.ini": "[testenv]\ncommands = pytest absent\n"})
    assert read_own_commands(root).command is None


def test_a_command_in_another_directory(root: Path) -> None:
    write_files(root, {"tox.ini": "[testenv]\nchangedir = sub\ncommands = pytest tests --ignore=x -c ../pytest.ini\n"})
    own = read_own_commands(root)
    assert own.command is not None
    assert own.command.arguments == ("--ignore", "sub/x", "-c", "sub/../pytest.ini", "sub/tests")


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("python3.11 -W error -bm pytest -q a", ("pytest", "-q", "a")),
        ("PYTHONPATH=src py.test a && echo done", ("pytest", "a")),
        ("coverage run --branch --source pkg -m pytest a", ("pytest", "a")),
        ("sudo env A=1 poetry run python -m pytest", ("pytest",)),
        ("uv run --with x --extra y pytest a", ("pytest", "a")),
        ("/usr/bin/python -m unittest -v a.b", ("unittest", "-v", "a.b")),
        ("python setup.py test", ("unsupported", "python", "setup.py", "test")),
        ("python -m nose2", ("unsupported", "python", "-m", "nose2")),
        ("python tests/run_tests.py", ("unsupported", "python", "tests/run_tests.py")),
        ("python -m pip install -U a b", ("install", "-U", "a", "b")),
        ("echo pytest", None),
        ("pytest 'open", None),
        ("python -m build", None),
        ("", None),
    ],
)
def test_a_line_of_a_shell(line: str, step: tuple[str, ...] | None) -> None:
    found = [(each.kind, *each.words) for each in read_line(line)]
    assert found == ([] if step is None else [step])


def test_a_change_of_directory_holds_for_what_follows() -> None:
    assert list(read_line("cd a; cd b && pytest x")) == [Step(kind="pytest", words=("x",), directory="a/b")]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tox.ini", "[testenv]\ncommands = {posargs:" * 50),
        ("tox.ini", "no section"),
        ("tox.ini", "[testenv]\ncommands = {[testenv]commands}{[testenv]commands}"),
        ("pyproject.toml", "[tool]\ntox = 1\nhatch = [2]\n"),
        ("pyproject.toml", '[tool.tox.env_run_base]\ncommands = [1, ["a", 2]]\n'),
        ("noxfile.py", "def broken(:"),
        (".travis.yml", "script: {a: [1, 2]}\njobs: [x]\n"),
        (".travis.yml", "a: &a [*a]\n"),
        (".github/workflows/x.yml", "jobs: {t: {steps: [1, {run: 2}]}}"),
        (".github/workflows/x.yml", "- !!python/object/apply:os.system ['touch ran']"),
    ],
)
def test_files_of_another_form_say_nothing(root: Path, file: str, text: str) -> None:
    assert read_own_commands(write_files(root, {file: text})).command is None


@pytest.mark.parametrize(
    ("files", "roots"),
    [
        ({"pkg/__init__.py": ""}, (".",)),
        ({"src/pkg/__init__.py": ""}, (".", "src")),
        ({"lib/pkg/__init__.py": "", "setup.py": "setup(package_dir={'': 'lib'})"}, (".", "lib")),
        (
            {"python/pkg/__init__.py": "", "pyproject.toml": '[tool.setuptools.packages.find]\nwhere = ["python"]'},
            (".", "python"),
        ),
        ({"a/pkg/__init__.py": "", "setup.cfg": "[options]\npackage_dir =\n    = a\n"}, (".", "a")),
        ({"deep/er/my_pkg/__init__.py": ""}, (".", "deep/er")),
        ({"x.py": "", "setup.py": "setup(package_dir={'': '../../etc'})"}, (".",)),
    ],
    ids=["flat", "src", "setup.py", "pyproject", "setup.cfg", "sub-directory", "outside"],
)
def test_import_roots(tmp_path: Path, files: dict[str, str], roots: tuple[str, ...]) -> None:
    name = "my-pkg" if any("my_pkg" in file for file in files) else "pkg"
    assert find_import_roots(write_files(tmp_path, files), name) == roots
