"""tools/preprocess_data.py beside gigatoken + megatron-core's builder, whole programs: ratios, peak RSS, equal files.

Both are timed from start to end, which is what a user waits; ours makes a manifest with hashes and fsyncs. The peer is
also given without its imports, as if it were one of many files in a process that runs on.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from peers import ROOT

from megatron_codex.corpus.shards import SCHEMA, TableWriter

CORES = len(os.sched_getaffinity(0))


def compare_preprocessing(texts: list[bytes], rounds: int, *, num_bytes: int) -> None:
    """Parquet shards and plain JSON Lines of the same texts, in turn."""
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as name:
        folder = Path(name)
        written = write_inputs(texts, folder, num_bytes)
        for kind in ("parquet", "jsonl"):
            files = sorted((folder / kind).iterdir())
            rates: dict[str, list[float]] = {"ours": [], "peer": []}
            working: list[float] = []
            PEAKS.clear()
            CPU_SECONDS.clear()
            for number in range(rounds):
                for who in ("ours", "peer") if number % 2 else ("peer", "ours"):
                    started = time.perf_counter()
                    if who == "ours":
                        run_ours(files, folder / who / "p")
                    else:
                        working.append(written / run_peer(files, folder / who / "p") / 1e6)
                    rates[who].append(written / (time.perf_counter() - started) / 1e6)
                for suffix in (".bin", ".idx"):
                    mine, theirs = Path(f"{folder}/ours/p{suffix}"), Path(f"{folder}/peer/p{suffix}")
                    assert subprocess.run(["cmp", mine, theirs], check=False).returncode == 0, f"{suffix} differs"
                for who in rates:
                    shutil.rmtree(folder / who)
            ratios = [mine / theirs for mine, theirs in zip(rates["ours"], rates["peer"], strict=True)]
            print(f"{kind}, {written / 1e6:.0f} MB of text, {CORES} cores; the files are equal")
            for who, found in rates.items():
                cpu = statistics.median(CPU_SECONDS[who])
                print(
                    f"  {who} {statistics.median(found):.0f} MB/s, {cpu:.1f} s of processor with imports, "
                    f"largest process {PEAKS[who] / 1e6:.0f} MB"
                )
            print(f"  ours / peer {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")
            alone = statistics.median(mine / theirs for mine, theirs in zip(rates["ours"], working, strict=True))
            print(f"  the peer without its imports {statistics.median(working):.0f} MB/s: ours / peer {alone:.2f}")


PEAKS: dict[str, int] = {}
CPU_SECONDS: dict[str, list[float]] = {}

# A process's peak counts that of the one it was forked from: this one is small, and the benchmark is not.
LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
"""


def write_inputs(texts: list[bytes], folder: Path, num_bytes: int) -> int:
    """The corpus, repeated until there is enough, a shard each time; bytes of text in all."""
    contents = [text.decode() for text in texts]
    empty = [""] * len(contents)
    columns: dict[str, Any] = dict.fromkeys(SCHEMA.names, empty)
    sizes = np.array([len(text) for text in texts], np.int64)
    table = pa.table({**columns, "content": contents, "size_bytes": sizes}, SCHEMA)
    (folder / "parquet").mkdir()
    (folder / "jsonl").mkdir()
    written = 0
    with (folder / "jsonl" / "texts.jsonl").open("w") as lines:
        while written < num_bytes:
            with TableWriter(folder / "parquet" / f"shard-{written:012}.parquet", SCHEMA) as shard:
                shard.add(table, sizes)
            lines.writelines(json.dumps({"text": content}) + "\n" for content in contents)
            written += int(sizes.sum())
    return written


def run_ours(files: list[Path], prefix: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "preprocess_data.py"), "--input", *map(str, files)]
    measured("ours", [*command, "--output-prefix", str(prefix)])


def run_peer(files: list[Path], prefix: Path) -> float:
    """Seconds of its work, without its imports."""
    prefix.parent.mkdir()
    key = "content" if files[0].suffix == ".parquet" else "text"
    program = str(Path(__file__).with_name("gigatoken_megatron.py"))
    return float(measured("peer", [sys.executable, program, str(prefix), key, *map(str, files)]))


def measured(who: str, command: list[str]) -> str:
    """Standard output; the peak RSS of the command's largest process is kept in PEAKS."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    launch = [sys.executable, "-c", LAUNCHER, *command]
    done = subprocess.run(launch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
    *output, usage = done.stdout.decode().splitlines()
    peak, seconds = usage.split()
    PEAKS[who] = max(PEAKS.get(who, 0), int(peak) * 1024)
    CPU_SECONDS.setdefault(who, []).append(float(seconds))
    return "\n".join(output)
