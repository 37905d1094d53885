"""Grade Codex-D by the round trip: docstrings from code, code from those docstrings, unit tests on that code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.sampling import GenerationConfig, GradeDocstringsConfig
from megatron_codex.errors import run_command
from megatron_codex.evaluation.grade_docstrings import run_round_trip
from megatron_codex.evaluation.round_trip import Sample
from megatron_codex.log import configure_logging, progress
from megatron_codex.records import Completion
from megatron_codex.sampling.generate import generate
from megatron_codex.sampling.stopping import ClosingQuotes, Stop, StopSequences
from megatron_codex.sampling.work import Prompt


def main() -> None:
    config = parse_command(GradeDocstringsConfig)
    configure_logging()
    summary = run_round_trip(
        config,
        write_docstrings=_sampler(config.docstring_checkpoint, config.docstring_generation(), ClosingQuotes()),
        write_code=_sampler(config.code_checkpoint, config.code_generation(), StopSequences()),
    )
    for arm in summary["arms"]:
        print(f"{arm['arm']}: {arm['pass_rate']:.3f} [{arm['low']:.3f}, {arm['high']:.3f}]")


def _sampler(checkpoint: Path, generation: GenerationConfig, stop: Stop) -> Sample:
    def sample(prompts: Sequence[tuple[str, str]]) -> list[Completion]:
        work = generate(checkpoint, [Prompt(*prompt) for prompt in prompts], config=generation, stop=stop)
        total = len(prompts) * generation.num_samples
        return list(progress(work, total=total, description=f"sampling {checkpoint.name}", unit="samples"))

    return sample


if __name__ == "__main__":
    run_command(main)
