"""Small training configurations and their data, shared by the tests that train."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from megatron_codex.data.indexed import IndexedDatasetWriter
from megatron_codex.tokenizer.codex import CodexTokenizer

VOCAB_SIZE = 300  # of which 384 or 512 rows are padded: 128 for each tensor-parallel rank
SEQ_LENGTH = 48
NUM_HEADS = 4

Job = dict[str, Any]


def base_job(directory: Path, **sections: dict[str, Any]) -> Job:
    """Base training for five steps; sections are merged over it. The data lie in directory/data."""
    job: Job = {
        "task": "base",
        "model": {"num_layers": 4, "hidden_size": 32, "num_attention_heads": NUM_HEADS, "seq_length": SEQ_LENGTH},
        "tokenizer": {"vocab_size": VOCAB_SIZE},
        "data": {"data_prefix": str(directory / "data" / "code"), "split": "90,10,0"},
        # A large initialisation, so that attention and losses are far from uniform.
        # AdamW divides by the gradient's size and adam_eps: with the default of 1e-8 the rounding of a gradient that is
        # almost nothing becomes a step, of a size that depends on the processor.
        "optimizer": {"lr": 3e-3, "lr_warmup_iters": 2, "lr_decay_iters": 10, "clip_grad": 0.5, "adam_eps": 1e-6},
        "training": {"train_iters": 5, "global_batch_size": 8, "micro_batch_size": 2, "eval_interval": 5},
    }
    job["model"]["init_method_std"] = 0.2
    return merge(job, sections)


def prompted_job(directory: Path, **sections: dict[str, Any]) -> Job:
    """Codex-S training: prompt masks, uneven lengths and token counts."""
    job = base_job(directory)
    job["task"] = "codex_s"
    job["data"] = {
        "problems": str(directory / "data" / "train.jsonl"),
        "valid_problems": str(directory / "data" / "valid.jsonl"),
    }
    return merge(job, sections)


def merge(job: Job, sections: dict[str, dict[str, Any]]) -> Job:
    """A copy of the job with some values of its sections replaced."""
    merged = copy.deepcopy(job)
    for name, values in sections.items():
        merged.setdefault(name, {}).update(values)
    return merged


def write_data(directory: Path) -> None:
    """Tokens of made-up files for base_job, and prompts with completions of many lengths for prompted_job."""
    draw = random.Random(7)
    tokenizer = CodexTokenizer(VOCAB_SIZE)
    (directory / "data").mkdir(parents=True)
    with IndexedDatasetWriter(directory / "data" / "code", np.uint16) as writer:
        for _ in range(60):
            ids = tokenizer.encode(_text(draw, draw.randint(10, 200)))
            writer.add_document(np.append(ids, tokenizer.eod))
        writer.finalize()
    for name, count in (("train", 50), ("valid", 11)):
        rows = [
            {"prompt": _text(draw, draw.randint(3, 25)), "completion": _text(draw, draw.randint(1, 20))}
            for _ in range(count)
        ]
        (directory / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def losses(output_dir: Path) -> list[float]:
    """The training loss of every step of a run."""
    return [line["loss"] for line in metrics(output_dir)]


def metrics(output_dir: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]


def _text(draw: random.Random, length: int) -> str:
    return "".join(draw.choice("abcdef (=):\n    +*12") for _ in range(length))
