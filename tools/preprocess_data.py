#!/usr/bin/env python
"""Shards or JSON Lines -> PREFIX.bin and PREFIX.idx, the token files that training (and megatron-core) reads."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.corpus import PreprocessConfig
from megatron_codex.corpus.preprocess import preprocess_data
from megatron_codex.errors import run_command
from megatron_codex.log import configure_logging


def main() -> None:
    """Tokenise and print what was written."""
    configure_logging()
    config = parse_command(PreprocessConfig, description=__doc__)
    summary = preprocess_data(config)
    if summary is None:
        return  # an MPI rank that worked for the first one, or a share of the work; the last to end speaks
    megabytes = summary.text_bytes / 1e6
    print(
        f"{config.output_prefix}.bin: {summary.num_documents} documents, {summary.num_tokens} tokens "
        f"({summary.dtype}), {summary.num_empty} empty documents left out"
    )
    print(f"{megabytes:.1f} MB of text in {summary.seconds:.1f} s, {megabytes / summary.seconds:.1f} MB/s")


if __name__ == "__main__":
    run_command(main)
