"""Installed packages in the form of a virtual environment, in the cache, shared by all projects that need the same.

In: requirements. Out: an Environment. pip unpacks wheels with --target, run by our own interpreter: neither setup
scripts nor .pth files nor anything else of a package runs outside the sandbox.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from megatron_codex.files import atomic_directory
from megatron_codex.problems.projects.interpreter import Interpreter
from megatron_codex.problems.projects.pip_command import PackageIndex, run_pip
from megatron_codex.problems.projects.resolution import WHEELS_ONLY, resolve

_PYTHON_SHEBANG = re.compile(rb"#!.*python.*\n")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """python: the program to start. shown: directories that the sandbox must show for it."""

    python: Path
    shown: tuple[Path, ...]
    installed: bool
    """Made for these requirements; otherwise it is the interpreter with all that it has."""
    has_pytest: bool
    packages: tuple[tuple[str, str], ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)
    loosened: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in funnel.json."""
        return {
            "installed": self.installed,
            "packages": dict(self.packages),
            "dropped": self.dropped,
            "loosened": self.loosened,
        }


def bare_environment(interpreter: Interpreter, dropped: dict[str, str]) -> Environment:
    """The interpreter with all that it has. dropped: requirement -> why it was not installed."""
    shown = (interpreter.prefix, interpreter.base_prefix)
    return Environment(
        python=interpreter.program, shown=shown, installed=False, has_pytest=interpreter.has_pytest, dropped=dropped
    )


def make_environment(
    requirements: Sequence[str], interpreter: Interpreter, index: PackageIndex, cache: Path, *, without: str = ""
) -> Environment:
    """Found in the cache or made there. without: a package to leave out, whoever needs it: the project itself.

    Raises: UnreachableIndexError, PipFailedError.
    """
    resolution = resolve(requirements, interpreter, index, cache)
    packages = tuple(each for each in resolution.packages if each[0] != canonicalize_name(without))
    pinned = [f"{name}=={version}" for name, version in packages]
    key = hashlib.sha256(json.dumps([pinned, interpreter.tag, str(interpreter.executable)]).encode()).hexdigest()[:32]
    home = cache / "environments" / key
    with _locked(cache / "environments" / f"{key}.lock"):
        if not home.exists():
            with atomic_directory(home) as directory:
                _install(pinned, directory, home, interpreter, index)
    return Environment(
        python=home.absolute() / "bin" / "python",
        shown=(home.absolute(), interpreter.base_prefix),
        installed=True,
        packages=packages,
        dropped=resolution.dropped,
        loosened=resolution.loosened,
        has_pytest="pytest" in dict(packages),
    )


def _install(pinned: list[str], directory: Path, home: Path, interpreter: Interpreter, index: PackageIndex) -> None:
    """home: where `directory` will lie when it is whole."""
    (directory / "bin").mkdir()
    for name in ("python", "python3"):
        (directory / "bin" / name).symlink_to(interpreter.executable)
    version = ".".join(map(str, interpreter.version))
    settings = f"home = {interpreter.executable.parent}\ninclude-system-site-packages = false\nversion = {version}\n"
    (directory / "pyvenv.cfg").write_text(settings, encoding="utf-8")
    site_packages = directory / _site_packages(interpreter)
    site_packages.mkdir(parents=True)
    if not pinned:
        return
    arguments = ["install", "--quiet", "--no-deps", "--target", str(site_packages), *WHEELS_ONLY, *index.options]
    run_pip([*arguments, *pinned], interpreter=None if interpreter.is_own else interpreter.executable)
    # pip puts programs beside the modules, to be started by the Python that runs pip: not there in the sandbox.
    for script in sorted((site_packages / "bin").glob("*")) if (site_packages / "bin").is_dir() else ():
        target = directory / "bin" / script.name
        if script.is_file() and not script.is_symlink() and not target.exists():
            content = script.read_bytes()
            target.write_bytes(_PYTHON_SHEBANG.sub(f"#!{home.absolute()}/bin/python\n".encode(), content, count=1))
            shutil.copymode(script, target)


def _site_packages(interpreter: Interpreter) -> Path:
    return Path("lib", f"python{interpreter.version[0]}.{interpreter.version[1]}", "site-packages")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time makes an environment; the others wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
