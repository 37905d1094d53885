#!/usr/bin/env python3
"""What a layout costs before it is run: memory, communication, bubble and days, from a dry run of the real model."""

from __future__ import annotations

import json
import os

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.planning import PlanConfig
from megatron_codex.errors import run_command


def main() -> None:
    """Plan one layout, or search for layouts, and print."""
    config = parse_command(PlanConfig, description=__doc__ or "")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a plan is the same on every machine, and touches no device
    # After the arguments: torch and megatron-core take seconds to import, --help and a faulty config should not.
    from megatron_codex.planning.plan import make_plan
    from megatron_codex.planning.table import plan_to_dict, plan_to_text

    plan = make_plan(config)
    print(json.dumps(plan_to_dict(plan)) if config.json else plan_to_text(plan))


if __name__ == "__main__":
    run_command(main)
