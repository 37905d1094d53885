"""A dry run says what real gloo ranks then hold, send and do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from megatron_codex.config.load import build_config
from megatron_codex.config.training import TrainConfig
from megatron_codex.planning import dry_run as dry_run_module
from megatron_codex.planning.dry_run import RankRecord, dry_run, dry_runs
from megatron_codex.planning.schedule import stage_passes
from tests.parallel.jobs import merge
from tests.planning.ranks import LAYOUTS, TESTED, by_group, job, measure

pytestmark = pytest.mark.multirank

MEMORY_TOLERANCE = 0.05
"""Asked of the model. Measured: below 0.01; a reduction that a gloo thread has not let go of yet is the rest."""


def _config(tree: dict[str, Any]) -> TrainConfig:
    return build_config(TrainConfig, tree)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return measure(TESTED, tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def predicted() -> dict[str, list[RankRecord]]:
    found = {}
    for name in TESTED:
        world_size = LAYOUTS[name][0]
        found[name] = dry_runs(_config(job(name)), [0, world_size - 1], world_size=world_size)
    return found


@pytest.fixture(params=TESTED)
def pairs(
    request: pytest.FixtureRequest,
    predicted: dict[str, list[RankRecord]],
    measured: dict[str, list[dict[str, Any]]],
) -> Iterator[list[tuple[RankRecord, dict[str, Any]]]]:
    """A layout's first and last rank: what was predicted of it, and what it measured."""
    name = request.param
    yield [(record, measured[name][record.rank]) for record in predicted[name]]


def test_peak_memory(pairs: list[tuple[RankRecord, dict[str, Any]]]) -> None:
    for record, real in pairs:
        assert record.peak_total_bytes == pytest.approx(real["recorded_bytes"], rel=MEMORY_TOLERANCE)
        # Torch's allocator, asked by other means, has handed out that much at least: nothing is missed.
        assert real["allocated_bytes"] >= 0.99 * real["recorded_bytes"]


def test_weights_gradients_and_optimizer_state_to_the_byte(pairs: list[tuple[RankRecord, dict[str, Any]]]) -> None:
    for record, real in pairs:
        for kind in ("weights", "gradients", "optimizer"):
            assert record.static_bytes[kind] == real["static_bytes"].get(kind, 0) or kind == "optimizer", kind
        # Adam counts its steps in small tensors, which a dry run keeps real and does not count.
        assert record.static_bytes["optimizer"] == pytest.approx(real["static_bytes"]["optimizer"], abs=4096)


def test_communication_call_by_call(pairs: list[tuple[RankRecord, dict[str, Any]]]) -> None:
    for record, real in pairs:
        counted = by_group(record.collectives)
        calls = sorted([c.group, c.operation, list(c.ranks), c.tensor_bytes, n] for c, n in counted.items())
        assert calls == real["collectives"]


def test_the_schedule_is_megatron_cores(pairs: list[tuple[RankRecord, dict[str, Any]]], request: Any) -> None:
    parallel = _config(job(request.node.callspec.params["pairs"])).parallel
    for record, real in pairs:
        passes = stage_passes(
            record.stage,
            stages=parallel.pipeline_model_parallel_size,
            chunks=parallel.num_chunks,
            num_microbatches=record.num_microbatches,
        )
        assert "".join("F" if run.forward else "B" for run in passes) == real["order"]


@pytest.mark.parametrize("name", ["pp2", "pp2_interleaved_full"])
def test_few_micro_batches_tell_of_many(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world_size = LAYOUTS[name][0]
    config = _config(merge(job(name), {"training": {"global_batch_size": 16}}))
    few = dry_run(config, rank=0, world_size=world_size)
    assert few.num_recorded_microbatches < few.num_microbatches == 8
    monkeypatch.setattr(dry_run_module, "_recorded_microbatches", lambda config, **counts: (2, 8))
    every = dry_run(config, rank=0, world_size=world_size)
    assert few.collectives == every.collectives
    assert few.peak_bytes == every.peak_bytes
    assert _flops(few) == _flops(every)


def test_any_rank_of_a_large_run() -> None:
    parallel = {"tensor_model_parallel_size": 4, "pipeline_model_parallel_size": 2, "use_distributed_optimizer": True}
    tree = merge(job("pp2"), {"parallel": parallel, "training": {"global_batch_size": 512}})
    record = dry_run(_config(tree), rank=511, world_size=512)
    assert (record.rank, record.stage, record.num_microbatches) == (511, 1, 4)
    groups = {collective.group: collective.ranks for collective in record.collectives}
    assert groups["tensor"] == (508, 509, 510, 511)
    assert groups["data"] == tuple(range(259, 512, 4))
    assert groups["pipeline"] == (255, 511)
    # Counted by hand, for the recorder's own account is on both sides elsewhere. Two layers with two sums forward and
    # two backward each, one for the output layer's input; four micro-batches; fp32 activations of [256, 2, 256].
    calls = {(c.group, c.operation, c.tensor_bytes): n for c, n in by_group(record.collectives).items()}
    activations = 256 * 2 * 256 * 4
    assert calls["tensor", "all-reduce", activations] == 4 * (2 * 4 + 1)
    assert calls["pipeline", "send", activations] == calls["pipeline", "receive", activations] == 4
    reduced = sum(n * size for (_, operation, size), n in calls.items() if operation == "reduce-scatter")
    gathered = sum(n * size for (_, operation, size), n in calls.items() if operation == "all-gather")
    # Buffers are padded so that 64 ranks share them evenly.
    assert reduced == gathered == pytest.approx(4 * record.num_parameters, rel=0.01)


def test_operations_are_those_of_the_formula() -> None:
    tree = job("pp2")
    tree["parallel"] = {}
    record = dry_run(_config(tree), rank=0, world_size=2)
    layers, width, length, rows, batch = 4, 256, 256, 2176, 2  # rows: 2,073 padded to a multiple of 128
    forward = 2 * batch * length * (12 * layers * width**2 + rows * width) + 4 * layers * batch * length**2 * width
    assert _flops(record) == record.num_microbatches * 3 * forward


def _flops(record: RankRecord) -> int:
    return sum(count * operation.flops for (_, operation), count in record.operations.items())
