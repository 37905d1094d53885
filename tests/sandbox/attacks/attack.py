"""What an attack is: a program that wants at the machine, tried from inside the jail.

Its f() returns "held" when every way it knows is barred, anything else when one is open. A flood is held by ending with
one of the verdicts that its limit gives.
"""

from __future__ import annotations

from dataclasses import dataclass

from megatron_codex.sandbox.program import Program

HELD = ("passed",)


@dataclass(frozen=True, kw_only=True)
class Attack:
    source: str
    verdicts: tuple[str, ...] = HELD
    """What it may end with."""

    def program(self, surroundings: str) -> Program:
        """surroundings: Python that tells it what an attacker might know (surroundings.py)."""
        source = TOOLS + surroundings + self.source
        return Program(source=source, entry_point="f", io_examples=({"args": [], "kwargs": {}, "output": "held"},))


TOOLS = """
import os, sys, ctypes, errno, fcntl, stat
libc = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine

def attempt(*ways):
    for number, way in enumerate(ways):
        try:
            got = way()
        except OSError:
            continue
        return f"way {number} is open: {got!r:.200}"
    return "held"

def call(number_x86_64, number_aarch64, *arguments):
    number = number_x86_64 if MACHINE == "x86_64" else number_aarch64
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def channels():
    found = []
    for descriptor in range(3, 64):
        try: found += [descriptor] if stat.S_ISSOCK(os.fstat(descriptor).st_mode) else []
        except OSError: pass
    return found
"""
"""attempt(*ways), call(number on x86-64, on aarch64, *arguments), channels(): what the attacks are written with."""
