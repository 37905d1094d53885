from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from megatron_codex.corpus import sketches
from megatron_codex.corpus.sketches import EMPTY, estimate_jaccard, sketch_documents, sketch_in_python
from megatron_codex.native.library import instructions, library

NATIVE = library()


def joined(documents: list[bytes]) -> tuple[bytes, NDArray[np.int64]]:
    return b"".join(documents), np.cumsum([0, *map(len, documents)])


def sketch(documents: list[bytes], num_permutations: int = 128, shingle_words: int = 5) -> NDArray[np.uint32]:
    data, offsets = joined(documents)
    return sketch_documents(data, offsets, num_permutations=num_permutations, shingle_words=shingle_words)


WORDS = st.sampled_from([b"a", b"self", b"x_1", b"12345678", b"123456789", b"\xc3\xa9t\xc3\xa9", b"\xff", b"w" * 700])
GAPS = st.sampled_from([b" ", b"\n", b"    ", b".", b"()", b"\0", b"-" * 70])
TEXTS = st.lists(st.one_of(WORDS, GAPS), max_size=60).map(b"".join)
LONG = st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=9), st.integers(400, 1400))


@pytest.mark.parametrize("num_threads", [1, 3], ids=lambda number: f"threads-{number}")
@pytest.mark.parametrize("instruction_set", instructions())
@given(
    st.lists(st.one_of(st.binary(max_size=200), TEXTS, LONG), max_size=8),
    st.sampled_from([1, 7, 128, 130]),
    st.sampled_from([1, 2, 5, 64]),
)
@example([b"", b"\n" * 5000, b"x" * 1_000_000, b"", b"a " * 40_000], 128, 5)
@example([b"ab " * 20_000 + b"c", b"a" * 4095 + b" b", b"a" * 4096 + b"b", b"a" * 4097, b"a " * 2048], 128, 1)
@example([b" ".join(b"%d" % number for number in range(40_000))], 128, 5)
@example([b"\xff\xfe\x80 \xc3( \xed\xa0\x80", "größe = 中文".encode(), b"a", b"a b", b"a b c d e"], 16, 5)
@settings(max_examples=40, deadline=None)
def test_every_way_gives_the_same_sketches(
    instruction_set: str, num_threads: int, documents: list[bytes], num_permutations: int, shingle_words: int
) -> None:
    data, offsets = joined(documents)
    expected = sketch_in_python(data, offsets, num_permutations=num_permutations, shingle_words=shingle_words)
    assert NATIVE is not None
    found = NATIVE.sketch(
        data,
        offsets,
        num_permutations=num_permutations,
        shingle_words=shingle_words,
        instructions=instruction_set,
        num_threads=num_threads,
    )
    np.testing.assert_array_equal(found, expected)


DOUBLE = b"def double(number):\n    return 2 * number\n"


def test_sketches_are_the_same_for_ever() -> None:
    documents = [DOUBLE, b"x", b"one_long_identifier = 1", b"-*-"]
    assert sketch(documents, num_permutations=6, shingle_words=3).tolist() == [
        [738655499, 1019410813, 222530757, 602680269, 109661238, 1065763641],
        [1483344008, 1244603784, 1744647561, 430772427, 343905709, 1536647491],
        [1309459630, 1869544101, 1962502351, 1570669252, 1697054129, 344507915],
        [EMPTY] * 6,
    ]


def test_without_the_library_the_twin_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [DOUBLE * 9, b""]
    expected = sketch(documents)
    monkeypatch.setattr(sketches, "fastest", lambda: None)
    np.testing.assert_array_equal(sketch(documents), expected)


def test_a_document_is_read_where_it_lies() -> None:
    """Neither what is before and behind it nor its place counts."""
    document = b"for number in range(7):\n    print(number)\n"
    alone = sketch([document])
    data, offsets = joined([b"x" * 3, document, b"y" * 100])
    for first in range(2):
        for function in (sketch_documents, sketch_in_python):
            found = function(data, offsets[first:], num_permutations=128, shingle_words=5)
            np.testing.assert_array_equal(found[1 - first], alone[0])


def test_words_are_runs_of_letters_digits_underscores_and_bytes_beyond_ascii() -> None:
    word_bytes = {byte for byte in range(256) if byte >= 0x80 or chr(byte).isalnum() or byte == ord("_")}
    apart = sketch([b"a b"], 16, 1)[0]
    for byte in range(256):
        is_same = np.array_equal(sketch([b"a" + bytes([byte]) + b"b"], 16, 1)[0], apart)
        assert is_same == (byte not in word_bytes), byte


def test_gaps_do_not_count_but_words_and_their_order_do() -> None:
    first, second, third, fourth = sketch([b"a, b\n+ c d e", b"a b c d e", b"a b c e d", b"A b c d e"])
    assert np.array_equal(first, second)
    assert estimate_jaccard(second, third) == estimate_jaccard(second, fourth) == 0


def test_a_document_without_words_is_like_nothing_and_no_other_is_marked_so() -> None:
    none, also_none, one = sketch([b"", b" +-*/()\n", b"x"])
    assert set(none.tolist()) == set(also_none.tolist()) == {EMPTY}
    assert EMPTY not in one
    assert estimate_jaccard(none, also_none) == 0
    assert estimate_jaccard(one, one) == 1


def similar_pairs(
    num_shared: int, num_single: int, num_pairs: int, rng: np.random.Generator
) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of documents of distinct words: num_shared in both, num_single in one of the two."""
    for _ in range(num_pairs):
        words = [b"w%d" % number for number in rng.integers(2**62, size=num_shared + num_single)]
        shared, half = words[:num_shared], num_shared + num_single // 2
        yield b" ".join(shared + words[num_shared:half]), b" ".join(shared + words[half:])


@pytest.mark.parametrize(
    ("num_shared", "num_single"),
    [(1, 2), (3, 3), (20, 5), (40, 40), (100, 28), (150, 150), (600, 100), (500, 900)],
    ids=lambda number: str(number),
)
def test_the_estimate_is_unbiased_and_errs_no_more_than_minhash(num_shared: int, num_single: int) -> None:
    num_pairs, num_permutations = 1500, 128
    rng = np.random.default_rng([num_shared, num_single])
    pairs = list(similar_pairs(num_shared, num_single, num_pairs, rng))
    found = sketch([document for pair in pairs for document in pair], num_permutations, 1)
    errors = estimate_jaccard(found[::2], found[1::2]) - (jaccard := num_shared / (num_shared + num_single))
    variance = jaccard * (1 - jaccard) / num_permutations
    # Four standard deviations of a mean of 1500, and of a mean of 1500 squares of normal numbers.
    assert abs(errors.mean()) < 4 * np.sqrt(variance / num_pairs)
    assert (errors**2).mean() < variance * (1 + 4 * np.sqrt(2 / num_pairs))


def test_nothing_is_read_beyond_the_end_of_the_bytes() -> None:
    """Text up to the last byte of a page, with a page behind it that may not be read: else the process dies."""
    run = subprocess.run([sys.executable, "-c", _AT_THE_END_OF_A_PAGE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


_AT_THE_END_OF_A_PAGE = """
import ctypes, mmap
import numpy as np
from megatron_codex.corpus.sketches import sketch_in_python
from megatron_codex.native.library import instructions, library

page = mmap.PAGESIZE
memory = mmap.mmap(-1, 4 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
assert libc.mprotect(address + 3 * page, page, 0) == 0
for size in [*range(1, 140), 4095, 4096, 4097, 4160, 8191, 8192, 8193]:
    for piece in (b"abc defg ", b"x"):
        text = (piece * size)[-size:]
        memory[3 * page - size : 3 * page] = text
        data, offsets = memoryview(memory)[3 * page - size : 3 * page], np.array([0, size // 2, size])
        expected = sketch_in_python(text, offsets, num_permutations=16, shingle_words=3)
        for name in instructions():
            found = library().sketch(
                data, offsets, num_permutations=16, shingle_words=3, instructions=name, num_threads=1
            )
            assert np.array_equal(found, expected), (size, piece, name)
"""


def test_faulty_arguments_are_refused() -> None:
    assert NATIVE is not None
    good = {"num_permutations": 16, "shingle_words": 5, "instructions": "scalar", "num_threads": 1}
    for fault in ({"num_permutations": 0}, {"shingle_words": 0}, {"shingle_words": 65}, {"num_threads": 0}):
        with pytest.raises(ValueError, match=next(iter(fault))):
            NATIVE.sketch(b"abc", [0, 3], **{**good, **fault})
    with pytest.raises(ValueError, match="offsets: must rise"):
        NATIVE.sketch(b"abc", [0, 4], **good)
