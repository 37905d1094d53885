"""Samples to verify a layout with: the configuration's data, or made-up ones where it names none.

In: a VerifyConfig. Out: a SampleSource. Made-up samples pass through the same files, tokenizer and datasets as real
ones, and are uneven on purpose: documents and prompts of many lengths, and every third sample without a token in the
loss, so that micro-batches and ranks have different counts of tokens and some have none.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from megatron_codex.config.verify import VerifyConfig
from megatron_codex.data.batch import Batch, SampleSource
from megatron_codex.data.family_split import Pairs
from megatron_codex.data.indexed import IndexedDatasetWriter
from megatron_codex.tokenizer.codex import CodexTokenizer
from megatron_codex.training.datasets import ReadPairs, build_datasets

BLANK_EVERY = 3
"""Of made-up samples, every so manieth has an empty loss mask."""

_NUM_SAMPLES = 64
"""At least; steps beyond them see the samples again in another order."""


def verification_samples(config: VerifyConfig, *, read_pairs: ReadPairs | None) -> tuple[SampleSource, str]:
    """The samples, equal on all ranks, and what they are in words. Raises: InputError for faulty data."""
    if config.names_data:
        return build_datasets(config, read_pairs=read_pairs).train, "the configuration's data"
    training = replace(config.training, eval_interval=0)
    tokenizer = CodexTokenizer.from_config(config.tokenizer)
    draw = random.Random(config.training.seed)
    if config.task != "base":
        pairs = Pairs.of_texts(_texts(draw, tokenizer, config.model.seq_length))
        data = replace(config.data, problems=Path("made-up"), valid_problems=(), validation_share=None)
        source = build_datasets(
            replace(config, data=data, training=training), read_pairs=lambda path, *, families=False: pairs
        ).train
        kind = f"made-up prompts, {config.data.layout}"
    else:
        with TemporaryDirectory() as directory:  # the files stay readable while they are mapped
            prefix = Path(directory) / "made-up"
            _write_documents(prefix, draw, tokenizer, config.model.seq_length)
            data = replace(config.data, data_prefix=prefix, data_weights=(), split="1,0,0")
            source = build_datasets(replace(config, data=data, training=training), read_pairs=None).train
        kind = "made-up documents" + (", attention within each" if config.data.reset_attention_at_documents else "")
    return WithBlanks(source), f"{kind}; every {BLANK_EVERY}rd sample without a token in the loss"


@dataclass(frozen=True)
class WithBlanks:
    """A source of which every BLANK_EVERYth sample has no token in the loss."""

    source: SampleSource

    def __len__(self) -> int:
        return len(self.source)

    @property
    def lengths(self) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = self.source.lengths  # type: ignore[attr-defined]
        return lengths

    def sequence_length(self, indices: Sequence[int]) -> int:
        return self.source.sequence_length(indices)

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        made = self.source.batch(indices, seq_length=seq_length)
        counts_B1 = (np.asarray(indices) % BLANK_EVERY != 0).astype(np.float32)[:, None]
        return replace(made, loss_mask=made.loss_mask * counts_B1)

    def fingerprint(self) -> str:
        return f"{self.source.fingerprint()} blank every {BLANK_EVERY}"


def _write_documents(prefix: Path, draw: random.Random, tokenizer: CodexTokenizer, seq_length: int) -> None:
    """Documents of 1 to 1.5 x seq_length random tokens, with ids from the whole vocabulary."""
    num_tokens = 0
    with IndexedDatasetWriter(prefix, np.int32) as writer:
        while num_tokens <= _NUM_SAMPLES * seq_length:
            length = draw.randint(1, max(2, seq_length if draw.random() < 0.5 else 3 * seq_length // 2))
            ids = [draw.randrange(tokenizer.vocab_size) for _ in range(length)]
            writer.add_document(np.array([*ids, tokenizer.eod]))
            num_tokens += length + 1
        writer.finalize()


def _texts(draw: random.Random, tokenizer: CodexTokenizer, seq_length: int) -> list[tuple[str, str]]:
    """Prompts and completions that together fit seq_length; half of them short, so that packed rows have several."""

    def text(most: int) -> str:
        size = draw.randint(1, max(1, most))
        while True:
            letters = b"".join(tokenizer.token_bytes(draw.randrange(tokenizer.vocab_size)) for _ in range(size))
            made = letters.decode("utf-8", errors="ignore")
            if 0 < len(tokenizer.encode(made)) <= max(1, most):
                return made
            size = max(1, size // 2)

    most = [seq_length // 2, seq_length // 8]
    return [(text(most[number % 2]), text(most[number % 2])) for number in range(2 * _NUM_SAMPLES)]
