"""One self-contained HTML page of a run: results, claims, losses, funnels, ranking, samples, lineage."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.report import ReportConfig
from megatron_codex.errors import run_command
from megatron_codex.evaluation.report.build import write_report
from megatron_codex.log import configure_logging


def main() -> None:
    config = parse_command(ReportConfig)
    configure_logging()
    print(write_report(config))


if __name__ == "__main__":
    run_command(main)
