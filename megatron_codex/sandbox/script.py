"""Inside the jail: runs an untrusted program as a script, on the standard streams of a contest.

In: one frame {"source"} on a channel that is closed before the program starts; the pipes that become its descriptors 0,
1 and 2. Out: what it writes, and its exit code: Python's own rules for sys.exit, uncaught exceptions, threads, atexit.
"""

from __future__ import annotations

import atexit
import os
import sys
import types
from typing import NoReturn

from megatron_codex.sandbox.frames import read_frame

FILE_NAME = "solution.py"
_STREAMS = (("stdin", "r", "surrogateescape"), ("stdout", "w", "surrogateescape"), ("stderr", "w", "backslashreplace"))
"""As in Python's UTF-8 mode."""


def run(channel: int, stdin: int, stdout: int, stderr: int) -> NoReturn:
    """Run the script to its end, as `python solution.py` would."""
    # Here and not in the worker: threading has every child of every fork run some of its code.
    import threading

    source = read_frame(channel)["source"]
    for number, descriptor in enumerate((stdin, stdout, stderr)):
        os.dup2(descriptor, number)
    os.closerange(channel, stderr + 1)
    for number, (name, mode, errors) in enumerate(_STREAMS):
        # New ones: the worker's own may hold something of the worker's.
        stream = open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [FILE_NAME]
    code = _run_main(source)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons, as the interpreter does
    atexit._run_exitfuncs()
    os._exit(code if _flush() else code or 120)


def _run_main(source: str) -> int:
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=FILE_NAME, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    try:
        exec(compile(source, FILE_NAME, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            return (leaving.code or 0) & 0xFF
        sys.stderr.write(f"{leaving.code}\n")
        return 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _flush() -> bool:
    """What print left in the buffers; False when it cannot be written."""
    written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError, AttributeError):
            written = False
    return written
