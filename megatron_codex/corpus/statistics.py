"""Facts about documents that the filters judge by: lengths of lines, kinds of characters, a hash.

In: documents as bytes, end to end, with offsets, as Arrow has them. Out: one record a document, of STATISTICS. Two ways
to the same records: csrc/cpu/filter, and its twin in Python for machines without the C++ library.
"""

from __future__ import annotations

import codecs
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from megatron_codex.native.library import fastest

STATISTICS = np.dtype(
    [
        ("hash_low", np.uint64),  # XXH3-128 of the bytes
        ("hash_high", np.uint64),
        ("num_chars", np.int64),
        ("num_lines", np.int64),  # they end at \n, \r\n or \r; a last one without an end counts
        ("num_line_chars", np.int64),  # line ends left out
        ("max_line_chars", np.int64),
        ("num_ascii", np.int64),
        ("num_ascii_alphanumeric", np.int64),
        ("num_ascii_white", np.int64),  # as str.isspace
        ("num_nul", np.int64),
        ("is_utf8", np.uint8),  # strictly; what is counted in characters means nothing where it is not
        ("may_declare_encoding", np.uint8),  # a byte order mark, or "coding" in one of the first two lines
        ("may_be_generated", np.uint8),  # the head has words without which no generator's stamp is one
    ]
)
"""A document's record. csrc/cpu/filter/statistics.h says the same."""

HEAD_CHARS = 2_048
"""Characters in which a generator's stamp is looked for."""

_STAMP_WORDS = ("DO NOT EDIT", "DO NOT MODIFY", "DON'T EDIT", "DON'T MODIFY")
_ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_WHITE = b" \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f"
_NOT_ASCII = bytes(range(0x80, 0x100))
_CONTINUATIONS = bytes(range(0x80, 0xC0))

Positions = NDArray[np.int64]


def measure_documents(data: bytes | bytearray | memoryview, offsets: Positions) -> NDArray[Any]:
    """STATISTICS of data[offsets[i]:offsets[i + 1]] for each i, [num_documents]."""
    native = fastest()
    if native is None:
        return measure_in_python(data, offsets)
    module, instruction_set = native
    return np.asarray(module.measure(data, offsets, instructions=instruction_set, num_threads=1))


def measure_in_python(data: bytes | bytearray | memoryview, offsets: Positions) -> NDArray[Any]:
    """The twin: the same records, many times slower."""
    view = memoryview(data)
    found = np.zeros(len(offsets) - 1, STATISTICS)
    for record, begin, end in zip(found, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        _measure(bytes(view[begin:end]), record)
    return found


def hash_text(low: int, high: int) -> str:
    """The hash as xxhash writes it: 32 hexadecimal digits."""
    return f"{high:016x}{low:016x}"


def _measure(document: bytes, record: Any) -> None:
    digest = xxhash.xxh3_128_intdigest(document)
    record["hash_low"], record["hash_high"] = digest & (2**64 - 1), digest >> 64
    unified = document.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = [_count_chars(line) for line in unified.split(b"\n")]
    if not unified or unified.endswith(b"\n"):
        lines.pop()
    record["num_chars"] = _count_chars(document)
    record["num_lines"], record["num_line_chars"] = len(lines), sum(lines)
    record["max_line_chars"] = max(lines, default=0)
    record["num_ascii"] = len(document.translate(None, _NOT_ASCII))
    record["num_ascii_alphanumeric"] = len(document) - len(document.translate(None, _ALPHANUMERIC))
    record["num_ascii_white"] = len(document) - len(document.translate(None, _WHITE))
    record["num_nul"] = document.count(b"\0")
    try:
        document.decode()
        record["is_utf8"] = 1
    except UnicodeDecodeError:
        record["is_utf8"] = 0
    first_lines = b"\n".join(document.split(b"\n", 2)[:2])
    record["may_declare_encoding"] = document.startswith(codecs.BOM_UTF8) or b"coding" in first_lines
    is_ascii = record["num_ascii"] == len(document)
    head = document[: HEAD_CHARS if is_ascii else 4 * HEAD_CHARS].decode("latin-1")
    record["may_be_generated"] = "generated" in head.lower() or any(words in head for words in _STAMP_WORDS)


def _count_chars(text: bytes) -> int:
    """Characters of UTF-8: bytes that are no continuation."""
    return len(text.translate(None, _CONTINUATIONS))
