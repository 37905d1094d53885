"""The whole chain in miniature, as files of stages: tokens, a model of two layers, samples, verdicts, a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LAUNCHED = {"restarts": {"signal_lead_s": 30}}
_TOKENIZER = "tokenizer.vocab_size=300"
_TRAIN = {
    "model": {"num_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "seq_length": 64},
    "tokenizer": {"vocab_size": 300},
    "data": {"split": "100,0,0"},
    "parallel": {"tensor_model_parallel_size": 2},
    "optimizer": {"lr": 1e-3, "lr_warmup_iters": 2},
    "training": {"train_iters": 3, "global_batch_size": 4},
}
_REPORT = {
    "parts": {
        "training": [{"label": "base", "path": "train"}],
        "evaluations": [{"label": "base, T 0.8", "path": "evaluate/results.jsonl", "k": [1, 2]}],
    }
}


def write_chain(folder: Path) -> list[Path]:
    """Inputs and stages; the stages' files, in order. Two jobs share each stage that can be shared; training has four
    ranks on two nodes."""
    folder.mkdir(parents=True)
    for number in range(4):
        rows = ({"text": f"def f{number}_{row}(x):\n    return x + {row}\n" * 6} for row in range(40))
        (folder / f"documents{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = folder / "problems.jsonl"
    problems.write_text("".join(json.dumps(_problem(number)) + "\n" for number in range(3)))
    train = _json(folder / "train_config.yaml", _TRAIN)
    report = _json(folder / "report_config.yaml", _REPORT)
    documents = [f"--input={folder}/documents{number}.jsonl" for number in range(4)]
    stages: dict[str, dict[str, Any]] = {
        "preprocess": {
            "command": "preprocess_data",
            "arguments": [*documents, "--output-prefix={run_dir}/tokens", "--workers=1", _TOKENIZER],
            "array": {"tasks": 2},
        },
        "train": {
            "command": "train",
            "command_config": [str(train)],
            "arguments": ["data.data_prefix={chain_dir}/preprocess/tokens"],
            "resources": {"nodes": 2, "tasks_per_node": 2},
        },
        "sample": {
            "command": "sample",
            "arguments": [
                *("--checkpoint={chain_dir}/train", f"--problems={problems}", "--output={run_dir}/samples.jsonl"),
                *("--num-samples=2", "--max-new-tokens=8"),
            ],
            "array": {"tasks": 2},
        },
        "evaluate": {
            "command": "evaluate",
            "arguments": [
                *("--samples={chain_dir}/sample/samples.jsonl", f"--problems={problems}"),
                *("--output={run_dir}/results.jsonl", "--cpu-factor=4", "--workers=1"),
            ],
            "array": {"tasks": 2},
        },
        "report": {
            "command": "report",
            "command_config": [str(report)],
            "arguments": ["--run={chain_dir}", "--output={run_dir}/index.html"],
        },
    }
    return [_json(folder / f"{name}.yaml", _LAUNCHED | stage) for name, stage in stages.items()]


def _problem(number: int) -> dict[str, str]:
    signature = f"def f{number}(x):\n"
    return {
        "task_id": f"tiny/{number}",
        "prompt": signature + '    """Return x."""\n',
        "entry_point": f"f{number}",
        "canonical_solution": "    return x\n",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n",
        "signature": signature,
        "docstring": "Return x.",
        "body": "    return x\n",
    }


def _json(path: Path, tree: dict[str, Any]) -> Path:
    """JSON is YAML."""
    path.write_text(json.dumps(tree))
    return path
