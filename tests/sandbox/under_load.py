"""The same samples judged on a machine that is idle and on one that is busy: the verdicts must be the same.

    python -m tests.sandbox.under_load --programs 500 --busy-loops 8

Besides the mixture there are programs that use a half and one and a half of their CPU time: load must neither fail the
first nor pass the second. Run by hand on an otherwise idle machine; tests/sandbox/test_under_load.py is a small one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from megatron_codex.problems.readers import problem_from_row
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program
from tests.sandbox.mixture import problem_rows, sample_rows

_USES = """
import time
def f():
    end = time.process_time() + {seconds}
    while time.process_time() < end: pass
    return 'held'
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=500)
    parser.add_argument("--busy-loops", type=int, default=8)
    parser.add_argument("--timeout-s", type=float, default=1.0, help="CPU seconds of one program")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names, programs = mixture(options.programs, seed=options.seed, timeout_s=options.timeout_s)
    started = time.monotonic()
    idle = judge(programs, timeout_s=options.timeout_s)
    between = time.monotonic()
    with busy_loops(options.busy_loops):
        busy = judge(programs, timeout_s=options.timeout_s)
    print(f"idle {between - started:.1f} s, busy {time.monotonic() - between:.1f} s")
    different = [(name, *verdicts) for name, *verdicts in zip(names, idle, busy, strict=True) if len(set(verdicts)) > 1]
    print("\n".join(map(str, different)) or f"{len(programs)} verdicts are the same")
    sys.exit(bool(different))


def mixture(number: int, *, seed: int, timeout_s: float) -> tuple[list[str], list[Program]]:
    """Names and programs: the mixture's, and for every ten of them one below and one above its CPU limit."""
    problems = {row["task_id"]: problem_from_row(row, where=row["task_id"]) for row in problem_rows()}
    samples = list(sample_rows(number, seed))
    names = [f"{sample['kind']} {sample['task_id']}" for sample in samples]
    programs = [Program.of(problems[sample["task_id"]], sample["completion"]) for sample in samples]
    for share in (0.5, 1.5) * max(1, number // 10):
        source = _USES.format(seconds=share * timeout_s)
        example = {"args": [], "kwargs": {}, "output": "held"}
        names.append(f"uses {share} of its time")
        programs.append(Program(source=source, entry_point="f", io_examples=(example,)))
    return names, programs


def judge(programs: Sequence[Program], *, timeout_s: float) -> list[str]:
    """The verdicts' names, in the programs' order."""
    with JudgePool(timeout_s=timeout_s, memory_bytes=512 << 20, allow_level_b=True) as pool:
        verdicts = dict(pool.judge(programs))
    return [verdicts[at].verdict for at in range(len(programs))]


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Processes that do nothing, as fast as they can."""
    loops = [subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    main()
