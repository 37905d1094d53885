"""Inside a jail of its own: a problem's checker says whether a script's output is right.

In: one frame {"source", "nonce", "input", "expected", "actual"} (sizes in bytes), then the three texts. Out: one frame
{"nonce", "verdict", "detail"}. The script's process is gone by then; of it there is nothing here but its output.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from megatron_codex.sandbox.frames import read_bytes, read_frame, write_frame

TEXTS = ("input", "expected", "actual")
_MAX_DETAIL_CHARS = 500


def run(report: int) -> NoReturn:
    """Call check(input, expected, actual), send the verdict, exit with 0."""
    job = read_frame(report)
    texts = [read_bytes(report, job[name]).decode(errors="replace") for name in TEXTS]
    verdict, detail = _check(job["source"], texts)
    write_frame(report, {"nonce": job["nonce"], "verdict": verdict, "detail": detail[:_MAX_DETAIL_CHARS]})
    os._exit(0)


def _check(source: str, texts: list[str]) -> tuple[str, str]:
    names: dict[str, Any] = {"__name__": "checker"}
    try:
        exec(compile(source, "<checker>", "exec", dont_inherit=True), names)
        found = names["check"](*texts)
    except AssertionError as error:
        return "wrong", f"the checker says: {error}" if str(error) else "the checker's assertion failed"
    except BaseException as error:
        return "error", f"in the checker: {type(error).__name__}: {error}"
    if found is True:
        return "passed", ""
    if found is False:
        return "wrong", "the checker says no"
    return "error", f"in the checker: it returned {type(found).__name__}, not True or False"
