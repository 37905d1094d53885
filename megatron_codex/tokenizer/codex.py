"""Codex's tokenizer: text or bytes in, token ids out, and back without loss (Codex paper, section 3.2).

GPT-3's byte pair encoding plus tokens for runs of spaces. Ids equal those of OpenAI's p50k_base on every byte sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import InputError
from megatron_codex.tokenizer.encoders import DocumentEncoder, Positions, Tokens, build_encoder, encoder_name
from megatron_codex.tokenizer.ranks import build_ranks

END_OF_DOCUMENT = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class EncodedDocuments:
    """Several documents' tokens."""

    ids: Tokens
    """Of all documents, one after the other."""
    counts: Positions
    """How many of them are each document's, [num_documents]."""
    num_bytes: int
    """Of text, as UTF-8."""


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

    @classmethod
    def from_config(cls, config: TokenizerConfig) -> CodexTokenizer:
        """The tokenizer that a configuration describes."""
        return cls(config.vocab_size, config.min_run, config.max_run)

    @cached_property
    def _encoder(self) -> DocumentEncoder:
        return _load(self.config)[0]

    @cached_property
    def _token_bytes(self) -> list[bytes]:
        return _load(self.config)[1]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.config.vocab_size, self.config.min_run, self.config.max_run)

    @property
    def encoder_name(self) -> str:
        """What does the work: "native avx512", "native avx2", "native scalar" or "tiktoken"; the ids are the same."""
        return encoder_name(self.vocab_size)

    def encode(self, text: str | bytes, *, allow_special: bool = False) -> Tokens:
        """Token ids, [num_tokens], of dtype uint16 when the vocabulary fits.

        A str gives the ids of its UTF-8 bytes; lone surrogates, which have none, those of their "surrogatepass" bytes,
        so that nothing is lost (tiktoken would replace them by U+FFFD). Bytes that are not UTF-8: see encoders.py.
        allow_special: "<|endoftext|>" in the text is the end of a document; otherwise it is text like any other.
        """
        if not allow_special:
            return self.encode_documents([text]).ids
        parts = text.split(END_OF_DOCUMENT) if isinstance(text, str) else text.split(END_OF_DOCUMENT.encode())
        arrays = [self.encode_documents([parts[0]]).ids]
        for part in parts[1:]:
            arrays += [np.array([self.eod], self.dtype), self.encode_documents([part]).ids]
        return np.concatenate(arrays)

    def encode_documents(
        self, texts: Sequence[str | bytes], *, append_eod: bool = False, num_threads: int = 1
    ) -> EncodedDocuments:
        """Encode each document as `encode` does. append_eod: the end of document after each one that has a token.

        num_threads: of the C++ encoder; the ids do not depend on it.
        """
        is_utf8 = True
        documents = []
        for text in texts:
            if isinstance(text, str):
                try:
                    documents.append(text.encode())
                    continue
                except UnicodeEncodeError:
                    text = text.encode("utf-8", "surrogatepass")
            is_utf8 = False
            documents.append(text)
        offsets = np.zeros(len(documents) + 1, np.int64)
        np.cumsum([len(document) for document in documents], out=offsets[1:])
        return self.encode_buffer(
            b"".join(documents), offsets, is_utf8=is_utf8, append_eod=append_eod, num_threads=num_threads
        )

    def encode_buffer(
        self,
        data: bytes | memoryview,
        offsets: Positions,
        *,
        is_utf8: bool,
        append_eod: bool = False,
        num_threads: int = 1,
    ) -> EncodedDocuments:
        """Encode the documents data[offsets[i]:offsets[i + 1]], as Arrow has them, without an object for each.

        is_utf8: all are known to be. append_eod, num_threads: as encode_documents.
        """
        end = self.eod if append_eod else None
        ids, counts = self._encoder.encode_documents(data, offsets, is_utf8=is_utf8, end=end, num_threads=num_threads)
        return EncodedDocuments(ids=ids, counts=counts, num_bytes=int(offsets[-1] - offsets[0]))

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


@lru_cache(maxsize=8)
def _load(config: TokenizerConfig) -> tuple[DocumentEncoder, list[bytes]]:
    """The encoder and each id's bytes; kept, since building takes about 0.2 s and tokenizers travel to workers."""
    ranks = build_ranks(config)
    by_id = sorted([*ranks.items(), (END_OF_DOCUMENT.encode(), config.num_ranks)], key=lambda item: item[1])
    return build_encoder(ranks), [token for token, _ in by_id]
