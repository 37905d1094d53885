"""Does the memory of preprocess_data.py depend on the size of its input? The peak of its largest process, for several.

    python tests/benchmarks/preprocess_memory.py [--megabytes 100 2000] [--workers 2] [--folder DIR]

The text is the Python files of the interpreter's standard library and of the installed packages, again and again, as
Parquet (as build_corpus.py writes it) and as JSON Lines. Needs four times the largest size on the disk of --folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from corpus_texts import read_corpus
from memory import watched

from megatron_codex.corpus.shards import SCHEMA, TableWriter

TOOL = Path(__file__).resolve().parents[2] / "tools" / "preprocess_data.py"
_OTHER = ("path", "repository", "licence", "language", "source", "hash")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", nargs="+", type=int, default=[100, 2000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    paths = sysconfig.get_paths()
    texts = [text.decode() for text in read_corpus([Path(paths["stdlib"]), Path(paths["purelib"])])]
    for kind, megabytes in itertools.product((write_parquet, write_lines), arguments.megabytes):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            source = kind(Path(folder), cut(texts, megabytes * 1_000_000))
            measure(source, Path(folder) / "p", megabytes, arguments.workers)


def cut(texts: list[str], num_bytes: int) -> Iterator[str]:
    for text in itertools.cycle(texts):
        yield text
        num_bytes -= len(text.encode())
        if num_bytes <= 0:
            return


def write_parquet(folder: Path, texts: Iterator[str]) -> Path:
    path = folder / "a.parquet"
    with TableWriter(path, SCHEMA) as writer:
        for batch in iter(lambda: list(itertools.islice(texts, 1_000)), []):
            sizes = np.array([len(text.encode()) for text in batch], np.int64)
            columns = {"content": batch, "size_bytes": sizes, **{name: [""] * len(batch) for name in _OTHER}}
            writer.add(pa.table(columns).select(SCHEMA.names).cast(SCHEMA), sizes)
    return path


def write_lines(folder: Path, texts: Iterator[str]) -> Path:
    path = folder / "a.jsonl"
    with path.open("w") as handle:
        handle.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    return path


def measure(source: Path, prefix: Path, megabytes: int, workers: int) -> None:
    command = [sys.executable, str(TOOL), "--input", str(source), "--output-prefix", str(prefix)]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--workers", str(workers)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        with watched(process.pid) as peaks:
            output, _ = process.communicate()
        assert process.returncode == 0, output.decode()
    seconds = time.perf_counter() - began
    own = peaks.resident.pop(process.pid)
    largest = max(peaks.resident.values(), default=0)
    print(
        f"{source.suffix[1:]:8} {megabytes:5} MB of text: the command {own / 1e6:.0f} MB, its largest worker "
        f"{largest / 1e6:.0f} MB, {seconds:.0f} s with {workers} workers",
        flush=True,
    )


if __name__ == "__main__":
    main()
