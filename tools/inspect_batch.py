#!/usr/bin/env python3
"""Show a step's global batch as the model sees it: tokens, labels, mask, positions, documents; and check it.

Exit code 1 when a check fails.
"""

from __future__ import annotations

import sys

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.inspect_batch import InspectBatchConfig
from megatron_codex.errors import WorkError, run_command
from megatron_codex.problems.pairs import pairs_reader


def main() -> None:
    config = parse_command(InspectBatchConfig, description=__doc__ or "")
    # After the arguments: torch takes seconds to import, --help and a faulty config should not.
    from megatron_codex.data.inspected_batch import terminal_text
    from megatron_codex.evaluation.report.batch_page import render_batch
    from megatron_codex.files import atomic_file
    from megatron_codex.log import configure_logging
    from megatron_codex.training.inspect_batch import inspect_batch

    configure_logging()
    inspected = inspect_batch(config, read_pairs=pairs_reader(config.task))
    color = sys.stdout.isatty() if config.color == "auto" else config.color == "always"
    print(terminal_text(inspected, rows=config.rows, ids=config.ids, color=color))
    if config.html is not None:
        with atomic_file(config.html) as handle:
            handle.write(render_batch(inspected).encode())
    failed = [check.name for check in inspected.checks if not check.passed]
    if failed:
        raise WorkError(f"{inspected.title}: {', '.join(failed)} failed")


if __name__ == "__main__":
    run_command(main)
