"""A run's folder with every part that a report can show, made of few numbers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import yaml

from megatron_codex.config.load import config_to_dict
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.report import ReportConfig, RerankConfig
from megatron_codex.evaluation.rank_samples import write_ranking
from megatron_codex.evaluation.report.build import write_report
from megatron_codex.jsonl import read_jsonl, write_jsonl
from megatron_codex.manifest import write_manifest

EVIL = "    return '</pre><script>alert(1)</script>&<img src=http://example.com/x>'\n"
NUM_TASKS, NUM_SAMPLES = 12, 10


def _problems() -> list[dict[str, object]]:
    return [
        {
            "task_id": f"t{task}",
            "prompt": f'def f{task}(x):\n    """Do <b>{task}</b>."""\n',
            "entry_point": f"f{task}",
            "canonical_solution": "    return x\n",
            "test": "def check(candidate): pass",
            "provenance": {"chain_length": 1 + task % 3},
        }
        for task in range(NUM_TASKS)
    ]


def _results(num_passed: int) -> list[dict[str, object]]:
    """num_passed of the samples of every task pass; one more sample of the first task has no verdict on it."""
    verdicts = ["passed"] * num_passed + ["wrong", "timeout"] * NUM_SAMPLES
    rows: list[dict[str, object]] = [
        {
            "task_id": f"t{task}",
            "completion": EVIL,
            "verdict": verdicts[sample],
            "detail": "<i>x</i>",
            "mean_logp": -1.0 if sample < num_passed else -2.0,
            "sum_logp": -10.0,
        }
        for task in range(NUM_TASKS)
        for sample in range(NUM_SAMPLES)
    ]
    return [*rows, {**rows[0], "verdict": "infra"}]


def make_run(run: Path, *, num_passed: int = 6, final_loss: float = 0.005) -> Path:
    """A run folder with every part. num_passed: of ten samples of each task, by Codex-S."""
    started_at = time.time()
    write_jsonl(run / "problems.jsonl", _problems())
    for name, number in (("base", 2), ("codex_s", num_passed)):
        results = run / name / "results.jsonl"
        write_jsonl(results, _results(number))
        config = {"temperature": 0.8, "note": EVIL}
        write_manifest(
            results.parent,
            name="results.jsonl.manifest.json",
            command="evaluate.py",
            config=config,
            inputs=[run / "problems.jsonl"],
            counts={"samples": 121},
            started_at=started_at,
        )
    metrics = [
        {"step": step, "loss": 1000 * final_loss / step, "lr": 1e-3, "grad_norm": 1.0}
        | {"tokens_per_s": 9e3, "num_tokens": 1024}
        | ({"valid_loss": 5.5 / step} if step % 100 == 0 else {})
        for step in range(1, 1001)
    ]
    write_jsonl(run / "training" / "metrics.jsonl", metrics)
    counts = {"files": {"kept": 1234567, "duplicate": 89, "syntax <error>": 0}}
    shape = config_to_dict(ModelConfig(num_layers=1, hidden_size=8, num_attention_heads=1, seq_length=8))
    configs: dict[str, dict[str, Any]] = {"training": {"model": shape}, "corpus": {}}
    for name in configs:
        write_manifest(
            run / name,
            command=name,
            config=configs[name],
            inputs=[run / "problems.jsonl"],
            counts=counts,
            started_at=started_at,
        )
    funnel = {"counts": {"problems": 120, "solved": 45}, "dropped": {"solved": {"too <hard>": 75}}}
    (run / "training" / "funnel.json").write_text(json.dumps({"format": "megatron_codex/funnel/1", **funnel}))
    rows = list(read_jsonl(run / "codex_s" / "results.jsonl"))
    write_ranking(RerankConfig(results=run / "codex_s" / "results.jsonl", output=run / "ranking"), rows)
    arms = [{"arm": "generated docstring", "pass_rate": 0.25, "low": 0.2, "high": 0.3}]
    round_trip = {
        "format": "megatron_codex/round_trip/1",
        "arms": arms,
        "bleu": 0.3,
        "bleu_correlation": -0.07,
        "without_docstring": 4,
    }
    (run / "round_trip.json").write_text(json.dumps(round_trip))
    evaluation = {"problems": "problems.jsonl", "group_by": "chain_length"}
    parts = {
        "title": "A <test> run",
        "counts": [{"label": "Corpus", "path": "corpus"}, {"label": "Filter", "path": "training/funnel.json"}],
        "training": [{"label": "base", "path": "training"}],
        "evaluations": [
            {"label": "base", "path": "base/results.jsonl", **evaluation},
            {"label": "Codex-S", "path": "codex_s/results.jsonl", **evaluation},
        ],
        "comparisons": [{"claim": "Codex-S passes more than base", "better": "Codex-S", "worse": "base"}],
        "rankings": [{"label": "Codex-S", "path": "ranking"}],
        "round_trips": [{"label": "Codex-D", "path": "round_trip.json"}],
        "not_reproduced": ["Variable binding <was> not tried."],
    }
    (run / "report.yaml").write_text(yaml.safe_dump(parts))
    return run


def write_page(run: Path, **settings: Any) -> str:
    """The run's page."""
    output = run.parent / "report.html"
    write_report(ReportConfig(run=run, output=output, **settings))
    return output.read_text()


def change_parts(run: Path, change: dict[str, Any]) -> None:
    """Other values in the run's report.yaml."""
    parts = yaml.safe_load((run / "report.yaml").read_text())
    (run / "report.yaml").write_text(yaml.safe_dump({**parts, **change}))
