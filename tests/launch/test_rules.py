"""What is refused before it waits in a queue: one line each, and exit code 2 of the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.launch import ChainConfig, LaunchConfig
from megatron_codex.config.load import build_config, config_to_dict
from megatron_codex.config.yaml_text import parse_value
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.launch.chain import chain_stages
from megatron_codex.launch.commands import command_arguments
from megatron_codex.launch.rules import check_launch
from megatron_codex.launch.submit import checked_work, submitted_work
from megatron_codex.manifest import FORMAT as MANIFEST
from megatron_codex.manifest import MANIFEST_NAME
from megatron_codex.model.checkpoint_files import FORMAT

ROOT = Path(__file__).parents[2]
TRAIN: dict[str, Any] = {
    "model": {"num_layers": 2, "hidden_size": 64, "num_attention_heads": 8, "seq_length": 64},
    "data": {"data_prefix": "/data/tokens"},
    "optimizer": {"lr": 1e-3},
    "training": {"train_iters": 4, "global_batch_size": 48},
}


def launch(tmp_path: Path, *arguments: str, **values: Any) -> LaunchConfig:
    (tmp_path / "train.yaml").write_text(json.dumps(TRAIN))
    tree = {
        "command": "train",
        "run_dir": str(tmp_path / "run"),
        "command_config": [str(tmp_path / "train.yaml")],
        "arguments": list(arguments),
        "resources": {"nodes": 2, "tasks_per_node": 6, "gpus_per_node": 6},
    }
    return build_config(LaunchConfig, tree | values)


def refusal(config: LaunchConfig) -> str:
    with pytest.raises(InputError) as caught:
        submitted_work(config)
    return str(caught.value)


@pytest.mark.parametrize("size", [1, 2])
def test_tensor_parallel_ranks_that_fill_nodes_are_fine(tmp_path: Path, size: int) -> None:
    own = check_launch(launch(tmp_path, f"parallel.tensor_model_parallel_size={size}"))
    assert own.training.output_dir == tmp_path / "run"


@pytest.mark.parametrize("size", [4, 8])
def test_tensor_parallel_ranks_must_share_a_node(tmp_path: Path, size: int) -> None:
    said = refusal(launch(tmp_path, f"parallel.tensor_model_parallel_size={size}"))
    assert said == (
        f"parallel.tensor_model_parallel_size: got {size}; must divide the ranks of a node, "
        "resources.tasks_per_node = 6; for example 2, or give other tasks_per_node"
    )


def test_the_batch_must_fit_the_ranks(tmp_path: Path) -> None:
    assert "training.global_batch_size: got 50" in refusal(launch(tmp_path, "training.global_batch_size=50"))


def test_each_rank_has_a_gpu(tmp_path: Path) -> None:
    said = refusal(launch(tmp_path, resources={"tasks_per_node": 4, "gpus_per_node": 8}))
    assert "resources.tasks_per_node: got 4; must be resources.gpus_per_node = 8" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"command": "tarin"}, "command: got 'tarin'; is not a command that can be launched"),
        ({"array": {"tasks": 2}}, "array.tasks: got 2; must be 1: train cannot be shared"),
        ({"arguments": ["training.output_dir=/x"]}, "is decided by run_dir"),
        ({"arguments": ["training.train_iter=5"]}, "did you mean training.train_iters?"),
        ({"launcher": "deepspeed"}, "reaches other nodes by ssh"),
        ({"command": "evaluate", "command_config": [], "arguments": ["--samples=a"]}, "gives 12 processes"),
        ({"command_config": ["/no/such.yaml"]}, "/no/such.yaml: no such file"),
        ({"arguments": ["--no-such"]}, "train.py: unrecognized arguments: --no-such"),
    ],
)
def test_what_a_command_would_refuse_is_refused_at_once(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    assert said in refusal(launch(tmp_path, **values))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("training.seed=2", "training.seed: got 2; {step} has 1; give the same value"),
        ("model.num_layers=4", "model.num_layers: got 4; {step} has 2; give the same value"),
        ("training.resume={step}", None),
        ("training.train_iters=9", None),
    ],
)
def test_a_directory_of_another_run_is_refused_before_it_waits(tmp_path: Path, argument: str, said: str | None) -> None:
    step = tmp_path / "run" / "checkpoints" / "step_00000004"
    step.mkdir(parents=True)
    (tmp_path / "before").mkdir()
    stored = config_to_dict(check_launch(launch(tmp_path / "before")))
    (step / "weights").write_bytes(b"1")
    manifest = {
        "format": MANIFEST,
        "checkpoint_format": FORMAT,
        "has_optimizer": True,
        "config": stored,
        "files": {"weights": 1},
    }
    (step / MANIFEST_NAME).write_text(json.dumps(manifest))
    config = launch(tmp_path, argument.format(step=step))
    if said is None:
        check_launch(config)
    else:
        assert said.format(step=step) in refusal(config)


def test_a_backslash_is_refused_in_a_job_and_taken_here(tmp_path: Path) -> None:
    config = launch(tmp_path, run_dir=str(tmp_path / "a\\b"))
    assert "run_dir: got" in refusal(config) and "has a backslash" in refusal(config)
    assert checked_work(config).config.run_dir == tmp_path / "a\\b"


def test_a_time_in_slurms_words_is_not_taken_for_minutes(tmp_path: Path) -> None:
    for value in ("7-00:00:00", "1:30:00", "abc"):
        tree = {"command": "train", "run_dir": "/x", "resources": {"time_minutes": parse_value(value)}}
        with pytest.raises(ConfigError, match=rf"resources.time_minutes: got '{value}'.*give it in minutes"):
            build_config(LaunchConfig, tree)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"run_dir": "/a\nb"}, "run_dir"),
        ({"environment": ["1A=b"]}, "environment"),
        ({"environment": ["A"]}, "environment"),
        ({"resources": {"partition": "gpu --x"}}, "resources.partition"),
        ({"resources": {"exclude": ["-x"]}}, "resources.exclude"),
        ({"resources": {"gpu_type": "a100"}}, "resources.gpu_type"),
        ({"resources": {"nodes": 0}}, "resources.nodes"),
        ({"restarts": {"signal_lead_s": 3600}}, "restarts.signal_lead_s"),
        ({"restarts": {"max_requeues": -1}}, "restarts.max_requeues"),
        ({"container": {"kind": "pyxis"}}, "container.image"),
        ({"container": {"image": "x"}}, "container.image"),
        ({"container": {"kind": "enroot", "image": "x", "mounts": ["/data"]}}, "container.mounts"),
        ({"project_dir": "code"}, "project_dir"),
        ({"run_dir": "/"}, "run_dir"),
        ({"array": {"tasks": 0}}, "array.tasks"),
    ],
)
def test_values_that_no_script_may_hold(tmp_path: Path, values: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        launch(tmp_path, **values)
    assert [fault.field for fault in caught.value.faults] == [field]


@pytest.mark.parametrize("name", ["a", "a: b", "a #b", "it's, [x]", "{b}"])
def test_directories_reach_the_command_as_they_are(tmp_path: Path, name: str) -> None:
    chain = tmp_path / name
    config = launch(
        tmp_path, "data.data_prefix=[{chain_dir}/tokens, /other]", run_dir=str(chain / "train"), resources={}
    )
    own = check_launch(config)
    assert own.training.output_dir == chain / "train"
    assert own.data.paths("data_prefix") == (chain / "tokens", Path("/other"))
    assert command_arguments(config)[0] == "--config"


def test_a_chain_tells_the_faults_of_all_its_stages(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("{command: train, modle: 1}")
    (tmp_path / "two.yaml").write_text("{command: report, resources: {nodes: none}}")
    stages = (tmp_path / "one.yaml", tmp_path / "two.yaml")
    with pytest.raises(ConfigError) as caught:
        chain_stages(ChainConfig(stages=stages, run_dir=tmp_path))
    assert [fault.field for fault in caught.value.faults] == [
        f"{stages[0]}: modle",
        f"{stages[1]}: resources.nodes",
    ]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("{command: report, name: one}", "two stages have this name"),
        ("{command: report, after: [three]}", "is no stage before two; these are: one"),
    ],
)
def test_stages_follow_each_other(tmp_path: Path, second: str, said: str) -> None:
    (tmp_path / "one.yaml").write_text("command: report")
    (tmp_path / "two.yaml").write_text(second)
    with pytest.raises(ConfigError, match=said):
        chain_stages(ChainConfig(stages=(tmp_path / "one.yaml", tmp_path / "two.yaml"), run_dir=tmp_path))


def test_the_command_ends_with_2_and_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tools/launch.py", "submit", "--command=train", f"--run-dir={tmp_path / 'run'}"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    assert all(line.startswith("error: ") for line in ended.stderr.splitlines())
    assert list(tmp_path.iterdir()) == []
