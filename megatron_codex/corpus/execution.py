"""Tasks that each leave a file, run in processes: what is done is never done again, a worker that dies costs its task.

In: a function and its tasks. Out: nothing but what the function leaves where `done` looks for it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.corpus.workers import end_quietly_on_interrupt
from megatron_codex.errors import InputError, WorkError
from megatron_codex.log import progress

T = TypeVar("T")

_FRUITLESS_DEATHS = 3


def run_tasks(
    function: Callable[[T], None],
    tasks: Sequence[T],
    *,
    done: Callable[[T], bool],
    execution: ExecutionConfig,
    description: str,
) -> None:
    """Call function(task) for each task that is not done yet, in any order.

    function and tasks are picklable, and function leaves its output whole or not at all. A task whose worker dies is
    tried again. description: of the progress bar.
    Raises: what function raises; WorkError when workers die several times in a row and no task gets done.
    """
    if execution.executor != "processes":
        rule = "is not built in: only processes of this machine are"
        raise InputError("executor", value=execution.executor, rule=rule, remedy="give processes")
    deaths = 0
    while remaining := [task for task in tasks if not done(task)]:
        try:
            _run_once(function, remaining, execution.num_workers, description)
        except BrokenProcessPool as error:
            deaths = deaths + 1 if not any(map(done, remaining)) else 0
            if deaths == _FRUITLESS_DEATHS:
                remedy = "killed, or out of memory: run again, with fewer --workers if memory was short"
                raise WorkError(f"worker processes died {deaths} times before a task was done ({remedy})") from error


def _run_once(function: Callable[[T], None], tasks: Sequence[T], num_workers: int, description: str) -> None:
    if num_workers == 1:
        for task in progress(tasks, total=len(tasks), description=description, unit="tasks"):
            function(task)
        return
    # Processes start afresh: forking one that runs threads (pyarrow, tqdm) can deadlock.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(
        min(num_workers, len(tasks)), mp_context=context, initializer=end_quietly_on_interrupt
    )
    try:
        under_way = [executor.submit(function, task) for task in tasks]
        for future in progress(as_completed(under_way), total=len(tasks), description=description, unit="tasks"):
            future.result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
