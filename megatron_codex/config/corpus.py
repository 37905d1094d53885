"""What becomes training data: inputs, the paper's filters, and how shards become token files (section 3.1)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Bounds of the filters. The paper names the first three; it gives no number for the fourth."""

    max_file_bytes: int = 1_000_000
    """Files of this many bytes or more are dropped (the paper: files under 1 MB)."""
    max_average_line_length: float = 100
    """Files whose lines are longer than this on average, in characters, are dropped."""
    max_line_length: int = 1_000
    """Files with a line longer than this, in characters, are dropped."""
    min_alphanumeric_share: float = 0.25
    """Files of which fewer characters than this share are letters or digits are dropped (our number: CodeParrot's)."""
    auto_generated: bool = True
    """Drop files whose head says that a program wrote them."""

    def __post_init__(self) -> None:
        faults = [
            Fault(field=name, value=getattr(self, name), rule="must be above 0", remedy="give a positive number")
            for name in ("max_file_bytes", "max_average_line_length", "max_line_length")
            if not getattr(self, name) > 0
        ]
        if not 0 <= self.min_alphanumeric_share <= 1:
            rule, remedy = "must lie between 0 and 1", "give a share, 0.25 for a quarter; 0 keeps all"
            faults.append(
                Fault(field="min_alphanumeric_share", value=self.min_alphanumeric_share, rule=rule, remedy=remedy)
            )
        raise_faults(faults)


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Directories, archives and tables of Python files -> unique, filtered shards and a manifest."""

    input: tuple[Path, ...]
    """Directories, .py, .tar(.gz|.bz2|.xz|.zst), .zip, .whl, sdists, .jsonl(.gz|.zst) or .parquet to read."""
    output: Path
    """Directory to make: shard-00000.parquet ... and manifest.json."""
    archives_in_directories: Literal["auto", "always", "never"] = "auto"
    """Whether archives and tables inside an input directory are opened; auto: when it holds no .py file itself."""
    exclude: tuple[str, ...] = ()
    """Names (or patterns, as test_*) of files and folders inside input directories that are passed over."""
    workers: int | None = None
    """Processes; none: one for each core that this process may use. The shards are the same for any number."""
    shard_bytes: int = 256_000_000
    """Text in a shard, in bytes before compression."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    """Bounds of the filters."""

    def __post_init__(self) -> None:
        faults = _common_faults(self.input, self.workers)
        if self.shard_bytes < 1:
            remedy = "give bytes, 256000000 for 256 MB"
            faults.append(Fault(field="shard_bytes", value=self.shard_bytes, rule="must be at least 1", remedy=remedy))
        raise_faults(faults)

    @property
    def num_workers(self) -> int:
        """Processes to use."""
        return self.workers or available_cores()


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """Shards or JSON Lines -> PREFIX.bin and PREFIX.idx, the token files that training reads."""

    input: tuple[Path, ...]
    """Parquet or .jsonl(.gz|.zst) files, or directories of them (read in the order of their names)."""
    output_prefix: Path
    """PREFIX of the files to make: PREFIX.bin, PREFIX.idx, PREFIX.manifest.json (PREFIX.partial/ meanwhile)."""
    json_key: str = "text"
    """Field of a JSON line that holds the text; Parquet files without such a column are read from `content`."""
    append_eod: bool = True
    """End every document with the end-of-document token."""
    workers: int | None = None
    """Processes; none: one for each core that this process may use. The files are the same for any number."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """The vocabulary."""

    def __post_init__(self) -> None:
        raise_faults(_common_faults(self.input, self.workers))

    @property
    def num_workers(self) -> int:
        """Processes to use."""
        return self.workers or available_cores()

    @property
    def execution(self) -> ExecutionConfig:
        """Where the tasks run."""
        return ExecutionConfig(workers=self.num_workers)


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """Several .bin/.idx datasets -> one, in the order given."""

    input: tuple[Path, ...]
    """PREFIXes of the datasets to join: PREFIX.bin, PREFIX.idx and, to be traceable, PREFIX.manifest.json."""
    output_prefix: Path
    """PREFIX of the files to make: PREFIX.bin, PREFIX.idx, PREFIX.manifest.json."""

    def __post_init__(self) -> None:
        raise_faults(_common_faults(self.input, None))


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """What a .bin/.idx dataset holds: documents as text, statistics of its tokens."""

    input: Path
    """PREFIX of PREFIX.bin and PREFIX.idx; PREFIX.manifest.json names the tokenizer."""
    documents: tuple[int, ...] = ()
    """Positions of documents to show, from 0; negative ones count from the end."""
    num_samples: int = 0
    """Further documents to show, drawn at random."""
    seed: int = 0
    """Of the draws: of num_samples and of measured_documents."""
    measured_documents: int = 1000
    """Documents drawn to measure bytes per token and what the runs of spaces save; 0: none."""
    num_frequent: int = 10
    """Most frequent tokens to list."""
    json: bool = False
    """Print one JSON object instead of text."""

    def __post_init__(self) -> None:
        names = ("num_samples", "seed", "measured_documents", "num_frequent")
        raise_faults(
            [
                Fault(field=name, value=getattr(self, name), rule="must not be negative", remedy="give 0 or more")
                for name in names
                if getattr(self, name) < 0
            ]
        )


def available_cores() -> int:
    """Cores that this process may run on (its affinity mask, which SLURM and taskset narrow)."""
    return len(os.sched_getaffinity(0))


def _common_faults(inputs: tuple[Path, ...], workers: int | None) -> list[Fault]:
    faults = []
    if not inputs:
        faults.append(Fault(field="input", value=(), rule="must name at least one", remedy="give --input PATH"))
    if workers is not None and workers < 1:
        faults.append(Fault(field="workers", value=workers, rule="must be at least 1", remedy="give 1 or more"))
    return faults
