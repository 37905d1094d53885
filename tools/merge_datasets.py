#!/usr/bin/env python
"""Several .bin/.idx datasets -> one PREFIX.bin and PREFIX.idx, their documents in the order given."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.corpus import MergeConfig
from megatron_codex.data.merge import merge_datasets
from megatron_codex.errors import run_command
from megatron_codex.log import configure_logging


def main() -> None:
    """Merge and print what was written."""
    configure_logging()
    config = parse_command(MergeConfig, description=__doc__)
    summary = merge_datasets(config)
    print(
        f"{config.output_prefix}.bin: {summary.num_documents} documents, {summary.num_tokens} tokens "
        f"({summary.dtype}) of {len(config.input)} datasets in {summary.seconds:.1f} s"
    )


if __name__ == "__main__":
    run_command(main)
