#!/usr/bin/env python3
"""Convert a checkpoint: to any layout, to a Hugging Face folder (GPT-2, GPT-Neo) or from one; then compare logits."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.convert import ConvertConfig
from megatron_codex.errors import run_command
from megatron_codex.log import configure_logging


def main() -> None:
    config = parse_command(ConvertConfig, description=__doc__ or "")
    # After the arguments: torch takes seconds to import, --help and a faulty argument should not.
    from megatron_codex.convert.run import convert

    configure_logging()
    outcome = convert(config)
    print(f"{outcome.output}: {outcome.what}; {outcome.check}")


if __name__ == "__main__":
    run_command(main)
