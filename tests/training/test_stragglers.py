"""A rank that computes longer than its peers is named; one that only waits for them is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.training.stragglers import stragglers
from tests.parallel.jobs import base_job, metrics, write_data
from tests.parallel.ranks import run_ranks


@pytest.mark.parametrize(
    ("seconds", "stages", "factor", "expected"),
    [
        pytest.param([1.0, 1.0, 2.5, 1.0], (0, 0, 0, 0), 2.0, [(2, 1.0)], id="one_of_four"),
        pytest.param([1.0, 1.0, 2.0, 1.0], (0, 0, 0, 0), 2.0, [], id="at_the_factor"),
        pytest.param([1.0, 3.0], (0, 0), 2.0, [(1, 1.0)], id="one_of_two"),
        pytest.param([1.0, 1.1, 3.0, 3.1], (0, 0, 1, 1), 2.0, [], id="a_stage_with_more_work"),
        pytest.param([1.0, 1.1, 3.0, 9.0], (0, 0, 1, 1), 2.0, [(3, 3.0)], id="within_its_stage"),
        pytest.param([1.0, 1.0, 5.0], (0, 1, 2), 2.0, [(2, 1.0)], id="stages_of_one_rank"),
        pytest.param([5.0], (0,), 2.0, [], id="alone"),
        pytest.param([1.0, 9.0], (0, 0), None, [], id="no_factor"),
    ],
)
def test_ranks_are_compared_with_peers_of_the_same_work(
    seconds: list[float], stages: tuple[int, ...], factor: float | None, expected: list[tuple[int, float]]
) -> None:
    assert stragglers(seconds, stages, factor) == expected


@pytest.mark.multirank
def test_a_slow_rank_is_in_the_metrics_and_the_one_that_waits_for_it_is_not(tmp_path: Path) -> None:
    write_data(tmp_path)
    training = {"output_dir": str(tmp_path / "run"), "train_iters": 6, "log_interval": 3, "eval_interval": 0}
    training["straggler_factor"] = 3.0
    job = base_job(tmp_path, training=training) | {
        "plant": {"kind": "slow", "rank": 1, "steps": [4, 5, 6], "seconds": 2.0}
    }
    run_ranks(2, [job], tmp_path / "ranks")
    lines = metrics(tmp_path / "run")
    assert ["slowest_rank" in line for line in lines] == [False, False, True, False, False, True]
    (found,) = lines[5]["stragglers"]
    assert found["rank"] == 1 and found["compute_s"] > 2.0 > found["peers_s"]
    assert lines[5]["step_time_s"] > 2.0 > lines[5]["compute_s"]
