"""Inside the jail: runs an untrusted program as a script, on the standard streams of a contest.

In: one frame {"source"} on a channel that is closed before the program starts; the pipes that become its descriptors 0,
1 and 2. Out: what it writes, and its exit code: Python's own rules for sys.exit, uncaught exceptions, threads, atexit.
"""

from __future__ import annotations

import atexit
import builtins
import io
import os
import sys
import types
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

from megatron_codex.sandbox.frames import read_frame

FILE_NAME = "solution.py"
_STREAMS = (("stdin", "r", "surrogateescape"), ("stdout", "w", "surrogateescape"), ("stderr", "w", "backslashreplace"))
"""As in Python's UTF-8 mode."""
_NUMBERS = {
    path: number
    for number, (name, _, _) in enumerate(_STREAMS)
    for path in (f"/dev/{name}", f"/dev/fd/{number}", f"/proc/self/fd/{number}")
}
"""The streams as files, as a contest's machine has them. Here there is no /proc, which such paths lead to."""


def run(channel: int, stdin: int, stdout: int, stderr: int) -> NoReturn:
    """Run the script to its end, as `python solution.py` would."""
    # Here and not in the worker, which may hold nothing that wants to run code after a fork (zygote.py).
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
    builtins.open = io.open = _open
    sys.argv = [FILE_NAME]
    code = _run_main(source)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons, as the interpreter does
    atexit._run_exitfuncs()
    os._exit(code if _flush() else code or 120)


_open_file: Callable[..., Any] = open


@wraps(_open_file)
def _open(file: Any, *args: Any, **kwargs: Any) -> Any:
    """The streams by their paths, too. It opens nothing that the script could not reach by number."""
    number = _NUMBERS.get(os.fspath(file)) if isinstance(file, (str, os.PathLike)) else None
    if number is None or len(args) > 6 or kwargs.get("opener") is not None:
        return _open_file(file, *args, **kwargs)
    return _open_file(file, *args, **{**kwargs, "opener": lambda *_: os.dup(number)})


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
