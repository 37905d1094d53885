"""One run of a project's suite for tracing.py: its CPU seconds and the pairs seen, as a line of JSON.

In: a way ("none", an engine's name, "pickling"; "engines" only names these), the project, a scratch directory, test
files (none: all).
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from megatron_codex.problems.tracing.kinds import is_generator
from megatron_codex.problems.tracing.suites import RUNNERS
from megatron_codex.problems.tracing.tracer import Tracer, engines_here

_NUM_SAMPLES = 50
_TESTS = ("tests", "test")


class Pickling:
    """The plain way: sys.setprofile, and pickle for the arguments and the result of every call of the project.

    A pair is kept by its hash only: the pickles of some suites take more memory than there is.
    """

    def __init__(self, root: str) -> None:
        self._root = root + os.sep
        self._stack: list[tuple[FrameType, bytes | None]] = []
        self.pairs: dict[str, set[int]] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "return") or not frame.f_code.co_filename.startswith(self._root):
            return
        if event == "call":
            code = frame.f_code
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            self._stack.append((frame, _pickled({name: frame.f_locals.get(name) for name in names})))
        elif self._stack and self._stack[-1][0] is frame:
            arguments = self._stack.pop()[1]
            result = _pickled(argument)
            # What a generator yields is no result: it is pickled as well, for the callback cannot tell, but no pair.
            if arguments is not None and result is not None and not is_generator(frame.f_code):
                self.pairs.setdefault(frame.f_code.co_qualname, set()).add(hash((arguments, result)))


def _pickled(value: Any) -> bytes | None:
    try:
        return pickle.dumps(value)
    except Exception:
        return None


def main(way: str, project: Path, scratch: Path, tests: list[str]) -> None:
    if way == "engines":
        print(json.dumps({"engines": engines_here()}))
        return
    import pytest  # noqa: F401  # before the clock starts

    paths = (
        tests or [name for name in _TESTS if (project / name).is_dir()] or sorted(map(str, project.glob("test*.py")))
    )
    started = time.process_time()
    result, num_pairs = _ways(way, project, scratch)(lambda before: RUNNERS["pytest"](paths, before))
    facts = {"cpu_s": time.process_time() - started, "pairs": num_pairs(), "passed": result["passed"]}
    print()
    print(json.dumps({**facts, "python": platform.python_version()}), flush=True)
    os._exit(0)


def _ways(way: str, project: Path, scratch: Path) -> Callable[[Any], tuple[dict[str, int], Callable[[], int]]]:
    def untraced(run: Any) -> tuple[dict[str, int], Callable[[], int]]:
        return run(lambda: None), lambda: 0

    def pickling(run: Any) -> tuple[dict[str, int], Callable[[], int]]:
        callback = Pickling(str(project))
        sys.setprofile(callback)
        result = run(lambda: sys.setprofile(callback))
        sys.setprofile(None)
        return result, lambda: sum(min(_NUM_SAMPLES, len(pairs)) for pairs in callback.pairs.values())

    def traced(run: Any) -> tuple[dict[str, int], Callable[[], int]]:
        tracer = Tracer(str(project), scratch / "trace.jsonl", num_samples=_NUM_SAMPLES, engine=way)
        tracer.start()
        result = run(tracer.resume)
        tracer.finish(**result)
        lines = (scratch / "trace.jsonl").read_text().splitlines
        return result, lambda: sum(json.loads(line)["kind"] == "sample" for line in lines())

    return {"none": untraced, "pickling": pickling}.get(way, traced)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
