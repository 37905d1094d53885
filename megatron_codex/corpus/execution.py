"""Tasks spread over processes, MPI ranks or a SLURM array; each leaves its result in a file.

In: a function, tasks, and how to see that a task is done. Out: files. A task is done when its file is there, whole; so
a run that was killed goes on where it stopped, a worker that dies costs the task it was at, and the files depend on
the tasks only: not on how many work, where, or who is done first.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol, TypeVar

from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.corpus.slurm_arrays import SlurmArrays
from megatron_codex.errors import InputError, WorkError
from megatron_codex.log import progress

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_MAX_TRIES = 10
"""Workers that may die of one task: one that needs more memory than there is kills each."""


class RunTasks(Protocol):
    """Runs every task that is not done yet. function, tasks and done go to other processes: they must be picklable."""

    def __call__(
        self, function: Callable[[T], None], tasks: Sequence[T], *, done: Callable[[T], bool], description: str
    ) -> None:
        """Raises: what function raises; WorkError when a task's worker died again and again."""
        ...


@contextmanager
def executor(execution: ExecutionConfig, *, folder: Path) -> Iterator[RunTasks | None]:
    """What runs tasks. Under MPI, ranks but the first work for it inside this line and then get None: they are done.

    folder: for the logs of SLURM jobs, on the file system that all nodes see.
    Raises: InputError when the executor's package is not installed.
    """
    if execution.executor == "mpi":
        with _mpi_ranks() as run:
            yield None if run is None else partial(_run_missing, run)
    elif execution.executor == "slurm":
        yield partial(_run_missing, SlurmArrays(execution, folder))
    else:
        with closing(_Processes(execution.num_workers)) as processes:
            yield partial(_run_missing, processes)


_Run = Callable[[Callable[[Any], None], Sequence[Any], Callable[[Any], bool]], Generator[None, None, None]]
"""Yields once a task that was done."""


def _run_missing(
    run: _Run, function: Callable[[T], None], tasks: Sequence[T], *, done: Callable[[T], bool], description: str
) -> None:
    missing = [task for task in tasks if not done(task)]
    if missing:
        steps = run(function, missing, done)
        with closing(steps):
            for _ in progress(steps, total=len(missing), description=description, unit="tasks"):
                pass
    left = [task for task in missing if not done(task)]
    if left:
        raise WorkError(f"{description}: {len(left)} tasks left no result; run again to do these only")


# Processes of this machine.


class _Processes:
    """Processes that take one task after the other. Who dies is replaced, and its task tried again.

    (The standard library's pool is lost as a whole when one of its processes is killed.)
    """

    def __init__(self, num_workers: int) -> None:
        # Started afresh: forking a process that runs threads (pyarrow, tqdm) can deadlock.
        self._context = multiprocessing.get_context("spawn")
        self._num_workers = num_workers
        self._idle: list[_Worker] = []
        self._at_work: dict[Connection, tuple[_Worker, Any, int]] = {}

    def __call__(
        self, function: Callable[[T], None], tasks: Sequence[T], done: Callable[[T], bool]
    ) -> Generator[None, None, None]:
        if self._num_workers == 1 or len(tasks) == 1:
            for task in tasks:
                function(task)
                yield
            return
        waiting = deque((task, 1) for task in tasks)
        while waiting or self._at_work:
            while waiting and len(self._at_work) < self._num_workers:
                task, number = waiting.popleft()
                worker = self._idle.pop() if self._idle else self._start()
                self._at_work[worker.connection] = worker, task, number
                with suppress(BrokenPipeError):  # it died at once: heard below as an end of file
                    worker.connection.send((function, task))
            for connection in wait(list(self._at_work)):
                assert isinstance(connection, Connection)
                worker, task, number = self._at_work.pop(connection)
                try:
                    error = connection.recv()
                except (EOFError, ConnectionResetError):
                    waiting.appendleft((task, number + 1))
                    _mourn(worker, task, number)
                    continue
                self._idle.append(worker)
                if error is not None:
                    raise error
                yield

    def close(self) -> None:
        """End the processes: those at a task at once."""
        for worker, _, _ in self._at_work.values():
            worker.process.terminate()
        for worker in (*self._idle, *(worker for worker, _, _ in self._at_work.values())):
            worker.connection.close()
            worker.process.join()

    def _start(self) -> _Worker:
        mine, its = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(its,), daemon=True)
        process.start()
        its.close()  # so that its death is an end of file here
        return _Worker(process, mine)


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    connection: Connection


def _mourn(worker: _Worker, task: object, number: int) -> None:
    """Say how a worker died. Raises: WorkError when it was not the first to die of the task, but the last that may."""
    worker.connection.close()
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    if number == _MAX_TRIES:
        remedy = "killed, or out of memory: run again, with fewer workers if memory was short"
        raise WorkError(f"{task}: {number} worker processes died of it, the last one {how} ({remedy})")
    _logger.warning("a worker process ended %s; its task is tried again", how)


def _serve(connection: Connection) -> None:
    """A worker's life: (function, task) in, None or an exception out."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all: a worker ends at once, the parent speaks
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            function, task = connection.recv()
            connection.send(_attempt(function, task))
        except (EOFError, BrokenPipeError):
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


# MPI ranks.


@contextmanager
def _mpi_ranks() -> Iterator[_Run | None]:
    try:
        from mpi4py.futures import MPICommExecutor
    except (ImportError, RuntimeError) as error:
        rule = f"needs mpi4py and an MPI library ({error})"
        raise InputError("executor", value="mpi", rule=rule, remedy="pip install 'megatron-codex[mpi]'") from error
    with MPICommExecutor() as entered:
        pool: Any = entered  # None on all ranks but the first, which its stubs do not say
        if pool is None:
            yield None
            return

        def run(
            function: Callable[[T], None], tasks: Sequence[T], done: Callable[[T], bool]
        ) -> Generator[None, None, None]:
            for error in pool.map(partial(_attempt, function), tasks, unordered=True):
                if error is not None:
                    raise error
                yield

        yield run


def _attempt(function: Callable[[T], None], task: T) -> Exception | None:
    """Errors as values: executors of other machines wrap what is raised."""
    try:
        function(task)
    except Exception as error:
        return error
    return None
