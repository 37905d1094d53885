"""Seeded choices that are the same on every Python version, platform and PYTHONHASHSEED.

In: a seed and a purpose. Out: choices. Of the standard library only `Random.random` is used: it is the one method whose
sequence the library promises to keep for a given seed; `choice`, `sample` and `shuffle` have changed between versions.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def stable_hash(*parts: object) -> int:
    """64-bit hash of the parts' text, equal everywhere and for ever (unlike the builtin `hash` of a string)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Draw:
    """A stream of choices. Streams with different purposes are independent.

    >>> Draw("doctest", 0).integer(0, 9), Draw("doctest", 0).integer(0, 9)
    (8, 8)
    """

    def __init__(self, *purpose: object) -> None:
        self._random = random.Random(stable_hash(*purpose)).random

    def integer(self, low: int, high: int) -> int:
        """A whole number of low..high, both included."""
        return low + int(self._random() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def choice(self, items: Sequence[Item]) -> Item:
        """One of the items, each as likely."""
        return items[self.integer(0, len(items) - 1)]

    def weighted(self, items: Sequence[Item], *, weights: Sequence[float]) -> Item:
        """One of the items, as likely as its weight."""
        left = self._random() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            left -= weight
            if left < 0:
                return item
        return items[-1]  # rounding may leave a hair above zero

    def some(self, items: Sequence[Item], *, count: int) -> list[Item]:
        """Several different items, in random order."""
        rest = list(items)
        return [rest.pop(self.integer(0, len(rest) - 1)) for _ in range(count)]
