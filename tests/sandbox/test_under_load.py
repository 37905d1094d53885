"""A busy machine changes no verdict (under_load.py, in small)."""

from __future__ import annotations

from megatron_codex.sandbox.probe import KernelFeatures
from tests.sandbox.under_load import busy_loops, judge, mixture


def test_verdicts_are_the_same_beside_busy_loops(features: KernelFeatures) -> None:
    names, programs = mixture(10, seed=1, timeout_s=0.3)
    idle = judge(programs, timeout_s=0.3)
    with busy_loops(4):
        busy = judge(programs, timeout_s=0.3)
    assert dict(zip(enumerate(names), busy, strict=True)) == dict(zip(enumerate(names), idle, strict=True))
    assert {"passed", "wrong", "timeout"} <= set(idle) and "infra" not in idle
    of_limits = [verdict for name, verdict in zip(names, idle, strict=True) if name.startswith("uses")]
    assert of_limits == ["passed", "timeout"]
