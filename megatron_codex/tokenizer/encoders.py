"""Two encoders of the same ids: the C++ one (csrc/cpu/tokenizer) and tiktoken's, its oracle and its fallback.

In: documents as bytes, end to end, with offsets, as Arrow has them. Out: token ids, end to end, and how many are each
document's.

Bytes that are not UTF-8 are encoded by tiktoken's rule: all pieces but the last one before the first faulty byte as in
text, then that last piece (with white space tokens before it, when it begins with one) and the whole rest as one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import tiktoken
from numpy.typing import NDArray

from megatron_codex.native.library import instructions, library

Tokens = NDArray[np.unsignedinteger]
Positions = NDArray[np.int64]

MAX_NATIVE_TOKENS = 65_534
"""The C++ encoder's tokens are 16 bits wide, and one value means "none"."""

_TIKTOKEN = "tiktoken"

# GPT-2's pre-tokenizer, written as tiktoken writes it for p50k_base (possessive, so that long words need no stack).
_PIECES = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

# `\s+(?!\S)` keeps a stack entry per character: tiktoken panics on about a million characters of white space (0.14).
# Runs this long are cut off before it sees them. The class is Rust's \s (Unicode White_Space); Python's differs.
_LONG_RUN = 100_000
_WHITE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_LONG_WHITE_RUNS = re.compile(f"(?<![{_WHITE}])[{_WHITE}]{{{_LONG_RUN},}}+")


class DocumentEncoder(Protocol):
    """Documents to token ids."""

    name: str
    """As it stands in manifests: "native avx512", "tiktoken"."""

    def encode_documents(
        self, data: bytes | memoryview, offsets: Positions, *, is_utf8: bool, end: int | None, num_threads: int
    ) -> tuple[Tokens, Positions]:
        """(ids, each document's number of ids) of data[offsets[i]:offsets[i + 1]].

        is_utf8: all documents are known to be. end: put after each document that has a token; None: nothing is.
        """
        ...


def build_encoder(ranks: Mapping[bytes, int], *, kind: str | None = None) -> DocumentEncoder:
    """The fastest encoder this machine has. kind: "tiktoken", or the C++ one's "avx512", "avx2" or "scalar"."""
    kind = kind or _fastest(max(ranks.values()) + 1)
    return TiktokenEncoder(ranks) if kind == _TIKTOKEN else NativeEncoder(ranks, kind)


def encoder_name(num_ids: int) -> str:
    """The name of what build_encoder gives a vocabulary of ids below num_ids, without building it."""
    kind = _fastest(num_ids)
    return kind if kind == _TIKTOKEN else f"native {kind}"


def _fastest(num_ids: int) -> str:
    available = instructions() if num_ids <= MAX_NATIVE_TOKENS else ()
    return available[0] if available else _TIKTOKEN


class NativeEncoder:
    """csrc/cpu/tokenizer: a scan of 64 bytes at a time, a cache of pieces, several threads. Memory: 35 MB a thread."""

    def __init__(self, ranks: Mapping[bytes, int], instruction_set: str) -> None:
        tokens = [b""] * (max(ranks.values()) + 1)
        for token, rank in ranks.items():
            tokens[rank] = token
        native = library()
        assert native is not None
        self.name = f"native {instruction_set}"
        self._tokenizer = native.Tokenizer(tokens, instruction_set)

    def encode_documents(
        self, data: bytes | memoryview, offsets: Positions, *, is_utf8: bool, end: int | None, num_threads: int
    ) -> tuple[Tokens, Positions]:
        """As DocumentEncoder says."""
        ids, counts = self._tokenizer.encode_documents(
            data, offsets, is_utf8=is_utf8, end=-1 if end is None else end, num_threads=num_threads
        )
        return ids, counts


class TiktokenEncoder:
    """tiktoken over the same ranks, a document at a time, on one thread."""

    name = _TIKTOKEN

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        self._encoding = tiktoken.Encoding("codex", pat_str=_PIECES, mergeable_ranks=dict(ranks), special_tokens={})
        self._dtype = np.dtype(np.uint16 if max(ranks.values()) < 1 << 16 else np.uint32)

    def encode_documents(
        self, data: bytes | memoryview, offsets: Positions, *, is_utf8: bool, end: int | None, num_threads: int
    ) -> tuple[Tokens, Positions]:
        """As DocumentEncoder says."""
        view = memoryview(data)
        arrays: list[Tokens] = [np.empty(0, self._dtype)]
        counts = []
        for begin, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            ids = self._encode(bytes(view[begin:stop]))
            if len(ids) and end is not None:
                ids = np.append(ids, np.array([end], self._dtype))
            arrays.append(ids)
            counts.append(len(ids))
        return np.concatenate(arrays), np.array(counts, np.int64)

    def _encode(self, data: bytes) -> Tokens:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            return self._encode_faulty(data, error.start)
        return self._encode_text(text)

    def _encode_text(self, text: str) -> Tokens:
        arrays = [self._encoding.encode_to_numpy(part, disallowed_special=()) for part in _cut_long_runs(text)]
        return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)).astype(self._dtype)

    def _encode_faulty(self, data: bytes, num_valid: int) -> Tokens:
        """Only the last piece of the valid head can join the faulty rest."""
        *heads, tail = _cut_long_runs(data[:num_valid].decode())
        arrays = [self._encode_text(head) for head in heads]
        rest = self._encoding._encode_bytes(tail.encode() + data[num_valid:])
        return np.concatenate([*arrays, rest]).astype(self._dtype)


def _cut_long_runs(text: str) -> Iterator[str]:
    """The text in parts that encode to the same ids as the whole, with no long run of white space before a word.

    The pre-tokenizer splits such a run before its last character, so cutting there changes no piece.
    """
    start = 0
    if len(text) > _LONG_RUN:
        for run in _LONG_WHITE_RUNS.finditer(text):
            if run.end() < len(text):
                yield text[start : run.end() - 1]
                start = run.end() - 1
    yield text[start:]
