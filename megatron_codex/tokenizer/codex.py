"""Codex's tokenizer: text or bytes in, token ids out, and back without loss (Codex paper, section 3.2).

GPT-3's byte pair encoding plus tokens for runs of spaces. tiktoken does the work over ranks built here, so ids equal
those of OpenAI's p50k_base on every text and, through tiktoken's own rule, on every byte sequence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import tiktoken
from numpy.typing import NDArray

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import InputError
from megatron_codex.tokenizer.ranks import build_ranks

END_OF_DOCUMENT = "<|endoftext|>"

# GPT-2's pre-tokenizer, written as tiktoken writes it for p50k_base (possessive, so that long words need no stack).
_PIECES = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

# `\s+(?!\S)` keeps a stack entry per character: tiktoken panics on about a million characters of white space (0.14).
# Runs this long are cut off before it sees them. The class is Rust's \s (Unicode White_Space); Python's differs.
_LONG_RUN = 100_000
_WHITE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_LONG_WHITE_RUNS = re.compile(f"(?<![{_WHITE}])[{_WHITE}]{{{_LONG_RUN},}}+")

Tokens = NDArray[np.unsignedinteger]


class CodexTokenizer:
    """Encode and decode; `vocab_size` counts every token, runs of spaces and end of document included.

    >>> tokenizer = CodexTokenizer()
    >>> tokenizer.encode("def f(x):\\n    return x").tolist()
    [4299, 277, 7, 87, 2599, 198, 50258, 1441, 2124]
    >>> tokenizer.decode([4299, 277])
    b'def f'
    """

    def __init__(self, vocab_size: int | None = None, min_run: int = 2, max_run: int = 25) -> None:
        """vocab_size: None for Codex's 50,281. Raises: ConfigError for sizes that do not fit (TokenizerConfig)."""
        self.config = TokenizerConfig(vocab_size=vocab_size, min_run=min_run, max_run=max_run)
        self.vocab_size = self.config.true_vocab_size
        self.eod = self.config.num_ranks
        self.dtype: np.dtype[np.unsignedinteger] = np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)
        self._encoding, self._token_bytes = _load(self.config)

    @classmethod
    def from_config(cls, config: TokenizerConfig) -> CodexTokenizer:
        """The tokenizer that a configuration describes."""
        return cls(config.vocab_size, config.min_run, config.max_run)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.config.vocab_size, self.config.min_run, self.config.max_run)

    def encode(self, text: str | bytes, *, allow_special: bool = False) -> Tokens:
        """Token ids, [num_tokens], of dtype uint16 when the vocabulary fits.

        A str gives the ids of its UTF-8 bytes; lone surrogates, which have none, those of their "surrogatepass" bytes,
        so that nothing is lost (tiktoken would replace them by U+FFFD). Bytes that are not UTF-8: all pieces but the
        last one before the first faulty byte as in text, then the whole rest as one piece (tiktoken's rule).
        allow_special: "<|endoftext|>" in the text is the end of a document; otherwise it is text like any other.
        """
        if not allow_special:
            return self._encode_ordinary(text)
        parts = text.split(END_OF_DOCUMENT) if isinstance(text, str) else text.split(END_OF_DOCUMENT.encode())
        arrays = [self._encode_ordinary(parts[0])]
        for part in parts[1:]:
            arrays += [np.array([self.eod], self.dtype), self._encode_ordinary(part)]
        return np.concatenate(arrays)

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> bytes:
        """The bytes of token ids; the end of a document gives b"<|endoftext|>".

        Raises: InputError for an id outside 0..vocab_size - 1 (the padding of a model's vocabulary, for instance).
        """
        values = np.asarray(ids).tolist()
        if values and not (min(values) >= 0 and max(values) < self.vocab_size):
            faulty = next(value for value in values if not 0 <= value < self.vocab_size)
            raise InputError(
                "token id",
                value=faulty,
                rule=f"must lie between 0 and {self.vocab_size - 1}",
                remedy="use the tokenizer the ids were made with, and never sample a padded id",
            )
        return b"".join([self._token_bytes[value] for value in values])

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token. Raises: InputError as decode."""
        return self.decode([token])

    def padded_vocab_size(self, multiple: int) -> int:
        """The vocabulary size rounded up to a multiple (rows of the embedding, so that ranks share it evenly)."""
        if multiple < 1:
            remedy = "give 1 for no padding, or 128 times the tensor-parallel size"
            raise InputError("vocabulary padding", value=multiple, rule="must be at least 1", remedy=remedy)
        return -(-self.vocab_size // multiple) * multiple

    def _encode_ordinary(self, text: str | bytes) -> Tokens:
        if isinstance(text, str):
            try:
                return self._encode_text(text)
            except UnicodeEncodeError:
                return self._encode_faulty(text.encode("utf-8", "surrogatepass"))
        try:
            return self._encode_text(text.decode())
        except UnicodeDecodeError:
            return self._encode_faulty(text)

    def _encode_text(self, text: str) -> Tokens:
        arrays = [self._encoding.encode_to_numpy(part, disallowed_special=()) for part in _cut_long_runs(text)]
        return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)).astype(self.dtype)

    def _encode_faulty(self, data: bytes) -> Tokens:
        """Ids of bytes that are not UTF-8. Only the last piece of the valid head can join the faulty rest."""
        try:
            data.decode()
        except UnicodeDecodeError as error:
            valid = error.start
        *heads, tail = _cut_long_runs(data[:valid].decode())
        arrays = [self._encode_text(head) for head in heads]
        return np.concatenate([*arrays, self._encoding._encode_bytes(tail.encode() + data[valid:])]).astype(self.dtype)


@lru_cache(maxsize=8)
def _load(config: TokenizerConfig) -> tuple[tiktoken.Encoding, list[bytes]]:
    """The encoder and each id's bytes; kept, since building takes about 0.2 s and tokenizers travel to workers."""
    ranks = build_ranks(config)
    special = {END_OF_DOCUMENT: config.num_ranks}
    encoding = tiktoken.Encoding("codex", pat_str=_PIECES, mergeable_ranks=ranks, special_tokens=special)
    by_id = sorted([*ranks.items(), (END_OF_DOCUMENT.encode(), config.num_ranks)], key=lambda item: item[1])
    return encoding, [token for token, _ in by_id]


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
