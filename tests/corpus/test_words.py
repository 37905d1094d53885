from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.corpus.words import find_words, hash_words, prefix_sums, run_hashes

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
