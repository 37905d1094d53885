"""Orders, times and bubbles of pipeline schedules."""

from __future__ import annotations

import pytest

from megatron_codex.planning.schedule import Pass, PassTimes, stage_passes, timeline


@pytest.mark.parametrize(("stages", "chunks", "count"), [(1, 1, 3), (4, 1, 8), (4, 1, 2), (4, 2, 8), (2, 3, 4)])
def test_every_stage_runs_every_pass_once(stages: int, chunks: int, count: int) -> None:
    expected = {Pass(f, chunk, m) for f in (True, False) for chunk in range(chunks) for m in range(count)}
    for stage in range(stages):
        passes = stage_passes(stage, stages=stages, chunks=chunks, num_microbatches=count)
        assert len(passes) == len(expected) and set(passes) == expected


@pytest.mark.parametrize(("stages", "chunks", "count"), [(1, 1, 3), (4, 1, 8), (8, 1, 16), (4, 2, 8), (2, 3, 4)])
def test_the_bubble_of_equal_stages_is_the_formulas(stages: int, chunks: int, count: int) -> None:
    run = timeline([PassTimes(forward_s=1, backward_s=2)] * stages, chunks=chunks, num_microbatches=count)
    # arXiv 2104.04473: bubble over ideal time is (p - 1) / (v m).
    over_ideal = (stages - 1) / (chunks * count)
    assert run.bubble == pytest.approx(over_ideal / (1 + over_ideal))
    assert run.duration_s == pytest.approx(3 * chunks * count * (1 + over_ideal))


def test_a_slow_stage_sets_the_pace() -> None:
    times = [PassTimes(forward_s=1, backward_s=2), PassTimes(forward_s=2, backward_s=4)]
    run = timeline(times, chunks=1, num_microbatches=10)
    assert run.duration_s == pytest.approx(1 + 10 * 6 + 2)


def test_no_pass_starts_before_its_input_has_arrived() -> None:
    run = timeline([PassTimes(forward_s=1, backward_s=2)] * 3, chunks=1, num_microbatches=4, send_s=0.5)
    ended = {(stage, timed.run): timed.end_s for stage, passes in enumerate(run.stages) for timed in passes}
    for stage, passes in enumerate(run.stages):
        for timed in passes:
            neighbour = stage - 1 if timed.run.forward else stage + 1
            if 0 <= neighbour < 3:
                assert timed.start_s >= ended[neighbour, timed.run] + 0.5


@pytest.mark.parametrize(
    ("stage", "chunks", "count", "order"),
    [
        (0, 1, 5, "FFFFBFBBBB"),
        (1, 1, 4, "FFFBFBBB"),
        (3, 1, 3, "FBFBFB"),
        (3, 2, 4, "FFFFFBFBFBFBBBBB"),
    ],
    ids=["first", "second", "last", "last, interleaved"],
)
def test_the_order_of_a_stage_of_four(stage: int, chunks: int, count: int, order: str) -> None:
    # The first three as megatron-core 0.16.1 ran them; test_dry_run compares more of them with gloo ranks.
    passes = stage_passes(stage, stages=4, chunks=chunks, num_microbatches=count)
    assert "".join("F" if run.forward else "B" for run in passes) == order
