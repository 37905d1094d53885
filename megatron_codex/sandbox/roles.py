"""What a jailed process can be: each role is a function of the descriptors it was given, and never returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from megatron_codex.sandbox import candidate, checker, script, tester

ROLES: dict[bytes, Callable[..., NoReturn]] = {
    b"candidate": candidate.serve,
    b"tester": tester.run,
    b"script": script.run,
    b"checker": checker.run,
}
