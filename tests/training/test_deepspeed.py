"""DeepSpeed's ZeRO trains as one rank of the first engine does, resumes bitwise, and compiles nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_codex.errors import InputError
from megatron_codex.model.weights import read_weights
from megatron_codex.platform import deepspeed as platform
from tests.parallel.jobs import NUM_HEADS, Job, losses, merge, metrics, prompted_job, write_data
from tests.parallel.ranks import ROOT, run_ranks

pytestmark = [
    pytest.mark.multirank,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed: the extra [deepspeed]"),
]

OFFLOAD = {"offload_optimizer": True}
TP2 = {"tensor_model_parallel_size": 2}
STAGES: dict[int, dict[str, dict[str, Any]]] = {
    2: {
        "zero_1": {"deepspeed": {"zero_stage": 1}, "training": {"micro_batch_size": 4}},
        "zero_2": {"deepspeed": {"zero_stage": 2}},
        "zero_3": {"deepspeed": {"zero_stage": 3}, "training": {"micro_batch_size": 1}},
        "zero_2_offload": {"deepspeed": {"zero_stage": 2, **OFFLOAD}},
        "zero_3_offload": {"deepspeed": {"zero_stage": 3, "offload_param": True, **OFFLOAD}},
    },
    4: {
        "tp2_zero_1": {"deepspeed": {"zero_stage": 1}, "parallel": TP2},
        "tp2_zero_3_recompute": {"deepspeed": {"zero_stage": 3}, "parallel": TP2 | {"recompute": "full"}},
    },
}
# ZeRO-1 in bf16 is another class of DeepSpeed's than the rest.
BF16 = {f"zero_{stage}_bf16": {"deepspeed": {"zero_stage": stage}} for stage in (1, 3)}
RESUMED = {"zero_3": STAGES[2]["zero_3"], "zero_1_bf16": BF16["zero_1_bf16"]}
STOPPED_AT = 3

LOSS_TOLERANCE = 1e-5
"""fp32 sums in another order, over five AdamW steps; measured: below 1e-6."""
WEIGHT_TOLERANCE = 5e-5
"""AdamW divides by the gradient's size, so a tiny one's rounding shows (tests/parallel/test_layouts.py)."""


def _job(directory: Path, name: str, sections: dict[str, Any], **training: Any) -> Job:
    job = merge(prompted_job(directory, model={"num_layers": 2}), sections)
    if "bf16" in name:
        training["precision"] = "bf16"
    job = merge(job, {"training": {"output_dir": str(directory / name)} | training})
    return job if name.startswith("one") else job | {"engine": "deepspeed"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs of one rank by the first engine, and of two and four ranks by DeepSpeed."""
    directory = tmp_path_factory.mktemp("deepspeed")
    write_data(directory)
    two = [_job(directory, name, sections) for name, sections in {**STAGES[2], **BF16}.items()]
    for name, sections in RESUMED.items():
        two.append(_job(directory, f"{name}_parts", sections, train_iters=STOPPED_AT))
        two.append(_job(directory, f"{name}_parts", sections))
    two.append(_job(directory, "zero_2_moved", STAGES[2]["zero_2"], train_iters=STOPPED_AT))
    four = [_job(directory, name, sections) for name, sections in STAGES[4].items()]
    one = [_job(directory, name, {}) for name in ("one", "one_bf16")]
    continued = _job(directory, "zero_2_moved", {}) | {"engine": "megatron"}
    with pytest.MonkeyPatch.context() as patch:
        _forbid_compiling(patch, directory / "extensions")
        run_ranks(2, two, directory / "two_ranks")
        run_ranks(4, four, directory / "four_ranks")
    run_ranks(1, [*one, continued], directory / "one_rank")
    yield directory


def _forbid_compiling(patch: pytest.MonkeyPatch, extensions: Path) -> None:
    """No compiler on the path, and the lock that a killed build leaves, at which torch's loader waits for ever."""
    (extensions / "deepspeed_shm_comm").mkdir(parents=True)
    (extensions / "deepspeed_shm_comm" / "lock").touch()
    patch.setenv("TORCH_EXTENSIONS_DIR", str(extensions))
    patch.setenv("PATH", str(Path(sys.executable).parent))
    patch.setenv("CXX", os.devnull)


@pytest.mark.parametrize("name", [*STAGES[2], *STAGES[4]])
def test_zero_trains_as_one_rank(runs: Path, name: str) -> None:
    for one, many in zip(metrics(runs / "one"), metrics(runs / name), strict=True):
        assert many["num_tokens"] == one["num_tokens"] > 0
        assert many["lr"] == one["lr"]
        assert many["loss"] == pytest.approx(one["loss"], abs=LOSS_TOLERANCE)
        assert many["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
        assert many.get("valid_loss") == pytest.approx(one.get("valid_loss"), abs=LOSS_TOLERANCE)
    weights, other = read_weights(runs / "one").tensors, read_weights(runs / name).tensors
    assert other.keys() == weights.keys()
    for tensor_name, tensor in weights.items():
        difference = (other[tensor_name] - tensor).abs()
        if tensor_name.endswith("linear_qkv.bias"):  # a key's bias has no gradient but rounding
            difference = difference.view(NUM_HEADS, 3, -1)[:, [0, 2]]
        assert difference.max().item() < WEIGHT_TOLERANCE, tensor_name


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_is_bitwise_the_whole_run(runs: Path, name: str) -> None:
    whole, parts = metrics(runs / name), metrics(runs / f"{name}_parts")
    for field in ("loss", "grad_norm", "lr", "num_tokens"):
        assert [line[field] for line in parts] == [line[field] for line in whole]
    expected, got = read_weights(runs / name).tensors, read_weights(runs / f"{name}_parts").tensors
    for tensor_name, tensor in expected.items():
        assert torch.equal(got[tensor_name], tensor), tensor_name


def test_the_first_engine_continues_a_run_of_deepspeed(runs: Path) -> None:
    assert losses(runs / "zero_2_moved") == pytest.approx(losses(runs / "one"), abs=LOSS_TOLERANCE)
    assert losses(runs / "zero_2_moved")[:STOPPED_AT] == losses(runs / "zero_2")[:STOPPED_AT]


@pytest.mark.parametrize("name", BF16)
def test_bf16_keeps_fp32_weights_and_stays_near_one_rank(runs: Path, name: str) -> None:
    """bf16 has 8 bits: 4e-3 relative in each product."""
    assert losses(runs / name) == pytest.approx(losses(runs / "one_bf16"), rel=1e-2)
    assert losses(runs / name) != losses(runs / "one")
    weight = read_weights(runs / name).tensors["decoder.layers.0.mlp.linear_fc1.weight"]
    assert not torch.equal(weight, weight.bfloat16().float())


def test_nothing_is_compiled_and_no_lock_is_waited_for(runs: Path) -> None:
    files = [path.relative_to(runs / "extensions") for path in (runs / "extensions").rglob("*") if path.is_file()]
    assert files == [Path("deepspeed_shm_comm/lock")]


def test_no_rank_speaks_of_what_a_user_cannot_change(runs: Path) -> None:
    logs = [*runs.glob("two_ranks/rank*.log"), *runs.glob("four_ranks/rank*.log")]
    assert len(logs) == 6
    for log in logs:
        lines = [line for line in log.read_text().splitlines() if line and "training:" not in line]
        assert lines == [], log


def test_the_command_trains_without_a_launcher(runs: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    }
    job = _job(runs, "plain", STAGES[2]["zero_2_offload"], train_iters=1, eval_interval=0)
    job |= {"task": "base", "data": {"data_prefix": str(runs / "data" / "code")}}
    (runs / "plain.yaml").write_text(json.dumps(job))
    command = [sys.executable, "tools/train.py", "--config", str(runs / "plain.yaml")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("base: 1 steps")


@pytest.mark.parametrize("found", [None, "0.1.0"], ids=["missing", "another_version"])
def test_a_missing_deepspeed_is_one_line(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    def version(name: str) -> str:
        if found is None:
            raise platform.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(platform, "version", version)
    with pytest.raises(InputError, match=r"engine: got 'deepspeed'; needs .*deepspeed==.*or engine=megatron") as caught:
        platform.require_deepspeed()
    assert "\n" not in str(caught.value)


def test_canary_deepspeed_is_the_pinned_version() -> None:
    platform.require_deepspeed()
