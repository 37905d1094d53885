"""Set families of problems aside to measure models with, and leave near-copies of them out of the rest."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.problems import HoldOutConfig
from megatron_codex.errors import run_command
from megatron_codex.log import configure_logging
from megatron_codex.problems.hold_out import hold_out


def main() -> None:
    config = parse_command(HoldOutConfig, description=__doc__ or "")
    configure_logging()
    counts = hold_out(config)
    for side in ("train", "held_out", "left_out"):
        print(f"{side}: {counts[f'{side}_problems']} problems of {counts[f'{side}_families']} families")


if __name__ == "__main__":
    run_command(main)
