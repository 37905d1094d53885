#!/usr/bin/env python3
"""What a layout costs before it is run: memory, communication, bubble and days, from a dry run of the real model."""

from __future__ import annotations

import json
import os

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.planning import PlanConfig
from megatron_codex.errors import run_command
from megatron_codex.planning.hardware_files import load_hardware


def main() -> None:
    """Plan one layout, or search for layouts, and print."""
    config = parse_command(PlanConfig, description=__doc__ or "")
    hardware = load_hardware(config.hardware, memory_gb=config.memory_gb)
    if not config.search:
        config.check_world_size(config.world_size)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a plan is the same on every machine, and touches no device
    # After the arguments: torch and megatron-core take seconds to import, --help and a faulty config should not.
    from megatron_codex.planning.picture import write_page
    from megatron_codex.planning.plan import make_plan
    from megatron_codex.planning.search import search
    from megatron_codex.planning.table import plan_to_dict, plan_to_text, search_to_dict, search_to_text

    if config.search:
        found = search(config, hardware)[: config.top]
        print(json.dumps(search_to_dict(found)) if config.json else search_to_text(found, hardware))
        return
    plan = make_plan(config, hardware)
    if config.html is not None:
        write_page(plan, config.html)
    print(json.dumps(plan_to_dict(plan)) if config.json else plan_to_text(plan))


if __name__ == "__main__":
    run_command(main)
