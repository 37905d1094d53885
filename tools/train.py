#!/usr/bin/env python3
"""Train base Codex, Codex-S or Codex-D: with torchrun, srun, or plain python on one rank."""

from __future__ import annotations

from pathlib import Path

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import run_command
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.render import render_d, render_s


def main() -> None:
    config = parse_command(TrainConfig, description=__doc__ or "")
    # After the arguments: torch and megatron-core take seconds to import, --help and a faulty config should not.
    from megatron_codex.log import configure_logging
    from megatron_codex.training.run import train

    configure_logging()
    render = render_d if config.task == "codex_d" else render_s

    def read_pairs(path: Path) -> list[tuple[str, str]]:
        views = [render(problem) for problem in read_problems(path)]
        return [(view.prompt, view.completion) for view in views]

    outcome = train(config, read_pairs=read_pairs)
    if outcome is not None:  # rank 0
        print(outcome)


if __name__ == "__main__":
    run_command(main)
