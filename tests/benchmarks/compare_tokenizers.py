"""Our encoder beside gigatoken and tiktoken, one thread each, on texts in memory: ratios, and equal ids."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from peers import RANKS, gigatoken_tokenizer

from megatron_codex.tokenizer.encoders import build_encoder

Encode = Callable[[list[bytes]], list[Any]]


def compare_tokenizers(texts: list[bytes], rounds: int) -> None:
    """A round: a part of the corpus that none of them has seen (cold), and the same part again (warm)."""
    contenders = {
        "ours": encode_with(None, is_utf8=False),
        "gigatoken": gigatoken(),
        "tiktoken": encode_with("tiktoken", is_utf8=True),
    }
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        part = texts[number::rounds]
        num_bytes = sum(map(len, part))
        results = {}
        for state in ("cold", "warm"):
            names = list(contenders)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                started = time.perf_counter()
                results[name] = contenders[name](part)
                rates.setdefault((name, state), []).append(num_bytes / (time.perf_counter() - started) / 1e6)
        for name, found in results.items():
            for ids, expected, text in zip(found, results["tiktoken"], part, strict=True):
                assert np.array_equal(np.asarray(ids), expected), f"{name} differs on {text[:60]!r}"
    print("ids are equal")
    for state in ("cold", "warm"):
        mine = rates["ours", state]
        print(f"{state}: ours {statistics.median(mine):.0f} MB/s")
        for peer in ("gigatoken", "tiktoken"):
            ratios = [one / other for one, other in zip(mine, rates[peer, state], strict=True)]
            theirs, ratio = statistics.median(rates[peer, state]), statistics.median(ratios)
            print(f"  {peer} {theirs:.0f} MB/s: ours / theirs {ratio:.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")


def encode_with(kind: str | None, *, is_utf8: bool) -> Encode:
    encoder = build_encoder(RANKS, kind=kind)
    print(f"encoder: {encoder.name}")

    def encode(texts: list[bytes]) -> list[Any]:
        offsets = np.cumsum([0, *map(len, texts)])
        ids, counts = encoder.encode_documents(b"".join(texts), offsets, is_utf8=is_utf8, end=None, num_threads=1)
        return np.split(ids, np.cumsum(counts)[:-1])

    return encode


def gigatoken() -> Encode:
    tokenizer = gigatoken_tokenizer()
    return lambda texts: tokenizer.encode_batch(texts, parallel=False)  # type: ignore[no-any-return]
