#!/usr/bin/env python3
"""Train base Codex, Codex-S or Codex-D: with torchrun, srun, or plain python on one rank."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import run_command
from megatron_codex.problems.pairs import pairs_reader


def main() -> None:
    config = parse_command(TrainConfig, description=__doc__ or "")
    # After the arguments: torch and megatron-core take seconds to import, --help and a faulty config should not.
    from megatron_codex.log import configure_logging
    from megatron_codex.training.run import train

    configure_logging()
    outcome = train(config, read_pairs=pairs_reader(config.task))
    if outcome is not None:  # rank 0
        print(outcome)


if __name__ == "__main__":
    run_command(main)
