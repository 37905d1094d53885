"""Make problems of projects' functions: their own test suites run under a tracer, in the sandbox."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.problems import TraceConfig
from megatron_codex.errors import WorkError, run_command
from megatron_codex.log import configure_logging
from megatron_codex.problems.ci_traces import trace_projects
from megatron_codex.problems.projects_table import table_lines


def main() -> None:
    config = parse_command(TraceConfig, description=__doc__ or "")
    configure_logging()
    outcomes = trace_projects(config)
    if outcomes is None:
        return  # an MPI rank that worked for the first one
    print(*table_lines(outcomes), sep="\n")
    print(f"{sum(len(outcome.problems) for outcome in outcomes)} problems: {config.output / 'problems.jsonl'}")
    if all(outcome.reason for outcome in outcomes):
        raise WorkError(f"every project failed: {config.output / 'funnel.json'} says why")


if __name__ == "__main__":
    run_command(main)
