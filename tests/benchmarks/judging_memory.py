"""Memory of evaluate.py's driver against the samples it has judged.

In: a number of samples, and of different programs among them. Out: a line every two seconds with the driver's resident
memory (without its workers), then its peak. Usage: python tests/benchmarks/judging_memory.py 100000 5000
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROBLEM = {
    "task_id": "t/square",
    "prompt": "def square(x):\n",
    "entry_point": "square",
    "canonical_solution": "    return x * x\n",
    "test": "def check(candidate):\n    assert candidate(3) == 9\n",
}
COMPLETION = "    return x * x  # {}\n" + "    # as long as completions are: some hundreds of bytes\n" * 6


def main(num_samples: int, num_programs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "problems.jsonl").write_text(json.dumps(PROBLEM) + "\n")
        with (folder / "samples.jsonl").open("w") as handle:
            for number in range(num_samples):
                completion = COMPLETION.format(number % num_programs)
                handle.write(json.dumps({"task_id": "t/square", "completion": completion}) + "\n")
        megabytes = (folder / "samples.jsonl").stat().st_size / 1e6
        print(f"{num_samples} samples, {num_programs} different programs, {megabytes:.1f} MB")
        watch(folder)


def watch(folder: Path) -> None:
    files = {name: folder / f"{name}.jsonl" for name in ("samples", "problems", "output")}
    flags = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    command = [sys.executable, str(REPOSITORY / "tools" / "evaluate.py"), *flags]
    journal = folder / "output.jsonl.partial" / "verdicts-00000-of-00001.jsonl"
    started, peak_kb = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        while run.poll() is None:
            time.sleep(2.0)
            memory = memory_kb(run.pid)
            if memory is None:
                break
            peak_kb = max(peak_kb, memory["VmHWM"])
            judged = journal.read_bytes().count(b"\n") if journal.exists() else 0
            seconds = time.monotonic() - started
            print(f"{seconds:7.1f} s  {judged:9} programs judged  {memory['VmRSS'] / 1024:7.1f} MB", flush=True)
        print(run.stdout.read() if run.stdout else "")
    print(f"exit code {run.returncode}, peak {peak_kb / 1024:.1f} MB")


def memory_kb(process: int) -> dict[str, int] | None:
    """VmRSS and VmHWM of a process, None when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    found = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return found or None


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
