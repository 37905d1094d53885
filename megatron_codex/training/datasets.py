"""A task's training and validation samples: the one place that knows which task reads what.

In: a TrainConfig and, for Codex-S and Codex-D, a reader of problems. Out: Datasets. Problems are validated on by file
(data.valid_problems), or by family, of those that are given to train on (data/family_split.py).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.data.batch import SampleSource
from megatron_codex.data.blend import BlendedSource
from megatron_codex.data.family_split import Pair, Pairs, split_by_family
from megatron_codex.data.indexed import IndexedDataset
from megatron_codex.data.pretraining import PretrainingDataset
from megatron_codex.data.prompted import PromptedDataset
from megatron_codex.data.splits import SplitName
from megatron_codex.errors import InputError
from megatron_codex.manifest import read_manifest
from megatron_codex.tokenizer.codex import CodexTokenizer

_logger = logging.getLogger(__name__)


class ReadPairs(Protocol):
    """A problems file -> its problems as the task sees them. Problems are not this room's matter: the command that
    starts training hands this over."""

    def __call__(self, path: Path, *, families: bool = False) -> Pairs:
        """families: name each pair's family and likenesses."""


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """What a run trains and validates on."""

    train: SampleSource
    valid: SampleSource | None
    """None when the run does not evaluate."""
    inputs: tuple[Path, ...]
    """Files to name in the manifest, by hash."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Of problems and families: trained on, validated on, left out by reason."""


@dataclass(frozen=True, kw_only=True)
class TaskPairs:
    """What Codex-S or Codex-D trains and validates on, before it is made into tokens."""

    train: Sequence[Pair]
    valid: Sequence[Pair]
    """Empty when nothing is named or held out to validate on."""
    counts: Mapping[str, int]


def build_datasets(config: TrainConfig, *, read_pairs: ReadPairs | None) -> Datasets:
    """Open a task's data. Raises: InputError for missing, damaged or too small data."""
    evaluates = config.training.eval_interval > 0
    if config.task == "base":
        for prefix in config.data.paths("data_prefix"):
            _require_vocabulary(prefix, config.tokenizer)
        opened = [IndexedDataset(prefix) for prefix in config.data.paths("data_prefix")]
        return Datasets(
            train=_pretraining(config, "train", opened),
            valid=_pretraining(config, "valid", opened) if evaluates else None,
            inputs=tuple(Path(f"{prefix}.idx") for prefix in config.data.paths("data_prefix")),
        )
    assert read_pairs is not None, f"task {config.task} needs a reader of problems"
    pairs = read_task_pairs(config, read_pairs)
    train = _prompted(config, pairs.train)
    unfit = {f"left_out_{why}": n for why, n in train.counts.items() if n and why not in ("pairs", "kept")}
    return Datasets(
        train=train,
        valid=_prompted(config, pairs.valid) if evaluates else None,
        inputs=(*config.data.paths("problems"), *(config.data.paths("valid_problems") if evaluates else ())),
        counts={**pairs.counts, **unfit},
    )


def read_task_pairs(config: TrainConfig, read_pairs: ReadPairs) -> TaskPairs:
    """The pairs of both sides, with counts that are logged, too. Raises: InputError as the reader does, and where a
    share of the families leaves nothing on one side."""
    share, left_out = config.validation_share, Counter[str]()

    def read(paths: Sequence[Path]) -> list[Pair]:
        found = [read_pairs(path, families=share > 0) for path in paths]
        for each in found:
            left_out.update({f"left_out_{why}": number for why, number in each.left_out.items() if number})
        return [pair for each in found for pair in each.pairs]

    pairs = read(config.data.paths("problems"))
    if share:
        split = split_by_family(pairs, share=share)
        train, valid, counts = split.train, split.valid, split.counts
    else:
        train, valid = pairs, read(config.data.paths("valid_problems")) if config.training.eval_interval > 0 else []
        counts = {"train_problems": len(train), "valid_problems": len(valid)}
    counts = {**counts, **left_out}
    _logger.info("problems: %s", ", ".join(f"{name} {number}" for name, number in counts.items()))
    return TaskPairs(train=train, valid=valid, counts=counts)


def _require_vocabulary(prefix: Path, tokenizer: TokenizerConfig) -> None:
    """Raise InputError when tools/preprocess_data.py made the tokens with another vocabulary.

    Data sets of other makers have no manifest; ids beyond the vocabulary are still found when they are read.
    """
    manifest = Path(f"{prefix}.manifest.json")
    if not manifest.exists():
        return
    used = read_manifest(manifest.parent, manifest.name)["config"].get("tokenizer", {})
    expected = {name: used.get(name) for name in ("vocab_size", "min_run", "max_run")}
    given = {name: getattr(tokenizer, name) for name in expected}
    if given != expected:
        raise InputError(
            "tokenizer",
            value=given,
            rule=f"{prefix} was made with {expected}",
            remedy="give the data's tokenizer section, or make the data again with tools/preprocess_data.py",
        )


def _pretraining(config: TrainConfig, split: SplitName, opened: Sequence[IndexedDataset]) -> SampleSource:
    if not config.data.weights:
        return _windows(config, split, opened)
    sources = [_windows(config, split, [dataset]) for dataset in opened]
    return BlendedSource(sources, weights=config.data.weights, seed=config.training.seed)


def _windows(config: TrainConfig, split: SplitName, opened: Sequence[IndexedDataset]) -> PretrainingDataset:
    return PretrainingDataset(
        opened,
        split=split,
        splits=config.data.splits,
        seq_length=config.model.seq_length,
        seed=config.training.seed,
        eod=CodexTokenizer.from_config(config.tokenizer).eod,
        reset_attention_at_documents=config.data.reset_attention_at_documents,
    )


def _prompted(config: TrainConfig, pairs: Sequence[Pair]) -> PromptedDataset:
    return PromptedDataset(
        (pair.texts for pair in pairs),
        tokenizer=CodexTokenizer.from_config(config.tokenizer),
        seq_length=config.model.seq_length,
        layout=config.data.layout,
        train_end_of_text=config.data.train_end_of_text,
    )
