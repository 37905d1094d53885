#!/usr/bin/env python3
"""Compare a layout with one rank: loss, every gradient, weights and optimizer state after some steps, dropout's masks.

Started by torchrun or srun on the layout's ranks, or by itself: it then starts num_ranks on this machine.
"""

from __future__ import annotations

import os
import sys

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.verify import VerifyConfig
from megatron_codex.errors import WorkError, run_command
from megatron_codex.problems.pairs import pairs_reader


def main() -> None:
    config = parse_command(VerifyConfig, description=__doc__ or "")
    started = "WORLD_SIZE" in os.environ
    if not started:
        config.check_world_size(config.local_ranks)
        if config.local_ranks > 1:
            from megatron_codex.parallel.local_ranks import run_local_ranks

            ended = run_local_ranks(config.local_ranks, [sys.executable, *sys.argv])
            if ended.code > 128:  # by a signal: no rank could say so
                raise WorkError(ended.how)
            sys.exit(ended.code)
    # After the arguments: torch and megatron-core take seconds to import, --help and a faulty config should not.
    from megatron_codex.log import configure_logging
    from megatron_codex.training.verify import verify

    configure_logging()
    report = verify(config, read_pairs=pairs_reader(config.task))
    if os.environ.get("RANK", "0") == "0":
        print(f"{report.layout}\n{report.samples}\n\n{report.table()}\n")
        if report.first is None:
            print(f"equal to one rank, {report.seconds:.1f} s")
    if report.first is not None:
        raise WorkError(f"differs from one rank; first in {report.first}")


if __name__ == "__main__":
    run_command(main)
