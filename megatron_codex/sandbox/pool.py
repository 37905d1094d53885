"""Many programs, several workers: bounded in memory, fair to programs on a busy machine.

In: an iterable of Programs, read as workers become free. Out: (index, Verdict) as they come. A program that timed out
on the wall clock only is judged again, alone, when the others have ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from threading import Thread

from megatron_codex.errors import InputError
from megatron_codex.records import Verdict
from megatron_codex.sandbox.calibration import check_cpu_factor, measure_cpu_factor
from megatron_codex.sandbox.conclusion import Judgement
from megatron_codex.sandbox.gvisor import find_gvisor
from megatron_codex.sandbox.judge import DEFAULT_MEMORY_BYTES, DEFAULT_TIMEOUT_S, Judge
from megatron_codex.sandbox.probe import KernelFeatures, choose_sandbox
from megatron_codex.sandbox.program import Program
from megatron_codex.sandbox.worker import Isolation

_QUEUED_PER_WORKER = 2
_STARVED_PER_WORKER = 16

Result = tuple[int, Program, "Judgement | BaseException"]
Results = SimpleQueue[Result]
Task = tuple[int, Program, Results]


class JudgePool:
    """num_workers judges behind one call. A context manager: leaving it ends every process it started, at once."""

    def __init__(
        self,
        num_workers: int | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        cpu_factor: float | None = 1.0,
        allow_level_b: bool = False,
        gvisor: bool = False,
        features: KernelFeatures | None = None,
    ) -> None:
        """num_workers: default, the cores this process may use. timeout_s, memory_bytes: of one program.

        cpu_factor: times timeout_s, for a slow processor; None: measured (calibration.py).
        allow_level_b: accept isolation without namespaces where level A is impossible. gvisor: run each program in a
        container of gVisor's instead. features: see choose_sandbox.
        Raises: WorkError when this machine cannot isolate programs.
        """
        if num_workers is not None and num_workers < 1:
            raise InputError(
                "num_workers", value=num_workers, rule="must be at least 1", remedy="give a positive count"
            )
        self.num_workers = num_workers or len(os.sched_getaffinity(0))
        self.sandbox: Isolation = (
            find_gvisor() if gvisor else choose_sandbox("judge", allow_level_b=allow_level_b, features=features)
        )
        check_cpu_factor(cpu_factor)
        self.cpu_factor = measure_cpu_factor(self.num_workers) if cpu_factor is None else cpu_factor
        self._judges = [
            Judge(self.sandbox, timeout_s=timeout_s, memory_bytes=memory_bytes, cpu_factor=self.cpu_factor)
            for _ in range(self.num_workers)
        ]
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, args=(judge,), daemon=True) for judge in self._judges]
        for thread in self._threads:
            thread.start()

    @property
    def isolation(self) -> str:
        return self.sandbox.isolation

    def judge(self, programs: Iterable[Program]) -> Iterator[tuple[int, Verdict]]:
        """Yield (index of the program, verdict), in the order in which they end."""
        running = 0
        starved: list[Task] = []
        results: Results = SimpleQueue()  # of this call: what an abandoned one left must not come up here
        for index, program in enumerate(programs):
            if running >= self.num_workers * _QUEUED_PER_WORKER:
                yield from self._next(results, starved)
                running -= 1
            if len(starved) >= self.num_workers * _STARVED_PER_WORKER:
                yield from self._finish(results, running, starved)
                running = 0
            self._tasks.put((index, program, results))
            running += 1
        yield from self._finish(results, running, starved)

    def close(self) -> None:
        """End all workers; a program being judged is killed with its worker."""
        for judge in self._judges:
            judge.interrupt()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        for judge in self._judges:
            judge.close()

    def __enter__(self) -> JudgePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self, judge: Judge) -> None:
        while (task := self._tasks.get()) is not None:
            index, program, results = task
            try:
                judgement: Judgement | BaseException = judge.judge(program)
            except BaseException as error:  # raised again where it is waited for
                judgement = error
            results.put((index, program, judgement))

    def _next(self, results: Results, starved: list[Task]) -> Iterator[tuple[int, Verdict]]:
        """Wait for the next judgement; a starved one is put aside."""
        index, program, judgement = _wait(results)
        if judgement.starved:
            starved.append((index, program, results))
        else:
            yield index, judgement.verdict

    def _finish(self, results: Results, running: int, starved: list[Task]) -> Iterator[tuple[int, Verdict]]:
        """Wait for all; then each starved program has the machine to itself, and its second verdict stands."""
        for _ in range(running):
            yield from self._next(results, starved)
        for task in starved:
            self._tasks.put(task)
            index, _, judgement = _wait(results)
            yield index, judgement.verdict
        starved.clear()


def _wait(results: Results) -> tuple[int, Program, Judgement]:
    index, program, judgement = results.get()
    if isinstance(judgement, BaseException):
        raise judgement
    return index, program, judgement
