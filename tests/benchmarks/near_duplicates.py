"""Sketches beside Python shingles and rensa's RMinHash, interleaved in one run on one machine: prints ratios, errors.

    python tests/benchmarks/near_duplicates.py [--corpus DIR ...] [--rounds 5] [--pairs 2000]

The peer is installed into .cache/peers, not into .venv. The default corpus is every Python file of the
interpreter's standard library and of the installed packages, each text once. Both make 128 numbers of a document's
shingles of 5 words, the same words, on one thread. Timings are no tests: run this by hand, alone.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from corpus_texts import read_corpus
from peers import install_peers

from megatron_codex.corpus.near_duplicates import find_near_duplicates
from megatron_codex.corpus.sketches import estimate_jaccard, sketch_documents
from megatron_codex.native.library import instructions, library

NUM_PERMUTATIONS = 128
SHINGLE_WORDS = 5
THRESHOLD = 0.85
WORDS = re.compile("[A-Za-z0-9_\x80-\U0010ffff]+")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    paths = sysconfig.get_paths()
    parser.add_argument("--corpus", nargs="+", type=Path, default=[Path(paths["stdlib"]), Path(paths["purelib"])])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=2000)
    arguments = parser.parse_args()
    install_peers()
    texts = list(read_corpus(arguments.corpus))
    print(f"{len(texts):,} unique files, {sum(map(len, texts)) / 1e6:.1f} MB; one thread")
    compare_sketches(texts, arguments.rounds, num_pairs=arguments.pairs)


def compare_sketches(texts: list[bytes], rounds: int, *, num_pairs: int) -> None:
    """Speed and errors of both, and what the search finds among the texts."""
    compare_speed(texts, rounds)
    compare_errors(texts, num_pairs)
    search(texts)


def ours(texts: list[bytes], instruction_set: str) -> Any:
    native = library()
    assert native is not None
    offsets = np.cumsum([0, *map(len, texts)])
    return native.sketch(
        b"".join(texts),
        offsets,
        num_permutations=NUM_PERMUTATIONS,
        shingle_words=SHINGLE_WORDS,
        instructions=instruction_set,
        num_threads=1,
    )


def shingles(text: bytes) -> set[str]:
    words = WORDS.findall(text.decode())
    return {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def rensa_sketches(texts: list[bytes]) -> list[Any]:
    from rensa import RMinHash  # type: ignore[import-not-found]

    found = []
    for text in texts:
        sketch = RMinHash(num_perm=NUM_PERMUTATIONS, seed=42)
        sketch.update(list(shingles(text)))
        found.append(sketch)
    return found


def compare_speed(texts: list[bytes], rounds: int) -> None:
    """A round: a part of the corpus, by each in turn."""
    contenders: dict[str, Callable[[list[bytes]], Any]] = {
        f"ours, {name}": lambda part, name=name: ours(part, name) for name in instructions()
    }
    contenders["Python shingles + RMinHash"] = rensa_sketches
    contenders["Python shingles alone"] = lambda part: [shingles(text) for text in part]
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        part = texts[number::rounds]
        num_bytes = sum(map(len, part))
        names = list(contenders)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            contenders[name](part)
            rates[name].append(num_bytes / (time.perf_counter() - started) / 1e6)
    peer = rates["Python shingles + RMinHash"]
    for name, own in rates.items():
        ratios = [one / other for one, other in zip(own, peer, strict=True)]
        spread = f"[{min(ratios):.1f}, {max(ratios):.1f}]"
        print(f"{name}: {statistics.median(own):.0f} MB/s, {statistics.median(ratios):.1f} times RMinHash's {spread}")


def compare_errors(texts: list[bytes], num_pairs: int) -> None:
    """Files and copies of them with some words changed, from a few to half: the true similarity is counted."""
    rng = np.random.default_rng(0)
    left = [texts[i] for i in rng.permutation(len(texts))[:num_pairs]]
    right = [changed(text, 10 ** rng.uniform(-3, -0.5), rng) for text in left]
    sets = [(shingles(one), shingles(other)) for one, other in zip(left, right, strict=True)]
    true = np.array([len(one & other) / len(one | other) for one, other in sets])
    estimates = {
        "ours": estimate_jaccard(ours(left, instructions()[0]), ours(right, instructions()[0])),
        "RMinHash": np.array(
            [one.jaccard(other) for one, other in zip(rensa_sketches(left), rensa_sketches(right), strict=True)]
        ),
    }
    theory = np.sqrt(np.mean(true * (1 - true)) / NUM_PERMUTATIONS)
    print(f"{len(true):,} pairs of true similarity {true.min():.2f} to {true.max():.2f}: theory's rmse {theory:.4f}")
    for name, estimate in estimates.items():
        errors = estimate - true
        print(f"  {name}: rmse {np.sqrt(np.mean(errors**2)):.4f}, mean error {errors.mean():+.4f}")


def changed(text: bytes, share: float, rng: np.random.Generator) -> bytes:
    return WORDS.sub(
        lambda word: f"new_{rng.integers(100)}" if rng.random() < share else word[0], text.decode()
    ).encode()


def search(texts: list[bytes]) -> None:
    """All files of the corpus: what the search drops, and how like their representatives these are."""
    offsets = np.cumsum([0, *map(len, texts)])
    sketches = sketch_documents(
        b"".join(texts), offsets, num_permutations=NUM_PERMUTATIONS, shingle_words=SHINGLE_WORDS
    )
    with tempfile.TemporaryDirectory() as work:
        started = time.perf_counter()
        firsts = find_near_duplicates(sketches, threshold=THRESHOLD, work=Path(work))
        seconds = time.perf_counter() - started
    dropped = np.flatnonzero(firsts != np.arange(len(firsts)))
    print(f"search: {seconds:.1f} s, {len(dropped):,} of {len(texts):,} files dropped at {THRESHOLD}")
    true = []
    for document in dropped[:: max(1, len(dropped) // 1000)]:
        one, other = shingles(texts[document]), shingles(texts[firsts[document]])
        true.append(len(one & other) / len(one | other))
    low, middle = np.quantile(true, [0.05, 0.5])
    print(f"  true similarity to the file kept: median {middle:.2f}, 5 % are below {low:.2f} (through chains)")


if __name__ == "__main__":
    main()
