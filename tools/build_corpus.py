#!/usr/bin/env python
"""Source files -> unique, filtered documents in Parquet shards, and a manifest of what was dropped why.

With --explain PATH (or ARCHIVE:MEMBER) nothing is built: it prints what each filter says of that file.
"""

from __future__ import annotations

import sys

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.corpus import CorpusConfig, ExplainConfig
from megatron_codex.corpus.build import CorpusSummary, build_corpus
from megatron_codex.corpus.candidates import KEPT, REASONS
from megatron_codex.corpus.explain import explain
from megatron_codex.errors import run_command
from megatron_codex.log import configure_logging


def main() -> None:
    """Build a corpus and print the table of reasons; or explain one file."""
    configure_logging()
    if any(argument.partition("=")[0] == "--explain" for argument in sys.argv[1:]):
        question = parse_command(ExplainConfig, description=__doc__)
        print(*explain(question.explain, question).lines(), sep="\n")
        return
    config = parse_command(CorpusConfig, description=__doc__)
    summary = build_corpus(config)
    if summary is None:
        return  # an MPI rank that worked for the first one
    print_table(summary)
    kept = summary.tally.size_bytes[KEPT]
    megabytes_per_s = summary.tally.size_bytes.total() / summary.seconds / 1e6
    print(
        f"{config.output}: {summary.tally.files[KEPT]} documents, {kept / 1e6:.1f} MB in {len(summary.shards)} shards; "
        f"{summary.seconds:.1f} s, {megabytes_per_s:.1f} MB/s"
    )


def print_table(summary: CorpusSummary) -> None:
    """One line a reason: files, megabytes, share of the bytes, what it means."""
    total = max(1, summary.tally.size_bytes.total())
    print(f"{'':20} {'files':>9} {'MB':>10} {'%':>6}")
    for reason, files, size_bytes in summary.rows():
        meaning = REASONS.get(reason, "unique, and passed every filter")
        print(f"{reason:20} {files:9} {size_bytes / 1e6:10.2f} {100 * size_bytes / total:6.2f}  {meaning}")


if __name__ == "__main__":
    run_command(main)
