"""pip, as a program of its own: it downloads and unpacks; what it downloads is never run.

In: pip's arguments. Out: what it printed; an index that cannot be reached is told from one that has no such package.
Where packages come from (indexes, mirrors, certificates) is the user's pip configuration's business.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_codex.errors import InputError

_UNREACHABLE = re.compile(r"connection broken by|Could not fetch URL|Network is unreachable|name resolution")
_ERROR = re.compile(r"^ERROR: (.*)", re.MULTILINE)
_NOTES = re.compile(r"\(from versions:[^)]*\)|\(Ignored the following.*|\(from [^)]*\)")
_OPTIONS = ["--disable-pip-version-check", "--no-input", "--retries", "2"]
_TIMEOUT_S = 900.0
_MAX_CHARS = 300


class PipFailedError(Exception):
    """pip's own words, in one line."""


class UnreachableIndexError(PipFailedError):
    """There is no network, or no index where pip's configuration says."""


@dataclass(frozen=True, kw_only=True)
class PackageIndex:
    """Where pip looks. wheels: directories of wheels and sdists besides the indexes of pip's configuration."""

    wheels: tuple[Path, ...] = ()

    @property
    def options(self) -> list[str]:
        return [option for path in self.wheels for option in ("--find-links", str(path.absolute()))]


def require_pip() -> None:
    """Raises: InputError when this interpreter has no pip."""
    try:
        # Not find_spec: an import hook of setuptools' answers that, and warns.
        importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError as error:
        remedy = "python -m ensurepip, or --no-install to run the suites with what this interpreter has"
        raise InputError("install", rule="needs pip, which this interpreter lacks", remedy=remedy) from error


def run_pip(
    arguments: Sequence[str], *, interpreter: Path | None = None, prelude: str = "", temporary: Path | None = None
) -> str:
    """Run pip and return its standard output. interpreter: which to install for; None: this one.

    prelude: Python source to run before pip, in its process. temporary: directory for pip's own files.
    Raises: PipFailedError, UnreachableIndexError.
    """
    chosen = [] if interpreter is None else ["--python", str(interpreter)]
    start = (
        ["-m", "pip"] if not prelude else ["-c", f"{prelude}\nimport runpy; runpy.run_module('pip', None, '__main__')"]
    )
    command = [sys.executable, "-P", *start, *chosen, *arguments, *_OPTIONS]
    environment = {**os.environ, **({"TMPDIR": str(temporary)} if temporary else {})}
    # Our own PYTHONPATH is not the environment's.
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PipFailedError(f"pip took longer than {_TIMEOUT_S:.0f} s") from error
    if done.returncode == 0:
        return done.stdout
    said = _one_line(done.stderr) or f"pip ended with exit code {done.returncode}"
    if _UNREACHABLE.search(done.stderr + done.stdout):
        raise UnreachableIndexError(f"the package index cannot be reached ({said})")
    raise PipFailedError(said)


def _one_line(text: str) -> str:
    lines = [line for line in _ERROR.findall(text) if "ResolutionImpossible" not in line]
    lines = lines or text.strip().splitlines()[-1:]
    return " ".join(_NOTES.sub("", lines[-1]).split())[:_MAX_CHARS] if lines else ""
