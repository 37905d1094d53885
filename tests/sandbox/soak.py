"""Many programs, good, bad and hostile, judged twice: undisturbed, and with the driver killed at random moments.

    python -m tests.sandbox.soak --programs 100000 --kills 5

Drives tools/evaluate.py as a user would: after each SIGKILL the same command is run again. Both runs must give each
program the same verdict, none of them infra, and no cheat may pass. Compared before and after: processes, mounts,
temporary files, and the drivers' cgroups. Run by hand; it prints what it saw and exits with 1 when anything of this
does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.sandbox.mixture import verdict_names, write_mixture

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument(
        "--kills", type=int, default=5, help="of the driver, at random moments of an undisturbed run's time"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout-s", type=float, default=1.0, help="CPU seconds of one program")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        faults = soak(Path(work), options)
    print("\n".join(faults) or "all of it holds")
    sys.exit(bool(faults))


def soak(work: Path, options: argparse.Namespace) -> list[str]:
    """What does not hold."""
    (work / "tmp").mkdir()
    samples, problems = write_mixture(work, number=options.programs, seed=options.seed)
    arguments = ["--samples", samples, "--problems", problems, "--timeout-s", options.timeout_s, "--k", 1]
    arguments += ["--workers", options.workers, "--memory-bytes", 1 << 29]
    command = [sys.executable, str(REPOSITORY / "tools" / "evaluate.py"), *map(str, arguments), "--output"]
    drivers: list[int] = []
    before = count_what_could_be_left(work, drivers)
    started = time.monotonic()
    drivers.append(run(work, [*command, str(work / "undisturbed.jsonl")], kill_after_s=None))
    seconds = time.monotonic() - started
    print(f"{options.programs} programs undisturbed: {seconds:.0f} s, {options.programs / seconds:.0f}/s", flush=True)
    chance = random.Random(options.seed)
    for number in range(options.kills):
        after_s = chance.uniform(0.02, 0.9) * seconds / max(1, options.kills)
        drivers.append(run(work, [*command, str(work / "killed.jsonl")], kill_after_s=after_s))
        print(f"kill {number + 1}: after {after_s:.1f} s", flush=True)
    drivers.append(run(work, [*command, str(work / "killed.jsonl")], kill_after_s=None))
    after = count_what_could_be_left(work, drivers)
    return [
        *compare(work),
        *(f"left: {name}: {after[name] - before[name]}" for name in before if after[name] - before[name]),
    ]


def run(work: Path, command: list[str], *, kill_after_s: float | None) -> int:
    """Run the command in a session of its own, to its end or until it is killed; no process of the session may stay.
    Returns the driver's process number."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(work / "tmp")}
    with (work / "log").open("ab") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        if kill_after_s is None:
            code = driver.wait()
            assert code == 0, f"exit code {code}: {(work / 'log').read_text()[-2000:]}"
        else:
            try:
                driver.wait(kill_after_s)
                print("it had ended before it was killed")
            except subprocess.TimeoutExpired:
                driver.send_signal(signal.SIGKILL)
                driver.wait()
    deadline = time.monotonic() + 10
    while (left := processes_of(driver.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"processes that outlived the driver: {left}"
    return driver.pid


def processes_of(session: int) -> set[str]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found |= {entry.name} if int(fields[3]) == session and fields[0] != "Z" else set()
    return found


def count_what_could_be_left(work: Path, drivers: list[int]) -> dict[str, set[str]]:
    mounts = {line.split(" ", 1)[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    names = tuple(f"megatron_codex.{pid}." for pid in drivers)
    cgroups = {path for path, _, _ in os.walk("/sys/fs/cgroup") if names and Path(path).name.startswith(names)}
    return {"mounts": mounts, "cgroups": cgroups, "temporary files": {path.name for path in (work / "tmp").iterdir()}}


def compare(work: Path) -> list[str]:
    undisturbed, killed = verdict_names(work / "undisturbed.jsonl"), verdict_names(work / "killed.jsonl")
    counts = Counter((kind.split(" ")[0], verdict) for kind, verdict in undisturbed)
    print(json.dumps({f"{kind} {verdict}": count for (kind, verdict), count in sorted(counts.items())}))
    faults = [] if len(undisturbed) == len(killed) else [f"{len(undisturbed)} verdicts, and {len(killed)} with kills"]
    for row, (first, second) in enumerate(zip(undisturbed, killed, strict=False)):
        kind, verdict = first
        if first != second:
            faults.append(f"row {row}: {kind}: {verdict}, with kills {second[1]}")
        if verdict == "infra" or (verdict == "passed" and kind.startswith("cheat")):
            faults.append(f"row {row}: {kind}: {verdict}")
        if kind == "right" and verdict != "passed":
            faults.append(f"row {row}: a right program is {verdict}")
    return faults


if __name__ == "__main__":
    main()
