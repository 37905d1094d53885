from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from megatron_codex.corpus.statistics import HEAD_CHARS, STATISTICS, hash_text, measure_in_python
from megatron_codex.native.library import instructions, library

# What the passes tell apart: line ends over block borders, white space, encodings, stamps, bytes that are not UTF-8.
PIECES = [
    *(b"a", b"Z", b"7", b"_", b" ", b"\t", b"\x1c", b"\0", b"\r", b"\n", b"\r\n", b"\x7f"),
    *(character.encode() for character in "é€😀"),
    *(b"\x85", b"\xe9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"),
    *(b"DO NOT EDIT", b"DON'T MODIFY", b"DO NOT MODIF", b"GENERATED", b"generate", b"gEnerateD"),
    *(b"coding", b"\xef\xbb\xbf"),
    *(b"x" * 61, b"y" * 64, b" " * 130),
]
documents_of_pieces = st.lists(st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join), max_size=8)


def arrow(documents: list[bytes]) -> tuple[bytes, Any]:
    return b"".join(documents), np.cumsum([0, *map(len, documents)], dtype=np.int64)


def require_equal(documents: list[bytes]) -> None:
    native = library()
    assert native is not None
    data, offsets = arrow(documents)
    expected = measure_in_python(data, offsets)
    for name in instructions():
        for num_threads in (1, 2):
            found = native.measure(data, offsets, instructions=name, num_threads=num_threads)
            for field in STATISTICS.names or ():
                assert found[field].tolist() == expected[field].tolist(), (name, num_threads, field)


@given(documents_of_pieces)
@example([b"", b"\r\n" * 40, b"x" * 63 + b"\r\n", b"x" * 63 + b"\r" + b"\n" * 2])
def test_every_instruction_set_counts_as_python_does(documents: list[bytes]) -> None:
    require_equal(documents)


@pytest.mark.parametrize("filler", [b"x", "é".encode()])
@pytest.mark.parametrize("words", [b"generated", b"DO NOT EDIT", b"DON'T MODIFY"])
def test_the_border_of_the_head_is_the_same(filler: bytes, words: bytes) -> None:
    border = HEAD_CHARS if filler == b"x" else 2 * HEAD_CHARS
    fillers = [*range(140), *range(border - 80, border + 3)]
    require_equal([filler * count + words + tail for count in fillers for tail in (b"", b"tail")])


def test_records_in_numbers() -> None:
    (record,) = measure_in_python(*arrow(["ab é\r\n\r\n12\0".encode()]))
    found = {name: int(record[name]) for name in STATISTICS.names or () if not name.startswith("hash")}
    assert found == {
        "num_chars": 11,
        "num_lines": 3,
        "num_line_chars": 7,
        "max_line_chars": 4,
        "num_ascii": 10,
        "num_ascii_alphanumeric": 4,
        "num_ascii_white": 5,
        "num_nul": 1,
        "is_utf8": 1,
        "may_declare_encoding": 0,
        "may_be_generated": 0,
    }


@given(st.binary(max_size=600))
def test_the_hash_is_xxh3_s(document: bytes) -> None:
    native = library()
    assert native is not None
    (record,) = native.measure(*arrow([document]), instructions=instructions()[0], num_threads=1)
    assert hash_text(int(record["hash_low"]), int(record["hash_high"])) == xxhash.xxh3_128_hexdigest(document)
