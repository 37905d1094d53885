"""Codex-S and Codex-D of one problems file: validated on families of it, with the counts in log and manifest."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.load import build_config
from megatron_codex.config.training import TrainConfig
from megatron_codex.data.family_split import is_held_out
from megatron_codex.errors import InputError
from megatron_codex.problems.pairs import pairs_reader
from megatron_codex.training.datasets import read_task_pairs
from megatron_codex.training.run import train

PROJECTS = [f"project-{number}" for number in range(20)]
HELD_OUT = [name for name in PROJECTS if is_held_out(f"project {name}", share=0.1)]


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three functions of each project, all different; one of them has no docstring that people wrote."""
    path = tmp_path_factory.mktemp("datasets") / "problems.jsonl"
    rows = [_row(project, number) for project in PROJECTS for number in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _row(project: str, number: int) -> dict[str, Any]:
    name = f"f{number}_{project.replace('-', '')}"
    said, body = f"Say {project}, {number}.", f'    return "{name}"\n'
    return {
        "task_id": name,
        "prompt": f'def {name}():\n    """{said}"""\n',
        "entry_point": name,
        "canonical_solution": body,
        "test": "",
        "signature": f"def {name}():\n",
        "docstring": said,
        "body": body,
        "provenance": {"project": project, "docstring": "written" if number else "missing"},
    }


def _config(
    problems: Path, *, task: str = "codex_s", data: dict[str, Any] | None = None, **training: Any
) -> TrainConfig:
    tree = {
        "task": task,
        "model": {"num_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "seq_length": 128},
        "tokenizer": {"vocab_size": 300},
        "data": {"problems": str(problems)} | (data or {}),
        "optimizer": {"lr": 1e-30, "lr_warmup_iters": 0},
        "training": {"output_dir": "unused", "train_iters": 20, "global_batch_size": 8, "eval_interval": 1} | training,
    }
    return build_config(TrainConfig, tree)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:megatron")
def test_one_problems_file_is_enough_for_patience(
    problems: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At a learning rate below any rounding the validation loss stays: the run ends after three evaluations."""
    caplog.set_level(logging.INFO)
    config = _config(problems, task="codex_d", patience=2, output_dir=str(tmp_path), micro_batch_size=4)
    outcome = train(config, read_pairs=pairs_reader("codex_d"))
    assert outcome is not None and "codex_d: 3 steps" in outcome and "2 evaluations since then" in outcome
    counts = json.loads((tmp_path / "manifest.json").read_text())["counts"]
    assert 0 < len(HELD_OUT) < len(PROJECTS)
    assert counts["valid_problems"] == 2 * len(HELD_OUT) and counts["valid_families"] == len(HELD_OUT)
    assert counts["train_problems"] + counts["left_out_nearly_held_out"] == 2 * (len(PROJECTS) - len(HELD_OUT))
    assert counts["left_out_docstring_not_written"] == len(PROJECTS)
    assert 0 < counts["padding_share"] < counts["masked_share"] < 1
    assert f"valid_problems {counts['valid_problems']}, valid_families {len(HELD_OUT)}" in caplog.text


def test_sides_are_those_of_the_families_for_every_seed_and_task(problems: Path) -> None:
    for task, each in (("codex_s", 3), ("codex_d", 2)):
        for seed in (1, 2):
            pairs = read_task_pairs(_config(problems, task=task, seed=seed), pairs_reader(task))
            assert {pair.family for pair in pairs.valid} == {f"project {name}" for name in HELD_OUT}
            assert len(pairs.valid) == each * len(HELD_OUT)


def test_what_is_held_out_is_what_the_configuration_says(problems: Path) -> None:
    reader = pairs_reader("codex_s")
    whole = 3 * len(PROJECTS)
    without = read_task_pairs(_config(problems, eval_interval=0), reader)
    assert (len(without.train), len(without.valid)) == (whole, 0)
    # A share that is given is held out of a run that does not evaluate, too.
    given = read_task_pairs(_config(problems, eval_interval=0, data={"validation_share": 0.4}), reader)
    assert len(given.train) < whole and given.valid
    named = read_task_pairs(_config(problems, data={"valid_problems": str(problems)}), reader)
    assert (len(named.train), len(named.valid)) == (whole, whole)
    with pytest.raises(InputError, match=r"validation_share: got 1e-09; leaves nothing to validate on"):
        read_task_pairs(_config(problems, data={"validation_share": 1e-9}), reader)
