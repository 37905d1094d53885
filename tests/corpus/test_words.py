from __future__ import annotations

import re
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.corpus.words import find_words, hash_words, prefix_sums, run_hashes
from megatron_codex.native.library import library

NO_BORDERS = np.empty(0, np.int64)
TEXTS = st.binary() | st.text(st.sampled_from("aB_9 .\n\té中")).map(str.encode)


def plain(data: bytes) -> list[bytes]:
    return re.findall(rb"[a-z0-9_\x80-\xff]+", data.lower())


@given(st.lists(TEXTS))
def test_words_are_the_plain_ones_of_each_document(documents: list[bytes]) -> None:
    borders = np.cumsum([0, *map(len, documents)])
    words = find_words(b"".join(documents), borders)
    found = [words.folded[start:end] for start, end in zip(words.starts, words.ends, strict=True)]
    assert found == [word for document in documents for word in plain(document)]


@given(TEXTS, TEXTS, st.integers(1, 4))
def test_a_run_s_hash_is_that_of_its_words_wherever_it_stands(before: bytes, run: bytes, num_words: int) -> None:
    def hashes(data: bytes) -> list[int]:
        return run_hashes(prefix_sums(hash_words(find_words(data, NO_BORDERS))), num_words).tolist()

    alone, after = hashes(run), hashes(before + b" " + run)
    assert len(alone) == max(0, len(plain(run)) - num_words + 1)
    assert after[len(after) - len(alone) :] == alone
    assert hashes(run.replace(b" ", b" (\n\t").upper()) == alone


needs_library = pytest.mark.skipif(library() is None, reason="needs the C++ library (a C++17 compiler)")


@needs_library
@given(st.lists(TEXTS, max_size=8), st.integers(1, 4), st.randoms())
def test_the_library_knows_the_documents_that_hold_a_run(
    documents: list[bytes], num_words: int, random: Random
) -> None:
    hashes = [
        run_hashes(prefix_sums(hash_words(find_words(document, NO_BORDERS))), num_words) for document in documents
    ]
    all_hashes = sorted({*np.concatenate([*hashes, np.empty(0, np.uint64)]).tolist()})
    some = np.array([value for value in all_hashes if random.random() < 0.3], np.uint64)
    offsets = np.cumsum([0, *map(len, documents)])
    expected = [int(np.isin(of_one, some).any()) for of_one in hashes]
    data = b"".join(documents)
    assert _cpu().find_runs(data, offsets, runs=[(num_words, some)]).tolist() == expected
    others = np.array([7], np.uint64)
    assert _cpu().find_runs(data, offsets, runs=[(9, others), (num_words, some)]).tolist() == expected


@needs_library
@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([(0, [1])], "at least one word"), ([(1, [2, 1])], "hashes must rise"), ([(1, [[1]])], "hashes must be a list"),
    ],
)  # fmt: skip
def test_the_library_refuses_what_it_cannot_look_for(runs: list[Any], message: str) -> None:
    looked_for = [(num_words, np.array(hashes, np.uint64)) for num_words, hashes in runs]
    with pytest.raises(ValueError, match=message):
        _cpu().find_runs(b"a b", np.array([0, 3]), runs=looked_for)


def _cpu() -> Any:
    return library()


def test_different_runs_have_different_hashes() -> None:
    numbers = range(30_000)
    data = " ".join(f"w{number} {'x' * (number % 20)}{number}" for number in numbers).encode()
    words = find_words(data, NO_BORDERS)
    for num_words in (1, 2, 6, 13):
        runs = run_hashes(prefix_sums(hash_words(words)), num_words)
        assert len(np.unique(runs)) == len(runs)


@pytest.mark.parametrize("num_words", [1, 5])
def test_fewer_words_than_a_run_are_no_run(num_words: int) -> None:
    for count in range(num_words):
        words = find_words(b"a " * count, NO_BORDERS)
        assert len(run_hashes(prefix_sums(hash_words(words)), num_words)) == 0


def test_a_part_of_the_words_has_its_text() -> None:
    words = find_words(b"One, two;\n  THREE = four", NO_BORDERS)
    assert words.text(1, 2) == b"two three"
