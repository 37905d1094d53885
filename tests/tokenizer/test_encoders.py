"""Every encoder gives tiktoken's ids: each instruction set of the C++ one, and the twin in Python."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.native.library import instructions
from megatron_codex.tokenizer import encoders
from megatron_codex.tokenizer.encoders import DocumentEncoder, build_encoder
from megatron_codex.tokenizer.ranks import build_ranks

SETS = instructions()
KINDS = (*SETS, "tiktoken")

# What the scan turns on: classes, contractions, runs that join what follows, characters of 2 to 4 bytes.
PARTS = [
    *("a", "Z", "foo", "def ", " ", "  ", "    ", "\n", "\r\n", "\t", "0", "42", "_", "(", "==", "\x1c", "\x00"),
    *("'", "''", "'s", " 's", "'re", "'ll", "'S", "don't"),
    *("é", "Ω", "中", "٣", "²", "ǅ", "\xa0", "\x85", "\u3000", "\u2028", "😀"),
]
texts = st.lists(st.sampled_from(PARTS), max_size=120).map("".join)
faulty = st.builds(lambda head, bad, tail: head.encode() + bad + tail.encode(), texts, st.binary(max_size=6), texts)
documents = st.lists(st.one_of(texts.map(str.encode), faulty, st.binary(max_size=80)), max_size=6)


@cache
def encoder(kind: str, vocab_size: int | None = None, min_run: int = 2) -> DocumentEncoder:
    return build_encoder(build_ranks(TokenizerConfig(vocab_size=vocab_size, min_run=min_run)), kind=kind)


@cache
def oracle(vocab_size: int | None = None, min_run: int = 2) -> tiktoken.Encoding:
    ranks = build_ranks(TokenizerConfig(vocab_size=vocab_size, min_run=min_run))
    return tiktoken.Encoding("oracle", pat_str=encoders._PIECES, mergeable_ranks=ranks, special_tokens={})


def encode(
    kind: str, found: list[bytes], *, vocab_size: int | None = None, min_run: int = 2, num_threads: int = 1
) -> list[list[int]]:
    offsets = np.cumsum([0, *map(len, found)])
    ids, counts = encoder(kind, vocab_size, min_run).encode_documents(
        b"".join(found), offsets, is_utf8=False, end=None, num_threads=num_threads
    )
    assert ids.dtype == np.uint16 and counts.sum() == len(ids)
    return [part.tolist() for part in np.split(ids, np.cumsum(counts)[:-1])] if found else []


def expected(found: list[bytes], vocab_size: int | None = None, min_run: int = 2) -> list[list[int]]:
    return [oracle(vocab_size, min_run)._encode_bytes(document) for document in found]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, deadline=None)
@given(found=documents)
def test_every_document_has_the_oracle_s_ids(kind: str, found: list[bytes]) -> None:
    assert encode(kind, found) == expected(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("vocab_size", "min_run"), [(2073, 2), (281, 2), (None, 7)], ids=["small", "bytes", "long runs"]
)
@settings(max_examples=60, deadline=None)
@given(found=documents)
def test_other_vocabularies_too(kind: str, vocab_size: int | None, min_run: int, found: list[bytes]) -> None:
    assert encode(kind, found, vocab_size=vocab_size, min_run=min_run) == expected(found, vocab_size, min_run)


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("vocab_size", [None, 2073])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), longest=st.sampled_from([4, 16, 17, 32, 33, 80, 300]))
def test_pieces_that_no_cache_holds_come_out_in_their_places(
    kind: str, vocab_size: int | None, seed: int, longest: int
) -> None:
    """New words, more than are merged together; each comes again before that and after it."""
    generator = np.random.default_rng(seed)
    made = ["".join(map(chr, generator.integers(97, 123, size))) for size in generator.integers(1, longest + 1, 60)]
    found = [" ".join(generator.choice([*made, "def", "self"], 300)).encode() for _ in range(3)]
    assert encode(kind, found, vocab_size=vocab_size) == expected(found, vocab_size)


@pytest.mark.parametrize("kind", SETS)
def test_pieces_that_contend_for_a_place_in_the_cache_keep_their_own_tokens(kind: str) -> None:
    """So many new words that some which are merged together would be kept in the same place; each 64 come twice."""
    made = np.random.default_rng(1).integers(97, 123, (250_000, 7)).astype(np.uint8)
    made[:, 0] = ord(" ")
    found = [b"".join(2 * [made[first : first + 64].tobytes()]) for first in range(0, len(made), 64)]
    assert encode(kind, [b"".join(found)]) == expected([b"".join(found)])


words = st.text("ab", min_size=2, max_size=7)


@pytest.mark.parametrize("kind", SETS)
@settings(max_examples=150, deadline=None)
@given(tokens=st.lists(words, unique=True, max_size=40), found=st.lists(st.text("ab", max_size=300), max_size=8))
def test_tokens_that_no_merging_makes(kind: str, tokens: list[str], found: list[str]) -> None:
    """Of ranks in any order: some tokens are found only as whole pieces, some merges are worse than what they make."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {token.encode(): 256 + number for number, token in enumerate(tokens)}
    peer = tiktoken.Encoding("any", pat_str=encoders._PIECES, mergeable_ranks=ranks, special_tokens={})
    pieces = [piece.encode() for piece in [*found, *tokens]]
    ids, counts = build_encoder(ranks, kind=kind).encode_documents(
        b"".join(pieces), np.cumsum([0, *map(len, pieces)]), is_utf8=True, end=None, num_threads=1
    )
    assert ids.tolist() == [token for piece in pieces for token in peer._encode_bytes(piece)]
    assert counts.sum() == len(ids)


@pytest.mark.parametrize("kind", SETS)
def test_pieces_across_the_borders_of_blocks(kind: str) -> None:
    """Each ending at each place of a block of 64 bytes, where carries, contractions and the text's end meet."""
    endings = ["'s", "'re", "'rex", "' s", "  x", " \n", "\n ", "é", " é", "'é", "1a", "a1", "", "'", "'sé", "中 "]
    found = [
        ("b" * length + ending + tail).encode()
        for ending in endings
        for tail in ("", "c d")
        for length in range(55, 70)
    ]
    found += [(" " * length + ending).encode() for ending in endings for length in range(55, 70)]
    assert encode(kind, found) == expected(found)


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("unit", ["a", " ", "\n", "=", "7", "é", "ab", "a b", "'s", " \xa0"], ids=repr)
def test_long_pieces(kind: str, unit: str) -> None:
    found = [(unit * length).encode() for length in (15, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 20_000)]
    assert encode(kind, found) == expected(found)


@pytest.mark.parametrize("kind", SETS)
def test_every_code_point_has_its_class(kind: str) -> None:
    """Between two letters each code point shows whether it is a letter, a number, white space or neither."""
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    found = [
        "".join(f"a{chr(point)}a {chr(point)}1" for point in points[i : i + 4096]).encode()
        for i in range(0, len(points), 4096)
    ]
    assert encode(kind, found, vocab_size=281) == expected(found, 281)


@pytest.mark.parametrize("kind", SETS)
def test_threads_change_nothing(kind: str) -> None:
    rng = np.random.default_rng(0)
    found = ["".join(rng.choice(PARTS, rng.integers(300))).encode() for _ in range(500)]
    assert encode(kind, found, num_threads=3) == encode(kind, found) == expected(found)


@pytest.mark.parametrize("kind", SETS)
def test_one_encoder_serves_several_python_threads(kind: str) -> None:
    found = [f"def f{i}(x):\n    return x + {i}  # {'é' * i}\n".encode() for i in range(200)]
    with ThreadPoolExecutor(4) as executor:
        results = list(executor.map(lambda _: encode(kind, found), range(16)))
    assert all(result == results[0] for result in results) and results[0] == expected(found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_is_put_after_documents_that_have_a_token(kind: str) -> None:
    offsets = np.array([1, 2, 2, 4])
    ids, counts = encoder(kind).encode_documents(memoryview(b"xaba!"), offsets, is_utf8=True, end=50_256, num_threads=1)
    assert ids.tolist() == [64, 50_256, 7012, 50_256] and counts.tolist() == [2, 0, 2]


def test_a_megabyte_without_a_border_takes_no_quadratic_time() -> None:
    """At size^2 this would take hours, not a second."""
    data = b"ab" * 500_000 + b"\xff" + b"\n \n" * 300_000
    (ids,) = encode(SETS[0], [data])
    tokens = {rank: token for token, rank in build_ranks(TokenizerConfig()).items()}
    assert b"".join(tokens[token] for token in ids) == data
