#!/usr/bin/env python3
"""Generate building-block problems (train, valid, held_out, mis_specified) and modules for the base corpus."""

from __future__ import annotations

from megatron_codex.config.building_blocks import BuildingBlocksConfig
from megatron_codex.config.command_line import parse_command
from megatron_codex.errors import run_command
from megatron_codex.problems.building_blocks.write import describe, write_building_blocks


def main() -> None:
    config = parse_command(BuildingBlocksConfig, description=__doc__ or "")
    print(describe(write_building_blocks(config), config.output))


if __name__ == "__main__":
    run_command(main)
