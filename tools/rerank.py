"""Compare ways to choose one of k samples, as curves: random, sum log p, mean log p, back-translation, oracle."""

from __future__ import annotations

from typing import Any

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.report import RerankConfig
from megatron_codex.errors import run_command
from megatron_codex.evaluation.rank_samples import write_ranking
from megatron_codex.evaluation.reranking import BACK_TRANSLATION_FIELD, back_translation_pairs
from megatron_codex.jsonl import read_jsonl
from megatron_codex.log import configure_logging, progress
from megatron_codex.problems.readers import read_problems
from megatron_codex.records import Completion


def main() -> None:
    config = parse_command(RerankConfig)
    configure_logging()
    rows = list(read_jsonl(config.results))
    if config.docstring_checkpoint is not None:
        _add_back_translation(config, rows)
    report = write_ranking(config, rows)
    for curve in report["curves"]:
        rates = ", ".join(f"{k}: {rate:.3f}" for k, rate in zip(report["k"], curve["pass_rate"], strict=True))
        print(f"{curve['ranker']}: {rates}")


def _add_back_translation(config: RerankConfig, rows: list[dict[str, Any]]) -> None:
    """Score each sample's docstring with Codex-D. torch is imported here: ranking without it needs no torch."""
    from megatron_codex.sampling.loading import load_sampling_model
    from megatron_codex.sampling.score import score_texts

    assert config.docstring_checkpoint is not None and config.problems is not None
    samples = [Completion.from_json(row, where=f"{config.results}:{number}") for number, row in enumerate(rows, 1)]
    pairs = back_translation_pairs(read_problems(config.problems), samples)
    model = load_sampling_model(config.docstring_checkpoint)
    distinct = list(dict.fromkeys(pairs))
    scores = progress(score_texts(model, distinct), total=len(distinct), description="scoring", unit="samples")
    by_pair = dict(zip(distinct, scores, strict=True))
    for row, pair in zip(rows, pairs, strict=True):
        score = by_pair[pair]
        row[BACK_TRANSLATION_FIELD] = None if score is None else score[0]


if __name__ == "__main__":
    run_command(main)
