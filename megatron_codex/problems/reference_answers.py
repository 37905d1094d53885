"""What reference solutions answer: the expected outputs of problems that come with inputs only.

In: Problems, some pending (evalplus.py). Out: the same, whole. Each reference runs once, jailed as a judged program is,
under the same limits of CPU time and memory: a problem whose reference does not keep them can be solved by nobody.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from megatron_codex.errors import InputError, WorkError
from megatron_codex.log import progress
from megatron_codex.problems.evalplus import PENDING, is_pending, with_outputs
from megatron_codex.problems.evalplus_oracles import answers_with_found
from megatron_codex.records import Problem
from megatron_codex.sandbox.comparison import describe_exception
from megatron_codex.sandbox.frames import BrokenFrame, FrameReader, FrameTimeout, open_connection, write_frame
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.probe import Sandbox, choose_sandbox
from megatron_codex.sandbox.worker import Worker, WorkerError
from megatron_codex.tagged import NotPlainData

_WALL_FACTOR = 20
"""Of the CPU time: a busy machine must not make a reference fail."""
_END_S = 10.0
_MAX_SHOWN = 3
_FOUND_ONLY = """

def {name}(*args, __reference={name}):
    return __reference(*args) is not None
"""


class _FailedError(Exception):
    """The reference gave no answer: why."""


def with_expected_outputs(
    problems: Iterable[Problem], *, timeout_s: float, memory_bytes: int, allow_level_b: bool, workers: int
) -> dict[str, Problem]:
    """All problems by task_id, those that were pending with outputs. timeout_s: CPU time of one reference, all inputs.

    Raises: InputError naming problems whose reference fails; WorkError when this machine cannot isolate programs.
    """
    whole = {problem.task_id: problem for problem in problems}
    pending = [problem for problem in whole.values() if is_pending(problem)]
    if not pending:
        return whole
    limits = Limits(cpu_s=timeout_s, wall_s=_WALL_FACTOR * timeout_s + 1, memory_bytes=memory_bytes)
    faults: list[str] = []
    with (
        _References(choose_sandbox("judge", allow_level_b=allow_level_b), limits, workers) as references,
        ThreadPoolExecutor(workers) as threads,
    ):
        answered = threads.map(references.complete, pending)
        for problem in progress(answered, total=len(pending), description="reference solutions", unit="problems"):
            if isinstance(problem, str):
                faults.append(problem)
            else:
                whole[problem.task_id] = problem
    if faults:
        more = f" and {len(faults) - _MAX_SHOWN} more" if len(faults) > _MAX_SHOWN else ""
        rule = f"the reference solution gives no expected outputs: {'; '.join(faults[:_MAX_SHOWN])}{more}"
        remedy = "mend or leave out these problems, or give more --timeout-s or --memory-bytes"
        raise InputError("problems", rule=rule, remedy=remedy)
    return whole


class _References:
    """Worker processes, each of which runs one reference at a time."""

    def __init__(self, sandbox: Sandbox, limits: Limits, num_workers: int) -> None:
        self._sandbox, self._limits = sandbox, limits
        self._idle: SimpleQueue[Worker | None] = SimpleQueue()
        for _ in range(num_workers):
            self._idle.put(None)  # started when it is needed
        self._num_workers = num_workers

    def __enter__(self) -> _References:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in [self._idle.get() for _ in range(self._num_workers)]:
            if worker is not None:
                worker.close()

    def complete(self, problem: Problem) -> Problem | str:
        """The problem with its outputs, or its name and why there are none. Raises: WorkError, of the sandbox."""
        worker = self._idle.get()
        try:
            worker = worker or self._sandbox.start_worker(self._limits)
            return with_outputs(problem, self._outputs(worker, problem))
        except (_FailedError, NotPlainData) as error:
            return f"{problem.task_id}: {error}"
        except WorkerError as error:
            if worker is not None:
                worker.close()
                worker = None
            raise WorkError(f"{problem.task_id}: its reference could not be run: {error}") from error
        finally:
            self._idle.put(worker)

    def _outputs(self, worker: Worker, problem: Problem) -> list[Any]:
        """In tagged JSON, one for each input."""
        calls = [{"args": args, "kwargs": {}} for args in problem.provenance[PENDING]["inputs"]]
        source = problem.prompt + problem.canonical_solution
        if answers_with_found(problem.task_id, problem.entry_point):
            source += _FOUND_ONLY.format(name=problem.entry_point)
        limits = self._limits
        deadline = time.monotonic() + limits.wall_s + _END_S
        with open_connection() as (ours, theirs):
            run = worker.spawn(b"candidate", [theirs.fileno()], limits)
            theirs.close()
            ours.setblocking(False)
            died, outputs = False, []
            try:
                outputs = _ask(ours.fileno(), source, problem.entry_point, calls, deadline)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                died = True
            except (BrokenFrame, FrameTimeout) as error:
                raise _FailedError(str(error)) from error
            finally:
                worker.stop(run)
                ending = worker.wait(run, timeout_s=_END_S)
        if ending.setup_error:
            raise WorkerError(ending.setup_error)
        if died:
            why = {"cpu": f"used up {limits.cpu_s:g} s of CPU time", "wall": f"had no end in {limits.wall_s:g} s"}
            raise _FailedError(why.get(ending.stopped, f"its process ended (exit {ending.exit})"))
        return outputs


def _ask(channel: int, source: str, entry_point: str, calls: Sequence[dict[str, Any]], deadline: float) -> list[Any]:
    write_frame(channel, {"source": source, "entry_point": entry_point, "calls": calls}, deadline=deadline)
    answers = FrameReader(channel, deadline=deadline)
    loaded = answers.read()
    if "raised" in loaded:
        raise _FailedError(describe_exception(loaded))
    outputs = []
    for number in range(1, len(calls) + 1):
        answer = answers.read()
        if "value" not in answer:
            fault = describe_exception(answer) if "raised" in answer else answer.get("unsupported", "an iterator")
            raise _FailedError(f"input {number} of {len(calls)}: {fault}")
        outputs.append(answer["value"])
    return outputs
