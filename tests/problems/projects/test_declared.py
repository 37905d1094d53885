"""What projects say that they need, in every form that they say it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.problems.projects.declared import read_declared
from megatron_codex.problems.projects.poetry import poetry_requirements
from megatron_codex.problems.projects.requirement_lines import read_requirements
from megatron_codex.problems.projects.setup_py import setup_arguments

from .conftest import write_files

MARKERS = {"python_version": "3.11", "sys_platform": "linux", "implementation_name": "cpython"}

PYPROJECT = """
[build-system]
requires = ["hatchling>=1.2", 'tomli; python_version < "3.11"']
[project]
name = "x"
dependencies = ["runs>=1", 'old; python_version < "3.8"', "bad @ https://example.org/x.whl", "not a requirement"]
[project.optional-dependencies]
test = ["tests-a[fast]"]
docs = ["sphinx"]
dev = ["black", "helper"]
[dependency-groups]
testing = ["group-a", {include-group = "more"}]
more = ["group-b", {include-group = "testing"}]
[tool.poetry.dependencies]
python = "^3.8"
caret = "^1.2.3"
zero = "^0.2.3"
tilde = "~1.4"
exact = "2.0"
any = "*"
maybe = {version = "^1", optional = true}
local = {path = "../local"}
alternatives = "^1.0 || ^2.0"
[tool.poetry.group.dev.dependencies]
grouped = {version = ">=1,<3", extras = ["x"], markers = "python_version < '3.9'"}
"""


def test_pyproject(tmp_path: Path) -> None:
    declared = read_declared(write_files(tmp_path, {"pyproject.toml": PYPROJECT}))
    assert declared.runtime == (
        *("runs>=1", 'old; python_version < "3.8"', "caret<2,>=1.2.3", "zero<0.3,>=0.2.3", "tilde<1.5,>=1.4"),
        *("exact==2.0", "any", "alternatives<3,>=2.0"),
    )
    assert declared.tests == (
        *("tests-a[fast]", "group-a", "group-b", "black", "helper", 'grouped[x]<3,>=1; python_version < "3.9"'),
    )
    assert declared.chosen(MARKERS)[0] == "runs>=1"
    assert declared.chosen(MARKERS)[-4:] == ["tests-a[fast]", "group-a", "group-b", "helper"]
    assert declared.chosen_build(MARKERS) == ["hatchling>=1.2"]
    # Markers are those of the interpreter that the suite runs under, not of this one.
    assert declared.chosen_build({**MARKERS, "python_version": "3.10"}) == ["hatchling>=1.2", "tomli"]


SETUP_PY = """
import os
from setuptools import setup
open({marker!r}, "w").close()
BASE = ["runs>=1"]
TESTS = ["tests-a"] + ["tests-b"]
extras = dict(test=TESTS, docs=["sphinx"])
extras["testing"] = ["tests-c"]
arguments = {{"tests_require": TESTS}}
setup(
    name="x", install_requires=BASE + ['old; python_version < "3.8"'], extras_require=extras,
    version=os.environ["VERSION"], package_dir={{"": "lib"}}, setup_requires=["cffi"], **arguments,
)
"""


def test_setup_py_is_parsed_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    write_files(tmp_path, {"setup.py": SETUP_PY.format(marker=str(marker))})
    declared = read_declared(tmp_path)
    assert declared.runtime == ("runs>=1", 'old; python_version < "3.8"')
    assert declared.tests == ("tests-a", "tests-b", "tests-c")
    assert declared.build == ("setuptools", "wheel", "cffi")
    assert setup_arguments(tmp_path)["package_dir"] == {"": "lib"}
    assert "version" not in setup_arguments(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("source", ["setup(", "setup(*a, **b)", "x = [" * 3000, "setup(install_requires=read())", "\0"])
def test_a_setup_py_that_says_nothing_plain(tmp_path: Path, source: str) -> None:
    assert setup_arguments(write_files(tmp_path, {"setup.py": source})) == {}


def test_setup_cfg_and_its_files(tmp_path: Path) -> None:
    config = (
        "[options]\ninstall_requires = file: base.txt\n[options.extras_require]\ntests =\n    tests-a\n    tests-b>2\n"
    )
    declared = read_declared(write_files(tmp_path, {"setup.cfg": config, "base.txt": "runs\n"}))
    assert (declared.runtime, declared.tests) == (("runs",), ("tests-a", "tests-b>2"))


def test_metadata_of_an_sdist(tmp_path: Path) -> None:
    lines = [
        "runs (>=1)",
        'tests-a ; extra == "test"',
        "tests-b; python_version < '4' and extra == 'dev'",
        'x; extra=="docs"',
    ]
    metadata = "Metadata-Version: 2.1\nName: x\nVersion: 1\n" + "".join(f"Requires-Dist: {line}\n" for line in lines)
    requires = "runs-too\n\n[:python_version < '3']\nold\n\n[test]\ntests-c\n\n[docs]\nsphinx\n"
    declared = read_declared(write_files(tmp_path, {"PKG-INFO": metadata, "x.egg-info/requires.txt": requires}))
    assert declared.runtime == ("runs>=1", "runs-too", 'old; python_version < "3"')
    assert declared.tests == ("tests-a", 'tests-b; python_version < "4"', "tests-c")
    assert "old" not in declared.chosen(MARKERS)


def test_requirement_files_without_options_urls_and_ways_out(tmp_path: Path) -> None:
    root = tmp_path / "project"
    text = (
        "-i https://example.org/simple\n--extra-index-url x\n-e .\n-e git+https://example.org/x#egg=x\n"
        "https://example.org/x.whl\n./local\n-r more/base.txt\n-r ../outside.txt\n-r requirements.txt\n"
        "good==1.0 \\\n    --hash=sha256:00  # why\nname @ file:///etc\n--help\n"
    )
    write_files(root, {"requirements.txt": text, "more/base.txt": "base\n-r deep.txt\n", "more/deep.txt": "deep\n"})
    write_files(tmp_path, {"outside.txt": "outside\n"})
    assert list(dict.fromkeys(read_requirements(root, "requirements.txt"))) == ["base", "deep", "good==1.0"]
    assert not any(text.startswith("-") for text in read_declared(root).chosen(MARKERS))


def test_extras_and_requirements_of_the_project_s_own_commands(tmp_path: Path) -> None:
    write_files(tmp_path, {"pyproject.toml": '[project]\nname = "x"\n[project.optional-dependencies]\nci = ["ci-a"]\n'})
    assert read_declared(tmp_path).tests == ()
    assert read_declared(tmp_path, extras=["ci"], installed=["own"]).tests == ("ci-a", "own")


def test_a_tool_that_the_project_itself_needs_is_kept(tmp_path: Path) -> None:
    write_files(tmp_path, {"requirements.txt": "black\n", "setup.cfg": "[options]\ninstall_requires = black\n"})
    assert read_declared(tmp_path).chosen(MARKERS) == ["black"]


def test_tables_of_another_form_say_nothing(tmp_path: Path) -> None:
    odd = '[project]\nname = "x"\ndependencies = "runs"\noptional-dependencies = []\n'
    odd += "[tool.poetry]\ngroup = 1\nextras = 2\n"
    declared = read_declared(write_files(tmp_path, {"pyproject.toml": odd, "setup.cfg": "no section\n"}))
    assert (declared.runtime, declared.tests) == ((), ())
    assert list(poetry_requirements({"dependencies": {"a": ["^1", {"version": 2}]}}, ())) == ["a>=1,<2"]


@pytest.mark.parametrize(
    ("name", "is_read"),
    [
        ("requirements.txt", True),
        ("test_requirements.txt", True),
        ("requirements-dev.txt", True),
        ("tests/requirements.txt", True),
        ("requirements/testing.txt", True),
        ("requirements/ci.in", True),
        ("requirements-docs.txt", False),
        ("docs/requirements.txt", False),
        ("requirements/lint.txt", False),
        ("tests/data.txt", False),
    ],
)
def test_which_requirement_files_are_for_tests(tmp_path: Path, name: str, is_read: bool) -> None:
    declared = read_declared(write_files(tmp_path, {name: "needed\n"}))
    assert declared.tests == (("needed",) if is_read else ())
