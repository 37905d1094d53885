"""What a .bin/.idx dataset holds: documents as text, statistics of its tokens, what the runs of spaces save.

In: PREFIX.bin, PREFIX.idx, and PREFIX.manifest.json, which names the tokenizer. Out: an Inspection. The paper
(section 3.2): with tokens for runs of white space, code takes about 30 % fewer tokens than with GPT-2's tokenizer. Here
that is measured: drawn documents are encoded again without these tokens.

Memory: some MB and 4 bytes a document, however many tokens there are; all of them are read once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_codex.config.corpus import InspectConfig
from megatron_codex.config.load import build_config
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.data.indexed import IndexedDataset, bin_path
from megatron_codex.errors import InputError
from megatron_codex.log import progress
from megatron_codex.manifest import read_manifest
from megatron_codex.tokenizer.codex import CodexTokenizer

_BLOCK_TOKENS = 1 << 23


@dataclass(frozen=True, kw_only=True)
class ShownDocument:
    """One document."""

    position: int
    num_tokens: int
    text: str | None
    """With <|endoftext|> where the document ends; None when the tokenizer is not known."""
    ids: list[int]


@dataclass(frozen=True, kw_only=True)
class FrequentToken:
    """One of the most frequent tokens."""

    id: int
    count: int
    share: float
    """Of all tokens."""
    text: str | None
    """None when the tokenizer is not known."""


@dataclass(frozen=True, kw_only=True)
class TextMeasures:
    """Of the documents drawn to be measured, ends of documents left out."""

    num_documents: int
    num_bytes: int
    num_tokens: int
    bytes_per_token: float
    num_tokens_without_runs: int
    """Of the same texts, by the same tokenizer without its runs of spaces."""
    saved_share: float
    """1 - num_tokens / num_tokens_without_runs."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found."""

    num_documents: int
    num_tokens: int
    dtype: str
    mean_length: float
    """Tokens a document, end of document included."""
    median_length: float
    max_length: int
    eod_share: float | None
    """Ends of documents among the tokens; None when the tokenizer is not known."""
    frequent: list[FrequentToken]
    tokenizer: dict[str, Any] | None
    """As the manifest names it; None: there is no manifest, or it names none."""
    text: TextMeasures | None
    """None when the tokenizer is not known, or nothing was drawn."""
    documents: list[ShownDocument]


def inspect_dataset(config: InspectConfig) -> Inspection:
    """Read a dataset and describe it.

    Raises: InputError for a missing or damaged dataset, a position beyond its documents, or ids that the manifest's
    tokenizer does not have.
    """
    dataset = IndexedDataset(config.input)
    positions = [*_positions(config, len(dataset)), *_drawn(len(dataset), config.num_samples, config.seed)]
    tokenizer = _tokenizer(config.input)
    counts = _count_tokens(config.input, dataset)
    if tokenizer is not None and len(counts) > tokenizer.vocab_size:
        rule = f"its tokens must be below {tokenizer.vocab_size}, the size of its manifest's vocabulary"
        remedy = "the manifest is of another dataset"
        raise InputError(str(bin_path(config.input)), value=len(counts) - 1, rule=rule, remedy=remedy)
    return Inspection(
        num_documents=len(dataset),
        num_tokens=dataset.num_tokens,
        dtype=dataset.dtype.name,
        mean_length=dataset.num_tokens / max(1, len(dataset)),
        median_length=float(np.median(dataset.sizes)),
        max_length=int(np.max(dataset.sizes)),
        eod_share=None if tokenizer is None else float(counts[tokenizer.eod :][:1].sum() / counts.sum()),
        frequent=_most_frequent(counts, config.num_frequent, tokenizer),
        tokenizer=None if tokenizer is None else dataclasses.asdict(tokenizer.config),
        text=None if tokenizer is None else _measure(dataset, tokenizer, config),
        documents=[_shown(dataset, position, tokenizer) for position in positions],
    )


def _tokenizer(prefix: Path) -> CodexTokenizer | None:
    """The manifest's, None when there is no manifest or it names none."""
    path = Path(f"{prefix}.manifest.json")
    if not path.exists():
        return None
    settings = read_manifest(path.parent, path.name).get("config", {}).get("tokenizer")
    if settings is None:
        return None
    return CodexTokenizer.from_config(build_config(TokenizerConfig, settings, source=str(path)))


def _positions(config: InspectConfig, num_documents: int) -> Iterable[int]:
    for position in config.documents:
        if not -num_documents <= position < num_documents:
            rule = f"{config.input} has {num_documents} documents"
            remedy = f"give {-num_documents} to {num_documents - 1}"
            raise InputError("documents", value=position, rule=rule, remedy=remedy)
        yield position % num_documents


def _drawn(num_documents: int, count: int, seed: int) -> list[int]:
    """Some of the positions, each once, in order."""
    random = np.random.default_rng(seed)
    return sorted(random.choice(num_documents, min(count, num_documents), replace=False, shuffle=False).tolist())


def _count_tokens(prefix: Path, dataset: IndexedDataset) -> NDArray[np.int64]:
    """How often each id occurs, up to the largest that does."""
    counts = np.zeros(0, np.int64)
    starts = range(0, dataset.num_tokens, _BLOCK_TOKENS)
    with bin_path(prefix).open("rb") as handle:
        for _ in progress(starts, total=len(starts), description="count", unit="blocks"):
            ids = np.fromfile(handle, dataset.dtype.newbyteorder("<"), _BLOCK_TOKENS)
            if int(ids.min()) < 0:
                raise InputError(str(bin_path(prefix)), value=int(ids.min()), rule="a token is negative", remedy=_OTHER)
            found = np.bincount(ids, minlength=len(counts))
            found[: len(counts)] += counts
            counts = found
    return counts


def _most_frequent(
    counts: NDArray[np.int64], num_frequent: int, tokenizer: CodexTokenizer | None
) -> list[FrequentToken]:
    ordered = np.argsort(-counts, kind="stable")[:num_frequent]
    return [
        FrequentToken(
            id=token,
            count=int(counts[token]),
            share=float(counts[token] / counts.sum()),
            text=None if tokenizer is None else tokenizer.token_bytes(token).decode("utf-8", "backslashreplace"),
        )
        for token in ordered.tolist()
        if counts[token]
    ]


def _measure(dataset: IndexedDataset, tokenizer: CodexTokenizer, config: InspectConfig) -> TextMeasures | None:
    """Drawn documents as text, encoded again without runs of spaces."""
    own = tokenizer.config
    vocab_size = None if own.vocab_size is None else own.vocab_size - own.num_runs
    plain = CodexTokenizer(vocab_size=vocab_size, max_run=1)
    num_documents = num_bytes = num_tokens = num_plain = 0
    for position in _drawn(len(dataset), config.measured_documents, config.seed):
        ids = dataset.document(position)
        ids = ids[ids != tokenizer.eod]
        text = tokenizer.decode(ids)
        num_documents += 1
        num_bytes += len(text)
        num_tokens += len(ids)
        num_plain += len(plain.encode(text))
    if not num_tokens:
        return None
    return TextMeasures(
        num_documents=num_documents,
        num_bytes=num_bytes,
        num_tokens=num_tokens,
        bytes_per_token=num_bytes / num_tokens,
        num_tokens_without_runs=num_plain,
        saved_share=1 - num_tokens / num_plain,
    )


def _shown(dataset: IndexedDataset, position: int, tokenizer: CodexTokenizer | None) -> ShownDocument:
    ids = dataset.document(position)
    text = None if tokenizer is None else tokenizer.decode(ids).decode("utf-8", "backslashreplace")
    return ShownDocument(position=position, num_tokens=len(ids), text=text, ids=ids.tolist())


_OTHER = "this is not a file of token ids: write it again with tools/preprocess_data.py"
