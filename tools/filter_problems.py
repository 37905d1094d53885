"""Keep the problems that samples of the base model solve at times, and whose verdicts never change."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.problems import FilterConfig
from megatron_codex.errors import WorkError, run_command
from megatron_codex.log import configure_logging
from megatron_codex.problems.filter import filter_problems


def main() -> None:
    config = parse_command(FilterConfig, description=__doc__ or "")
    configure_logging()
    funnel = filter_problems(config)
    print(funnel.summary())
    for stage, reasons in funnel.reasons.items():
        for reason, count in reasons.items():
            print(f"dropped before {stage}: {count} {reason}")
    not_judged = funnel.reasons["judged"].total()
    if not_judged:
        raise WorkError(
            f'{config.output}: {not_judged} problems were dropped because the sandbox failed (reason "not judged"), '
            "which says nothing about them; see dropped.jsonl and run again"
        )


if __name__ == "__main__":
    run_command(main)
