"""Many programs, several workers: bounded in memory, fair to programs on a busy machine.

In: an iterable of Programs, read as workers become free. Out: (index, Verdict) as they come. A program that timed out
on the wall clock only is judged again, alone, when the others have ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

from megatron_codex.errors import InputError
from megatron_codex.records import Verdict
from megatron_codex.sandbox.calibration import check_cpu_factor, measure_cpu_factor
from megatron_codex.sandbox.conclusion import Judgement
from megatron_codex.sandbox.judge import DEFAULT_MEMORY_BYTES, DEFAULT_TIMEOUT_S, Judge
from megatron_codex.sandbox.probe import KernelFeatures, choose_sandbox
from megatron_codex.sandbox.program import Program

_QUEUED_PER_WORKER = 2
_STARVED_PER_WORKER = 16

Running = dict["Future[Judgement]", tuple[int, Program]]


class JudgePool:
    """num_workers judges behind one call. A context manager: leaving it ends every process it started."""

    def __init__(
        self,
        num_workers: int | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        cpu_factor: float | None = 1.0,
        allow_level_b: bool = False,
        features: KernelFeatures | None = None,
    ) -> None:
        """num_workers: default, the cores this process may use. timeout_s, memory_bytes: of one program.

        cpu_factor: times timeout_s, for a slow processor; None: measured (calibration.py).
        allow_level_b: accept isolation without namespaces where level A is impossible. features: see choose_sandbox.
        Raises: WorkError when this machine cannot isolate programs.
        """
        if num_workers is not None and num_workers < 1:
            raise InputError(
                "num_workers", value=num_workers, rule="must be at least 1", remedy="give a positive count"
            )
        self.num_workers = num_workers or len(os.sched_getaffinity(0))
        self.sandbox = choose_sandbox("judge", allow_level_b=allow_level_b, features=features)
        check_cpu_factor(cpu_factor)
        self.cpu_factor = measure_cpu_factor(self.num_workers) if cpu_factor is None else cpu_factor
        self._judges = [
            Judge(self.sandbox, timeout_s=timeout_s, memory_bytes=memory_bytes, cpu_factor=self.cpu_factor)
            for _ in range(self.num_workers)
        ]
        self._idle: SimpleQueue[Judge] = SimpleQueue()
        for judge in self._judges:
            self._idle.put(judge)
        self._threads = ThreadPoolExecutor(self.num_workers, thread_name_prefix="judge")

    @property
    def isolation(self) -> str:
        return self.sandbox.isolation

    def judge(self, programs: Iterable[Program]) -> Iterator[tuple[int, Verdict]]:
        """Yield (index of the program, verdict), in the order in which they end."""
        running: Running = {}
        starved: list[tuple[int, Program]] = []
        for index, program in enumerate(programs):
            while len(running) >= self.num_workers * _QUEUED_PER_WORKER:
                yield from self._ended(running, starved)
            if len(starved) >= self.num_workers * _STARVED_PER_WORKER:
                yield from self._finish(running, starved)
            running[self._threads.submit(self._judge, program)] = (index, program)
        yield from self._finish(running, starved)

    def close(self) -> None:
        """End all workers; a program being judged is killed with its worker."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for judge in self._judges:
            judge.close()

    def __enter__(self) -> JudgePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _judge(self, program: Program) -> Judgement:
        judge = self._idle.get()
        try:
            return judge.judge(program)
        finally:
            self._idle.put(judge)

    def _ended(self, running: Running, starved: list[tuple[int, Program]]) -> Iterator[tuple[int, Verdict]]:
        """Wait for the next judgement(s); the starved ones are put aside."""
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            index, program = running.pop(future)
            judgement = future.result()
            if judgement.starved:
                starved.append((index, program))
            else:
                yield index, judgement.verdict

    def _finish(self, running: Running, starved: list[tuple[int, Program]]) -> Iterator[tuple[int, Verdict]]:
        """Wait for all; then each starved program has the machine to itself, and its second verdict stands."""
        while running:
            yield from self._ended(running, starved)
        for index, program in starved:
            yield index, self._judge(program).verdict
        starved.clear()
