"""Environments of wheels: made once, by a pip that knows a local directory only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from megatron_codex.problems.projects import environment as environments
from megatron_codex.problems.projects.environment import make_environment
from megatron_codex.problems.projects.interpreter import find_interpreter
from megatron_codex.problems.projects.pip_command import PackageIndex, PipFailedError, UnreachableIndexError

from .conftest import MakeWheel, write_sdist

pytestmark = pytest.mark.usefixtures("no_index")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A file that code of a package would make."""
    return tmp_path / "ran"


def test_wheels_are_unpacked_and_never_run(make_wheel: MakeWheel, wheels: Path, tmp_path: Path, ran: Path) -> None:
    touch = f"open({str(ran)!r}, 'w').close()\n"
    files = {"first.py": touch, "first.pth": f"import os; {touch}", "sitecustomize.py": touch}
    make_wheel("first", "1.0", files=files, requires=("second>1",))
    make_wheel("second", "1.5")
    make_wheel("second", "1.0")
    index, cache = PackageIndex(wheels=(wheels,)), tmp_path / "cache"
    made = make_environment(["first"], find_interpreter(None), index, cache)
    assert (made.packages, made.dropped, made.installed) == ((("first", "1.0"), ("second", "1.5")), {}, True)
    assert not made.has_pytest
    again = make_environment(["first"], find_interpreter(None), index, cache)
    assert again == made and not ran.exists()
    # The program finds its packages, and none of the interpreter that made it.
    code = "import second, sys; print(second.VERSION); import pluggy"
    run = subprocess.run([made.python, "-I", "-c", code], capture_output=True, text=True, env={"PATH": os.defpath})
    assert run.stdout == "1.5\n" and "No module named 'pluggy'" in run.stderr


def test_it_is_found_again_without_pip(
    make_wheel: MakeWheel, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel("first", "1.0")
    index, cache = PackageIndex(wheels=(wheels,)), tmp_path / "cache"
    made = make_environment(["first"], find_interpreter(None), index, cache)
    for module in ("environment", "resolution"):
        name = f"megatron_codex.problems.projects.{module}.run_pip"
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("pip was asked again"))
    assert make_environment(["first"], find_interpreter(None), index, cache) == made


def test_what_has_no_wheel_is_named_and_the_rest_installed(
    make_wheel: MakeWheel, wheels: Path, tmp_path: Path, ran: Path
) -> None:
    make_wheel("first", "1.0")
    make_wheel("needs_source", "1.0", requires=("source_only",))
    setup = f"open({str(ran)!r}, 'w').close()\n"
    write_sdist(wheels / "source_only-1.0.tar.gz", {"source_only-1.0/setup.py": setup})
    wanted = ["absent>=2", "first>=3", "source_only", "needs_source"]
    made = make_environment(wanted, find_interpreter(None), PackageIndex(wheels=(wheels,)), tmp_path / "cache")
    assert made.packages == (("first", "1.0"),)
    assert set(made.dropped) == {"absent>=2", "source_only", "needs_source"}
    assert made.loosened == {"first>=3": "first"}
    assert not ran.exists()


def test_versions_that_conflict_give_way_to_those_named_before(
    make_wheel: MakeWheel, wheels: Path, tmp_path: Path
) -> None:
    make_wheel("first", "1.0", requires=("second==1.0",))
    for version in ("1.0", "2.0"):
        make_wheel("second", version)
    wanted = ["first", "second==2.0"]
    made = make_environment(wanted, find_interpreter(None), PackageIndex(wheels=(wheels,)), tmp_path / "cache")
    assert made.packages == (("first", "1.0"), ("second", "1.0"))
    assert made.loosened == {"second==2.0": "second"} and made.dropped == {}


def test_the_project_itself_is_not_installed_for_a_package_that_needs_it(
    make_wheel: MakeWheel, wheels: Path, tmp_path: Path
) -> None:
    make_wheel("plugin", "1.0", requires=("My.Project",))
    make_wheel("my_project", "0.1")
    index = PackageIndex(wheels=(wheels,))
    made = make_environment(["plugin"], find_interpreter(None), index, tmp_path / "cache", without="my-project")
    assert made.packages == (("plugin", "1.0"),)


def test_an_index_that_cannot_be_reached_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr("megatron_codex.problems.projects.pip_command._OPTIONS", ["--no-input", "--retries", "1"])
    with pytest.raises(UnreachableIndexError, match="cannot be reached"):
        make_environment(["first"], find_interpreter(None), PackageIndex(), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_an_installation_that_fails_leaves_no_environment(
    make_wheel: MakeWheel, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel("first", "1.0")
    index, cache = PackageIndex(wheels=(wheels,)), tmp_path / "cache"

    def fail(*_: object, **__: object) -> str:
        raise PipFailedError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(environments, "run_pip", fail)
        with pytest.raises(PipFailedError):
            make_environment(["first"], find_interpreter(None), index, cache)
    assert [path.suffix for path in (cache / "environments").iterdir()] == [".lock"]
    assert make_environment(["first"], find_interpreter(None), index, cache).packages == (("first", "1.0"),)
