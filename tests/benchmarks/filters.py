"""The filters' pass over documents beside the same facts by numpy and xxhash, interleaved in one run on one thread.

    python tests/benchmarks/filters.py [--corpus DIR ...] [--rounds 5]

The peer is what one writes without C++: numpy over a document's bytes, bytes.find for the stamps, XXH3-128 by xxhash.
Its counts must be ours. Timings are no tests: run this by hand, alone.
"""

from __future__ import annotations

import argparse
import statistics
import sysconfig
import time
from pathlib import Path

import numpy as np
import xxhash
from corpus_texts import read_corpus
from numpy.typing import NDArray

from megatron_codex.corpus.statistics import HEAD_CHARS, hash_text, measure_in_python
from megatron_codex.native.library import instructions, library

Facts = tuple[int, int, int, str, bool]
"""Lines, longest line in bytes, letters and digits, hash, whether the head may have a stamp."""

_ALPHANUMERIC = np.zeros(256, bool)
_ALPHANUMERIC[list(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] = True
_STAMPS = (b"DO NOT EDIT", b"DO NOT MODIFY", b"DON'T EDIT", b"DON'T MODIFY")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    paths = sysconfig.get_paths()
    parser.add_argument("--corpus", nargs="+", type=Path, default=[Path(paths["stdlib"])])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    compare_filters(list(read_corpus(arguments.corpus)), arguments.rounds)


def compare_filters(texts: list[bytes], rounds: int) -> None:
    """Both on one thread, over the texts on which they must agree: the peer counts bytes and knows one line end."""
    native = library()
    assert native is not None, "build csrc/cpu first"
    texts = [text for text in texts if text.isascii() and b"\r" not in text]
    data, offsets = b"".join(texts), np.cumsum([0, *map(len, texts)])
    print(f"{len(texts):,} files, {len(data) / 1e6:.1f} MB; one thread")
    rates: dict[str, list[float]] = {}
    for number in range(rounds):
        contenders = [*instructions(), "numpy", "twin"]
        for name in contenders[number % len(contenders) :] + contenders[: number % len(contenders)]:
            started = time.perf_counter()
            if name == "numpy":
                theirs = [by_numpy(text) for text in texts]
            elif name == "twin":
                measure_in_python(data, offsets)
            else:
                ours = native.measure(data, offsets, instructions=name, num_threads=1)
            rates.setdefault(name, []).append(len(data) / (time.perf_counter() - started) / 1e9)
        assert [as_facts(record) for record in ours] == theirs
    print("facts are equal")
    for name, found in rates.items():
        ratios = [one / other for one, other in zip(found, rates["numpy"], strict=True)]
        spread = f"{statistics.median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}]"
        print(f"{name}: {statistics.median(found):.3f} GB/s (best {max(found):.3f}); times numpy's {spread}")


def by_numpy(text: bytes) -> Facts:
    bytes_ = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(bytes_ == 10)
    is_open = len(text) > 0 and text[-1] != 10
    borders: NDArray[np.int64] = np.concatenate([[-1], ends, [len(text)]] if is_open else [[-1], ends])
    lengths = np.diff(borders) - 1
    head = text[:HEAD_CHARS]
    stamp = b"generated" in head.lower() or any(words in head for words in _STAMPS)
    alphanumeric = int(_ALPHANUMERIC[bytes_].sum())
    return len(lengths), int(lengths.max(initial=0)), alphanumeric, xxhash.xxh3_128_hexdigest(text), stamp


def as_facts(record: np.void) -> Facts:
    digest = hash_text(int(record["hash_low"]), int(record["hash_high"]))
    counts = (int(record[name]) for name in ("num_lines", "max_line_chars", "num_ascii_alphanumeric"))
    return *counts, digest, bool(record["may_be_generated"])


if __name__ == "__main__":
    main()
