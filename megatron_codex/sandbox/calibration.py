"""How fast this machine runs Python: limits of CPU time grow with a slow processor, so that scores do not fall with it.

In: the number of programs judged at a time. Out: a factor for limits of CPU time, at least 1: a machine faster than the
reference keeps the paper's 3.0 s, one half as fast gets 6.0 s. Measured as programs are judged: by CPU time, in clean
interpreters, as many at once as there will be workers (two on one core's threads are slower than one).
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

from megatron_codex.errors import InputError, WorkError

REFERENCE_CPU_S = 0.045
"""CPU time of the workload on the machine on which this was written: x86-64 server, a thread a core, Python 3.11.7."""
NUM_REPEATS = 5
_TIMEOUT_S = 120.0
_WORKLOAD = f"""
import time
def work():
    counts, words = {{}}, []
    for number in range(120_000):
        key = number * 7919 % 1013
        counts[key] = counts.get(key, 0) + number % 7
        if number % 3 == 0:
            words.append(str(key))
    text = " ".join(words)
    total = sum(len(word) for word in text.split() if word[0] in "135")
    for first in range(250):
        for second in range(first, 300):
            if first * second % 11 == 3:
                total += counts.get(second, 0)
    return total + len(sorted(words))
best = float("inf")
for _ in range({NUM_REPEATS}):
    started = time.process_time()
    work()
    best = min(best, time.process_time() - started)
print(best)
"""


@cache
def measure_cpu_factor(num_workers: int = 1) -> float:
    """This machine's time against REFERENCE_CPU_S, rounded to tenths; never below 1. Once in a process.

    Raises: WorkError when an interpreter does not do the work.
    """
    return max(1.0, round(measure_cpu_s(num_workers) / REFERENCE_CPU_S, 1))


def measure_cpu_s(num_workers: int = 1) -> float:
    """Seconds of CPU time of the workload: best of several in each of num_workers processes, of these the slowest."""
    interpreter = str(Path(sys.executable).resolve())
    command = [interpreter, "-I", "-S", "-B", "-X", "utf8", "-c", _WORKLOAD]
    processes = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={})
        for _ in range(num_workers)
    ]
    try:
        return max(_result(process) for process in processes)
    finally:
        for process in processes:
            with process:
                process.kill()


def check_cpu_factor(factor: float | None) -> None:
    """Raises: InputError for a factor that is no finite number above 0."""
    if factor is not None and not 0 < factor < float("inf"):
        rule, remedy = "must be above 0 and finite", "1.0 leaves limits as they are; none: measured"
        raise InputError("cpu_factor", value=factor, rule=rule, remedy=remedy)


def _result(process: subprocess.Popen[bytes]) -> float:
    try:
        output, error = process.communicate(timeout=_TIMEOUT_S)
        return float(output)
    except (subprocess.TimeoutExpired, ValueError) as problem:
        last = b"" if isinstance(problem, subprocess.TimeoutExpired) else error.strip().rpartition(b"\n")[2]
        reason = f"the measurement of this machine's speed failed ({last.decode(errors='replace') or problem})"
        raise WorkError(f"{reason}; give --cpu-factor 1.0 to go without") from problem
