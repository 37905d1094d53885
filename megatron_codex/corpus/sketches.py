"""Sketches of documents: a few hundred bytes each that tell how alike two of them are.

In: documents as bytes, end to end, with offsets, as Arrow has them. Out: num_permutations numbers a document. The share
of places in which two sketches agree estimates the Jaccard similarity of the documents' shingles, runs of shingle_words
words, without bias and with the variance of MinHash, J (1 - J) / num_permutations, or less.

csrc/cpu/sketch/shingles.h says what words, shingles and sketches are, to the bit: sketches rest on disk. Two ways to
the same numbers: that library, and its twin here for machines without it.

Source: Fast Similarity Sketching, Dahlgaard, Knudsen and Thorup 2017 (arXiv 1704.04370).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from megatron_codex.native.library import fastest

EMPTY = 0xFFFFFFFF
"""All numbers of the sketch of a document without words; no other sketch has it."""

_WORD_FACTOR = 0xD6E8FEB86659FD93
_SHINGLE_FACTOR = np.uint64(0xFF51AFD7ED558CCD)
_STEP = 0x9E3779B97F4A7C15
_VALUE_MASK = np.uint64(0x7FFFFFFF)
_MASK = 2**64 - 1
_WORD_BYTES = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz" + bytes(range(0x80, 0x100))
_IS_WORD = np.isin(np.arange(256), list(_WORD_BYTES))
_LONG_WORD_BYTES = 512

Sketches = NDArray[np.uint32]
Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]


def sketch_documents(
    data: bytes | bytearray | memoryview,
    offsets: Positions,
    *,
    num_permutations: int,
    shingle_words: int,
    num_threads: int = 1,
) -> Sketches:
    """The sketch of data[offsets[i]:offsets[i + 1]] for each i, [num_documents, num_permutations]."""
    native = fastest()
    if native is None:
        return sketch_in_python(data, offsets, num_permutations=num_permutations, shingle_words=shingle_words)
    module, instruction_set = native
    sketches = module.sketch(
        data,
        offsets,
        num_permutations=num_permutations,
        shingle_words=shingle_words,
        instructions=instruction_set,
        num_threads=num_threads,
    )
    return np.asarray(sketches)


def sketch_in_python(
    data: bytes | bytearray | memoryview, offsets: Positions, *, num_permutations: int, shingle_words: int
) -> Sketches:
    """The twin: the same sketches, many times slower."""
    offsets = np.asarray(offsets, np.int64)
    words, document_of_word = _hash_words(data, offsets)
    shingles, owners = _hash_shingles(words, document_of_word, shingle_words)
    sketches = np.full((len(offsets) - 1, num_permutations), EMPTY, np.uint32)
    has_words = np.zeros(len(sketches), bool)
    has_words[owners] = True
    for number in range(2 * num_permutations):
        _fold(shingles, owners, number, sketches)
        unfinished = has_words & (sketches == EMPTY).any(axis=1)
        open_shingles = unfinished[owners]
        shingles, owners = shingles[open_shingles], owners[open_shingles]
        if not len(shingles):
            break
    return sketches


def estimate_jaccard(left: Sketches, right: Sketches) -> NDArray[np.float64]:
    """The similarity that two sketches estimate, over the last axis; nothing is like a document without words."""
    agree = (left == right) & (left != EMPTY)
    return np.asarray(agree.mean(axis=-1, dtype=np.float64))


def _hash_words(data: bytes | bytearray | memoryview, offsets: Positions) -> tuple[Hashes, Positions]:
    """(each word's hash, its document), in order."""
    first, size = int(offsets[0]), int(offsets[-1] - offsets[0])
    text = np.frombuffer(data, np.uint8)[first : first + size]
    is_word = _IS_WORD[text]
    begins_document = np.zeros(size + 1, bool)
    begins_document[offsets - first] = True
    before = np.concatenate(([False], is_word[:-1]))[:size]
    after = np.concatenate((is_word[1:], [False]))[:size]
    begins = np.flatnonzero(is_word & (begins_document[:-1] | ~before))
    ends = np.flatnonzero(is_word & (begins_document[1:] | ~after)) + 1
    hashes = np.zeros(len(begins), np.uint64)
    lengths = ends - begins
    padded = np.concatenate((text, np.zeros(8, np.uint8)))
    for done in range(0, _LONG_WORD_BYTES, 8):
        is_open = np.flatnonzero((lengths > done) & (lengths <= _LONG_WORD_BYTES))
        if not len(is_open):
            break
        at = begins[is_open] + done
        eights = padded[at[:, None] + np.arange(8)]
        eights[np.arange(8) >= (ends[is_open] - at)[:, None]] = 0
        mixed = (hashes[is_open] ^ eights.view("<u8")[:, 0]) * np.uint64(_WORD_FACTOR)
        hashes[is_open] = mixed ^ (mixed >> np.uint64(32))
    for word in np.flatnonzero(lengths > _LONG_WORD_BYTES):
        hashes[word] = _hash_long_word(text[begins[word] : ends[word]].tobytes())
    return hashes, np.searchsorted(offsets - first, begins, side="right") - 1


def _hash_long_word(word: bytes) -> int:
    value = 0
    for eight in np.frombuffer(word.ljust(-(-len(word) // 8) * 8, b"\0"), "<u8").tolist():
        value = (value ^ eight) * _WORD_FACTOR & _MASK
        value ^= value >> 32
    return value


def _hash_shingles(words: Hashes, document_of_word: Positions, shingle_words: int) -> tuple[Hashes, Positions]:
    """(each shingle's hash, its document)."""
    _, firsts, counts = np.unique(document_of_word, return_index=True, return_counts=True)
    shingles, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for size in range(1, shingle_words + 1):
        if size < shingle_words:  # documents of so few words are one shingle
            begins = firsts[counts == size]
        else:
            begins = np.arange(max(0, len(words) - size + 1))
            begins = begins[document_of_word[begins] == document_of_word[begins + size - 1]]
        hashes = np.zeros(len(begins), np.uint64)
        for word in range(size):
            hashes = hashes * _SHINGLE_FACTOR + words[begins + word]
        shingles.append(hashes)
        owners.append(document_of_word[begins])
    return np.concatenate(shingles), np.concatenate(owners)


def _fold(shingles: Hashes, owners: Positions, number: int, sketches: Sketches) -> None:
    """One round: the smallest value into each bin that was empty before it."""
    num_bins = sketches.shape[1]
    mixed = _mix(shingles + np.uint64((number + 1) * _STEP & _MASK))
    if number < num_bins:
        bins = (mixed >> np.uint64(32)) * np.uint64(num_bins) >> np.uint64(32)
    else:
        bins = np.full(len(mixed), number - num_bins, np.uint64)
    places = owners * num_bins + bins.astype(np.int64)
    flat = sketches.reshape(-1)
    is_open = flat[places] == EMPTY
    np.minimum.at(flat, places[is_open], (mixed[is_open] & _VALUE_MASK).astype(np.uint32))


def _mix(x: Hashes) -> Hashes:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
