"""Words of documents and hashes of runs of them: bytes in, positions and 64-bit numbers out, a few numpy passes each.

A word is a longest run of ASCII letters, digits, underscores and bytes of 0x80 or more, ASCII letters in lower case;
all else stands between words. A word ends where its document ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_BLANK = 0x20
_WORD_BYTES = b"0123456789_abcdefghijklmnopqrstuvwxyz" + bytes(range(0x80, 0x100))
_FOLD = bytes(byte if byte in _WORD_BYTES else _BLANK for byte in bytes(range(256)).lower())

# Odd numbers of no meaning (2^64 over the golden ratio, and those of splitmix64 and murmur3). The hashes are not
# stored: another version may choose others.
_FIRST, _LAST, _LENGTH = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_MIX, _BASE = np.uint64(0xFF51AFD7ED558CCD), 0xC4CEB9FE1A85EC53
_SHIFT = np.uint64(32)
_INVERSE = pow(_BASE, -1, 1 << 64)
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)


@dataclass(frozen=True)
class Words:
    """The words of documents that lie end to end."""

    folded: bytes
    """The documents with their letters in lower case and blanks for all that is no word."""
    starts: Positions
    """First byte of each word, [num_words]."""
    ends: Positions
    """The byte after its last, [num_words]."""

    def text(self, first: int, count: int) -> bytes:
        """`count` words from word `first` on, a blank between them."""
        return b" ".join(self.folded[self.starts[first] : self.ends[first + count - 1]].split())


def find_words(data: bytes, borders: Positions) -> Words:
    """The words of data. borders: positions in it at which a document begins, rising; no word goes across one."""
    folded = data.translate(_FOLD)
    inside = np.zeros(len(folded) + 2, np.bool_)
    np.not_equal(np.frombuffer(folded, np.uint8), _BLANK, out=inside[1:-1])
    edges = np.flatnonzero(inside[1:] != inside[:-1])  # a start, an end, a start, ...
    cuts = np.unique(borders[(borders > 0) & (borders < len(data))])
    cuts = cuts[inside[cuts] & inside[cuts + 1]]
    if len(cuts):
        edges = np.sort(np.concatenate([edges, cuts, cuts]))
    return Words(folded, edges[::2], edges[1::2])


def hash_words(words: Words) -> Hashes:
    """A hash of each word, [num_words]: of its length, its first eight bytes and its last eight.

    Long words that differ in the middle share one: who finds an equal hash compares the words.
    """
    padded = words.folded + b" " * 8
    eight = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))  # eight[i]: bytes i to i + 7
    lengths = words.ends - words.starts
    hashes = eight[words.starts]
    hashes &= _MASKS[np.minimum(lengths, 8)]
    hashes *= _FIRST
    hashes += lengths.view(np.uint64) * _LENGTH
    long = np.flatnonzero(lengths > 8)
    hashes[long] ^= eight[words.ends[long] - 8] * _LAST
    hashes ^= hashes >> _SHIFT
    hashes *= _MIX
    hashes ^= hashes >> _SHIFT
    return hashes


def prefix_sums(hashes: Hashes) -> Hashes:
    """What run_hashes needs of the words' hashes, whatever the length of the runs, [num_words + 1]."""
    powers, _ = _powers(_room(len(hashes)))
    sums = np.zeros(len(hashes) + 1, np.uint64)
    np.cumsum(hashes * powers[: len(hashes)], out=sums[1:])
    return sums


def run_hashes(sums: Hashes, num_words: int) -> Hashes:
    """A hash of each run of num_words words, [max(0, words - num_words + 1)], the same wherever the run stands.

    The rolling hash of Karp and Rabin (1987), modulo 2^64, by prefix sums.
    """
    count = max(0, len(sums) - num_words)
    _, inverses = _powers(_room(count))
    runs = sums[num_words:] - sums[:count]
    runs *= inverses[:count]
    runs ^= runs >> _SHIFT
    runs *= _MIX
    return runs


def _room(count: int) -> int:
    return 1 << max(16, count.bit_length())


@lru_cache(maxsize=4)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """Powers of the base and of its inverse, [count] each."""
    both = np.ones((2, count), np.uint64)
    for row, base in zip(both, (_BASE, _INVERSE), strict=True):
        row[1:] = np.uint64(base)
        np.multiply.accumulate(row, out=row)
    return both[0], both[1]
