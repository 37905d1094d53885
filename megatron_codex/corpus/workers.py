"""Work spread over processes, results in the order of the items: the output does not depend on how many there are.

Memory: at most twice as many items and results as processes are under way, however many items there are.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from megatron_codex.errors import WorkError

T = TypeVar("T")
R = TypeVar("R")


def map_in_order(function: Callable[[T], R], items: Iterable[T], *, num_workers: int) -> Generator[R, None, None]:
    """Yield function(item) of each item, in order. One worker: in this process. Close it to stop the others early.

    function, items and results must be picklable; a functools.partial carries parameters.
    Raises: what function raises; WorkError when a process dies.
    """
    if num_workers == 1:
        yield from map(function, items)
        return
    # Processes start afresh: forking one that runs threads (pyarrow, tqdm) can deadlock.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(num_workers, mp_context=context, initializer=end_quietly_on_interrupt)
    under_way: deque[Future[R]] = deque()
    try:
        for item in items:
            under_way.append(executor.submit(function, item))
            if len(under_way) >= 2 * num_workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        remedy = "killed, or out of memory: run again, with fewer --workers if memory was short"
        raise WorkError(f"a worker process died ({remedy})") from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def end_quietly_on_interrupt() -> None:
    """Ctrl-C reaches every process of the terminal: a worker ends at once, the parent speaks and cleans up."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
