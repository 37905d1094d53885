"""Make problems of contests and problem sets, every reference verified; reveal a judge's hidden tests."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.contests import MineConfig
from megatron_codex.errors import run_command
from megatron_codex.log import configure_logging
from megatron_codex.problems.contests.mine import mine_contests


def main() -> None:
    config = parse_command(MineConfig, description=__doc__ or "")
    configure_logging()
    funnel = mine_contests(config)
    print(funnel.summary())
    for stage, reasons in funnel.reasons.items():
        for reason, count in reasons.items():
            print(f"dropped before {stage}: {count} {reason}")
    print(f"{funnel.counts['accepted']} problems: {config.output / 'problems.jsonl'}")


if __name__ == "__main__":
    run_command(main)
