"""Make problems of projects' functions: their own test suites run under a tracer, in the sandbox."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.problems import TraceConfig
from megatron_codex.errors import WorkError, run_command
from megatron_codex.log import configure_logging
from megatron_codex.problems.ci_traces import trace_projects


def main() -> None:
    config = parse_command(TraceConfig, description=__doc__ or "")
    configure_logging()
    outcomes = trace_projects(config)
    for outcome in outcomes:
        name = outcome.name or outcome.path.name
        if outcome.reason:
            print(f"{name}: failed: {outcome.reason}: {outcome.detail}")
        else:
            print(f"{name}: {outcome.funnel.summary()}")
    print(f"{sum(len(outcome.problems) for outcome in outcomes)} problems: {config.output / 'problems.jsonl'}")
    if all(outcome.reason for outcome in outcomes):
        raise WorkError(f"every project failed: {config.output / 'funnel.json'} says why")


if __name__ == "__main__":
    run_command(main)
