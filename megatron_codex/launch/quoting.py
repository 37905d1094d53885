"""Values as they stand in a script: of bash, and of SLURM's own lines. No name may end the word that it stands in."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z0-9_@+:,./=%-]+")
_PLAIN_YAML = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./-]*")


def in_bash(value: object) -> str:
    """One word of bash, whatever the value holds.

    >>> print(in_bash("runs/a"), in_bash("$(id)"))
    runs/a '$(id)'
    """
    return shlex.quote(str(value))


def array_in_bash(name: str, words: Sequence[str]) -> str:
    """`NAME=(...)`, an option with its value or one word to a line."""
    return "\n".join([f"{name}=(", *(f"    {in_bash(word)}" for word in words), ")"])


def in_directive(value: object) -> str:
    """The value of an option on an #SBATCH line, which SLURM reads by rules of its own.

    (Seen with 22.05: a backslash is an escape inside double quotes only, and # begins a comment outside of them.)

    >>> print(in_directive("runs/a"), in_directive('a "b" #c'))
    runs/a "a \\"b\\" #c"
    """
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def in_file_pattern(path: object) -> str:
    """A path in --output, where % begins a pattern."""
    return str(path).replace("%", "%%")


def in_yaml(value: str) -> str:
    """A YAML scalar on one line.

    >>> print(in_yaml("/runs/a"), in_yaml("/runs/a: b"))
    /runs/a "/runs/a: b"
    """
    return value if _PLAIN_YAML.fullmatch(value) else json.dumps(value, ensure_ascii=False)
