#!/usr/bin/env python3
"""Check a training job's nodes before it starts: started as the training is, one process a rank, with its arguments.

Do nodes see each other, are links right and fast, do clocks agree, is there room for checkpoints, have all ranks the
same code, packages and data, are GPUs well. A bad node is named in RUN/launch/bad_nodes.txt: exit code 76.
"""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.preflight import PreflightConfig
from megatron_codex.errors import run_command
from megatron_codex.launch.preflight.run import preflight
from megatron_codex.rank import is_first_rank, joined_rank


def main() -> None:
    config = parse_command(PreflightConfig, description=__doc__ or "")
    rank, world_size = joined_rank()
    config.check_world_size(world_size)

    def measure() -> dict[str, object]:
        from megatron_codex.parallel.neighbour_links import measure_links  # torch: only once the nodes see each other

        return measure_links(size_mb=config.preflight.link_test_mb, timeout_s=config.preflight.timeout_s)

    good = preflight(config, rank=rank, world_size=world_size, measure_links=measure)
    if is_first_rank():
        print(good)


if __name__ == "__main__":
    run_command(main)
