"""Faulty training configurations: every fault at once, each with its dotted path and a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_codex.config.load import build_config, load_config, save_config
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import ConfigError

GOOD: dict[str, Any] = {
    "model": {"num_layers": 4, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 128},
    "tokenizer": {"vocab_size": 300},
    "data": {"data_prefix": "code"},
    "optimizer": {"lr": 1e-3},
    "training": {"output_dir": "out", "train_iters": 10, "global_batch_size": 8, "micro_batch_size": 2},
}


def _config(*changes: str, **top: Any) -> TrainConfig:
    tree = {name: dict(section) for name, section in GOOD.items()} | top
    for change in changes:
        path, value = change.split("=")
        section, key = path.split(".")
        tree.setdefault(section, {})[key] = yaml.safe_load(value)
    return build_config(TrainConfig, tree)


def _faults(*changes: str, **top: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _config(*changes, **top)
    return [fault.field for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (["parallel.tensor_model_parallel_size=3"], "parallel.tensor_model_parallel_size"),
        (["parallel.pipeline_model_parallel_size=5"], "parallel.pipeline_model_parallel_size"),
        (["parallel.pipeline_model_parallel_size=3"], "parallel.pipeline_model_parallel_size"),
        (
            ["parallel.pipeline_model_parallel_size=2", "parallel.virtual_pipeline_model_parallel_size=3"],
            "parallel.virtual_pipeline_model_parallel_size",
        ),
        (["parallel.virtual_pipeline_model_parallel_size=2"], "parallel.virtual_pipeline_model_parallel_size"),
        (["parallel.virtual_pipeline_model_parallel_size=0"], "parallel.virtual_pipeline_model_parallel_size"),
        (["parallel.sequence_parallel=true"], "parallel.sequence_parallel"),
        (["parallel.overlap_param_gather=true", "parallel.overlap_grad_reduce=true"], "parallel.overlap_param_gather"),
        (["parallel.context_parallel_size=2"], "parallel.context_parallel_size"),
        (["parallel.num_layers_in_last_pipeline_stage=1"], "parallel.num_layers_in_last_pipeline_stage"),
        (
            ["parallel.pipeline_model_parallel_size=4", "parallel.num_layers_in_first_pipeline_stage=2"],
            "parallel.num_layers_in_first_pipeline_stage",
        ),
        (
            ["parallel.pipeline_model_parallel_size=2", "parallel.num_layers_in_last_pipeline_stage=4"],
            "parallel.num_layers_in_last_pipeline_stage",
        ),
        (["model.attention_pattern=alternating"], "model.band_width"),
        (["training.loss_spike_factor=1"], "training.loss_spike_factor"),
        (["model.num_attention_heads=5"], "model.num_attention_heads"),
        (["model.hidden_dropout=1"], "model.hidden_dropout"),
        (["training.global_batch_size=9"], "training.global_batch_size"),
        (["training.precision=fp16"], "training.precision"),
        (["optimizer.lr=0"], "optimizer.lr"),
        (["optimizer.min_lr=1"], "optimizer.min_lr"),
        (["data.split=1,2"], "data.split"),
        (["data.data_weights=2,1"], "data.data_weights"),
        (["data.problems=p.jsonl"], "data.problems"),
        (["data.split=99,0,1", "training.eval_interval=5"], "data.split"),
        (["training.seed=-1"], "training.seed"),
        (["deepspeed.zero_stage=3"], "deepspeed.zero_stage"),
        (["deepspeed.zero_stage=4"], "deepspeed.zero_stage"),
        (["deepspeed.offload_param=true"], "deepspeed.offload_param"),
        (["training.sede=1"], "training.sede"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_is_named_by_its_path(changes: list[str], field: str) -> None:
    assert field in _faults(*changes)


@pytest.mark.parametrize(
    ("num_layers", "pipeline", "first", "last", "chunks", "stages"),
    [
        (8, 4, None, None, None, (2, 2, 2, 2)),
        (5, 2, None, 2, None, (3, 2)),
        (7, 3, None, 1, None, (3, 3, 1)),
        (8, 3, 2, 2, None, (2, 4, 2)),
        (12, 4, 2, 2, 2, (2, 4, 4, 2)),
        (12, 4, 3, 3, None, (3, 3, 3, 3)),
        (12, 4, 3, 3, 2, None),
        (5, 2, 3, 1, None, None),
        (5, 4, 3, None, None, None),
        (2, 3, None, None, None, None),
    ],
)
def test_stages_need_not_be_alike(
    num_layers: int,
    pipeline: int,
    first: int | None,
    last: int | None,
    chunks: int | None,
    stages: tuple[int, ...] | None,
) -> None:
    parallel = ParallelConfig(
        pipeline_model_parallel_size=pipeline,
        num_layers_in_first_pipeline_stage=first,
        num_layers_in_last_pipeline_stage=last,
        virtual_pipeline_model_parallel_size=chunks,
    )
    assert parallel.layers_of_stages(num_layers) == stages


def test_the_remedy_for_stages_that_do_not_divide_is_one() -> None:
    for num_layers in (5, 6, 7, 9):
        changes = [f"model.num_layers={num_layers}", "parallel.pipeline_model_parallel_size=4"]
        with pytest.raises(ConfigError) as caught:
            _config(*changes)
        remedy = caught.value.faults[0].remedy.rpartition(" or ")[2]
        assert remedy.startswith("parallel.num_layers_in_last_pipeline_stage=")
        _config(*changes, remedy)


def test_faults_of_several_sections_come_at_once() -> None:
    found = _faults("optimizer.lr=-1", "training.log_interval=0", "parallel.tensor_model_parallel_size=0")
    assert set(found) == {"optimizer.lr", "training.log_interval", "parallel.tensor_model_parallel_size"}


def test_a_task_needs_its_own_data() -> None:
    assert _faults(task="codex_s") == ["data.problems", "data.data_prefix"]


def test_what_a_fine_tuning_run_validates_on() -> None:
    data, evaluates = {"problems": "p.jsonl"}, "training.eval_interval=5"
    assert _config(task="codex_s", data=data).validation_share == 0
    assert _config(evaluates, task="codex_s", data=data).validation_share == 0.1
    assert _config(task="codex_s", data=data | {"validation_share": 0.3}).validation_share == 0.3
    both = data | {"valid_problems": "v.jsonl"}
    assert _config(evaluates, task="codex_s", data=both).validation_share == 0
    field = ["data.validation_share"]
    assert _faults(evaluates, task="codex_s", data=data | {"validation_share": 0.0}) == field
    assert _faults(task="codex_s", data=data | {"validation_share": 1}) == field
    assert _faults(task="codex_s", data=both | {"validation_share": 0.1}) == field
    assert _faults("data.validation_share=0.1") == field


def test_lengths_are_grouped_in_left_padded_rows_alone() -> None:
    changes = ("data.group_by_length=true", "data.problems=p.jsonl")
    data = {"problems": "p.jsonl", "group_by_length": True}
    assert _config(task="codex_s", data=data).data.group_by_length
    assert _faults(task="codex_s", data=data | {"layout": "packed"}) == ["data.group_by_length"]
    assert _faults(*changes) == ["data.problems", "data.group_by_length"]
    assert _faults(data={"problems": "p.jsonl"}, task="base") == ["data.data_prefix", "data.problems"]


def test_deepspeed_takes_tensor_parallelism_and_refuses_the_rest() -> None:
    taken = ["parallel.tensor_model_parallel_size=2", "parallel.recompute=full", "deepspeed.zero_stage=3"]
    assert _config(*taken, engine="deepspeed").deepspeed.zero_stage == 3
    refused = [
        f"parallel.{name}=2" for name in ("pipeline_model_parallel_size", "virtual_pipeline_model_parallel_size")
    ]
    refused += [f"parallel.{name}=true" for name in ("sequence_parallel", "use_distributed_optimizer")]
    found = _faults(*taken, *refused, engine="deepspeed")
    assert sorted(found) == sorted(change.split("=")[0] for change in refused)


@pytest.mark.parametrize(
    ("changes", "world_size", "rule"),
    [
        (["parallel.tensor_model_parallel_size=2"], 3, "3 ranks cannot be shared by 2 x 1 = 2"),
        ([], 3, "must be a multiple of training.micro_batch_size x data-parallel size = 2 x 3 = 6"),
        (
            [
                "parallel.pipeline_model_parallel_size=2",
                "parallel.virtual_pipeline_model_parallel_size=2",
                "training.micro_batch_size=8",
            ],
            2,
            "gives 1 micro-batches",
        ),
    ],
    ids=["model_parallel", "batch", "interleaved"],
)
def test_the_number_of_ranks_is_checked_when_known(changes: list[str], world_size: int, rule: str) -> None:
    config = _config(*changes)
    with pytest.raises(ConfigError, match=rule):
        config.check_world_size(world_size)


def test_a_saved_config_loads_to_the_same(tmp_path: Path) -> None:
    config = _config("model.preset=codex_12m", "training.init_from=x")
    save_config(config, tmp_path / "config.yaml")
    assert load_config(TrainConfig, tmp_path / "config.yaml") == config
