"""A task's training and validation samples: the one place that knows which task reads what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.data.batch import SampleSource
from megatron_codex.data.blend import BlendedSource
from megatron_codex.data.indexed import IndexedDataset
from megatron_codex.data.pretraining import PretrainingDataset
from megatron_codex.data.prompted import PromptedDataset
from megatron_codex.data.splits import SplitName
from megatron_codex.errors import InputError
from megatron_codex.manifest import read_manifest
from megatron_codex.tokenizer.codex import CodexTokenizer

ReadPairs = Callable[[Path], Iterable[tuple[str, str]]]
"""A problems file -> (prompt, completion) of each problem, as the task sees it. Problems are not this room's matter:
the command that starts training hands this over."""


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """What a run trains and validates on."""

    train: SampleSource
    valid: SampleSource | None
    """None when the run does not evaluate."""
    inputs: tuple[Path, ...]
    """Files to name in the manifest, by hash."""


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
    problems, valid_problems = config.data.paths("problems"), config.data.paths("valid_problems")
    return Datasets(
        train=_prompted(config, problems, read_pairs),
        valid=_prompted(config, valid_problems, read_pairs) if evaluates else None,
        inputs=(*problems, *(valid_problems if evaluates else ())),
    )


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


def _prompted(config: TrainConfig, paths: tuple[Path, ...], read_pairs: ReadPairs) -> PromptedDataset:
    return PromptedDataset(
        (pair for path in paths for pair in read_pairs(path)),
        tokenizer=CodexTokenizer.from_config(config.tokenizer),
        seq_length=config.model.seq_length,
        layout=config.data.layout,
        train_end_of_text=config.data.train_end_of_text,
    )
