"""How long the search for near-duplicates takes, and what it holds, at a count of documents that no corpus here has.

    python tests/benchmarks/near_duplicates_scale.py [--documents 2000000 16000000] [--folder DIR]

Sketches are made up: random ones, and after every so many of them copies of an earlier one with up to a fifth of the
places changed. Needs 0.7 GB a million documents on the disk of --folder. It checks what was found: every copy above the
threshold by far, and no document that is none.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from memory import watched
from numpy.typing import NDArray

from megatron_codex.corpus.near_duplicates import find_near_duplicates

NUM_PERMUTATIONS = 128
THRESHOLD = 0.85
CHUNK = 100_000
COPIES = 15_000
"""Of a chunk: 15 %, as in a corpus of packages."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", nargs="+", type=int, default=[2_000_000, 16_000_000])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    for num_documents in arguments.documents:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            changed = write_sketches(Path(folder) / "sketches.bin", num_documents)
            search(Path(folder), changed)


def write_sketches(path: Path, num_documents: int) -> NDArray[np.int16]:
    """Places that were changed in each document, [num_documents]; -1 for those that are no copies."""
    rng = np.random.default_rng(0)
    changed = np.full(num_documents, -1, np.int16)
    with path.open("wb") as handle:
        for begin in range(0, num_documents, CHUNK):
            count = min(CHUNK, num_documents - begin)
            sketches = rng.integers(0, 2**32 - 1, (count, NUM_PERMUTATIONS), np.uint32)
            copies = rng.permutation(np.arange(count // 2, count))[: COPIES * count // CHUNK]
            sketches[copies] = sketches[rng.integers(0, count // 2, len(copies))]
            of_copies = rng.integers(0, NUM_PERMUTATIONS // 5, len(copies))
            mask = np.argsort(rng.random((len(copies), NUM_PERMUTATIONS)), axis=1) < of_copies[:, None]
            sketches[copies] = np.where(mask, rng.integers(0, 2**32 - 1, mask.shape, np.uint32), sketches[copies])
            changed[begin + copies] = of_copies
            handle.write(sketches.tobytes())
    return changed


def search(folder: Path, changed: NDArray[np.int16]) -> None:
    sketches = np.memmap(folder / "sketches.bin", np.uint32, "r").reshape(-1, NUM_PERMUTATIONS)
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    with watched(os.getpid()) as peaks:
        firsts = find_near_duplicates(sketches, threshold=THRESHOLD, work=folder)
    now = resource.getrusage(resource.RUSAGE_SELF)
    processor_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    dropped = firsts != np.arange(len(firsts))
    # Copies of one document are like each other too: above the threshold only what is no copy is sure to stay.
    assert not dropped[changed < 0].any()
    near = (changed >= 0) & (changed <= 4)
    print(
        f"{len(firsts):,} documents: {time.perf_counter() - began:.0f} s, {processor_s:.0f} s of processor time; "
        f"{peaks.anonymous[os.getpid()] / 1e6:.0f} MB of its own; {dropped.sum():,} dropped, "
        f"{100 * dropped[near].mean():.2f} % of the copies that differ in at most 4 of {NUM_PERMUTATIONS} places",
        flush=True,
    )


if __name__ == "__main__":
    main()
