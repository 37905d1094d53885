"""Our encoder beside gigatoken and tiktoken, one thread each, on texts in memory: ratios, and equal ids.

Each is given the texts as it takes them (ours: one buffer with offsets, as Arrow has them; the others: a list of bytes)
and gives the ids as it does; neither form is made inside the timed part.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from peers import RANKS, gigatoken_tokenizer

from megatron_codex.tokenizer.encoders import Positions, Tokens, build_encoder

Texts = Any
Encoded = Any


@dataclass(frozen=True, kw_only=True)
class Contender:
    prepare: Callable[[list[bytes]], Texts]
    encode: Callable[[Texts], Encoded]
    ids_of_each: Callable[[Encoded], Iterable[Any]]


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
        prepared = {name: contender.prepare(part) for name, contender in contenders.items()}
        results = {}
        for state in ("cold", "warm"):
            names = list(contenders)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                started = time.perf_counter()
                results[name] = contenders[name].encode(prepared[name])
                rates.setdefault((name, state), []).append(num_bytes / (time.perf_counter() - started) / 1e6)
        expected_ids = list(contenders["tiktoken"].ids_of_each(results["tiktoken"]))
        for name, found in results.items():
            for ids, expected, text in zip(contenders[name].ids_of_each(found), expected_ids, part, strict=True):
                assert np.array_equal(np.asarray(ids), expected), f"{name} differs on {text[:60]!r}"
    print("ids are equal")
    for state in ("cold", "warm"):
        mine = rates["ours", state]
        print(f"{state}: ours {statistics.median(mine):.0f} MB/s")
        for peer in ("gigatoken", "tiktoken"):
            ratios = [one / other for one, other in zip(mine, rates[peer, state], strict=True)]
            theirs, ratio = statistics.median(rates[peer, state]), statistics.median(ratios)
            print(f"  {peer} {theirs:.0f} MB/s: ours / theirs {ratio:.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")


def encode_with(kind: str | None, *, is_utf8: bool) -> Contender:
    encoder = build_encoder(RANKS, kind=kind)
    print(f"encoder: {encoder.name}")

    def encode(texts: tuple[bytes, Positions]) -> tuple[Tokens, Positions]:
        return encoder.encode_documents(*texts, is_utf8=is_utf8, end=None, num_threads=1)

    return Contender(
        prepare=lambda texts: (b"".join(texts), np.cumsum([0, *map(len, texts)])),
        encode=encode,
        ids_of_each=lambda encoded: np.split(encoded[0], np.cumsum(encoded[1])[:-1]),
    )


def gigatoken() -> Contender:
    tokenizer = gigatoken_tokenizer()
    return Contender(
        prepare=list, encode=lambda texts: tokenizer.encode_batch(texts, parallel=False), ids_of_each=lambda ids: ids
    )
