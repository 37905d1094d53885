"""Seconds of operations and collectives on a made-up device whose numbers are round."""

from __future__ import annotations

import pytest

from megatron_codex.config.hardware import HardwareConfig
from megatron_codex.planning.operations import Operation
from megatron_codex.planning.recording import Collective
from megatron_codex.planning.time_model import collective_s, operation_s

DEVICE = HardwareConfig(
    name="made up",
    source="no data sheet",
    memory_gb=1,
    bf16_tflops=100,
    fp32_tflops=10,
    memory_gb_per_s=1000,
    devices_per_node=4,
    node_gb_per_s=100,
    network_gb_per_s=10,
    product_efficiency=0.5,
    memory_efficiency=0.5,
    link_efficiency=0.5,
    launch_us=10,
    collective_us=0,
)


@pytest.mark.parametrize(
    ("operation", "precision", "seconds"),
    [
        pytest.param(Operation("product", 10**12, 10**12, 10**6), "bf16", 0.02, id="bound by work"),
        pytest.param(Operation("product", 10**12, 10**12, 10**6), "fp32", 0.2, id="in fp32"),
        pytest.param(Operation("memory", 0, 0, 10**9), "bf16", 2e-3, id="bound by memory"),
        pytest.param(Operation("memory", 0, 0, 8), "bf16", 1e-5, id="bound by its launch"),
        pytest.param(Operation("memory", 0, 0, 0), "bf16", 0.0, id="a view"),
    ],
)
def test_an_operation(operation: Operation, precision: str, seconds: float) -> None:
    assert operation_s(operation, DEVICE, precision=precision) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("operation", "ranks", "seconds"),
    [
        pytest.param("all-gather", (0, 1, 2, 3), 0.75 / 50, id="within a node"),
        pytest.param("all-reduce", (0, 1, 2, 3), 1.5 / 50, id="twice"),
        pytest.param("reduce-scatter", (0, 4, 8, 12), 0.75 / 5, id="between nodes"),
        pytest.param("all-gather", (3, 4), 0.5 / 5, id="one rank beyond the node"),
        pytest.param("send", (0, 1), 1 / 50, id="send"),
        pytest.param("receive", (0, 1), 0.0, id="receive, which is the sender's time"),
        pytest.param("all-reduce", (0,), 0.0, id="alone"),
    ],
)
def test_a_collective_of_a_gigabyte(operation: str, ranks: tuple[int, ...], seconds: float) -> None:
    assert collective_s(Collective("other", "data", operation, ranks, 10**9), DEVICE) == pytest.approx(seconds)
