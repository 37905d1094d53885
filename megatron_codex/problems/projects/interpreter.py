"""The Python that suites run under: this one, or another that the user names.

In: a path or a program's name. Out: an Interpreter: its version, its files, and what markers see of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packaging.markers import default_environment

from megatron_codex.errors import InputError

_MIN_VERSION = (3, 11)
_TIMEOUT_S = 60.0
_ASK = """
import importlib.util, json, os, platform, sys
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    "program": sys.executable, "prefix": sys.prefix, "has_pytest": importlib.util.find_spec("pytest") is not None,
    "base_prefix": os.path.realpath(sys.base_prefix), "version": sys.version_info[:3],
    "markers": {
        "python_version": "%d.%d" % sys.version_info[:2], "python_full_version": platform.python_version(),
        "implementation_name": sys.implementation.name,
        "platform_python_implementation": platform.python_implementation(),
    },
}))
"""


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """executable, base_prefix: of the installation; program, prefix: of the virtual environment that names it."""

    program: Path
    prefix: Path
    executable: Path
    base_prefix: Path
    version: tuple[int, int, int]
    markers: tuple[tuple[str, str], ...]
    is_own: bool
    """It is the one that runs this."""
    has_pytest: bool
    """The program, as it is, has pytest."""

    @property
    def tag(self) -> str:
        """Which wheels fit it: cpython-3.11, ..."""
        facts = dict(self.markers)
        return f"{facts['implementation_name']}-{self.version[0]}.{self.version[1]}"


@cache
def find_interpreter(program: str | None) -> Interpreter:
    """program: a path or a name on PATH; None: the Python that runs this. Raises: InputError, before any work."""
    remedy = "name a Python of version 3.11 or later, or leave --python out"
    found = sys.executable if program is None else shutil.which(program)
    if found is None:
        raise InputError("python", value=program, rule="no such program", remedy=remedy)
    try:
        asked = subprocess.run([found, "-I", "-c", _ASK], capture_output=True, timeout=_TIMEOUT_S, check=True)
        facts = json.loads(asked.stdout)
        version = tuple(facts["version"])
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        raise InputError("python", value=found, rule="is no Python that runs here", remedy=remedy) from error
    if version < _MIN_VERSION:
        raise InputError("python", value=found, rule=f"is Python {version[0]}.{version[1]}", remedy=remedy)
    executable = Path(facts["executable"])
    markers = {name: str(value) for name, value in default_environment().items()} | facts["markers"]
    return Interpreter(
        program=Path(facts["program"]),
        prefix=Path(facts["prefix"]),
        has_pytest=bool(facts["has_pytest"]),
        executable=executable,
        base_prefix=Path(facts["base_prefix"]),
        version=(version[0], version[1], version[2]),
        markers=tuple(sorted(markers.items())),
        is_own=executable == Path(getattr(sys, "_base_executable", sys.executable)).resolve(),
    )
