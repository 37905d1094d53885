"""On a real SLURM: a rank is killed, the job goes back into the queue by itself, and ends with the undisturbed weights.

The other events are done by tests/launch/kill_matrix.py, by hand.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.launch.cluster_run import ClusterRun
from tests.parallel.jobs import write_data
from tests.slurm_cluster import SlurmCluster
from tests.training.kill_at_random import difference

STEPS = 80


@pytest.mark.slurm
@pytest.mark.slow
@pytest.mark.multirank
def test_a_job_whose_rank_is_killed_starts_again_and_ends_with_the_same_weights(
    slurm_cluster: SlurmCluster, tmp_path: Path
) -> None:
    write_data(tmp_path)
    whole = ClusterRun(data=tmp_path, output=tmp_path / "whole", steps=STEPS)
    killed = ClusterRun(data=tmp_path, output=tmp_path / "killed", steps=STEPS)
    killed.submit()
    beat = killed.wait_for_step(STEPS // 2)
    os.kill(beat.pid, signal.SIGKILL)
    assert killed.wait_for_event("requeued")[5].startswith("lost ranks (rank 1 on node2 was the first to end")
    whole.submit()
    killed.wait_for_event("done")
    whole.wait_for_event("done")
    assert killed.events() == ["started", "requeued", "started", "done"]
    assert killed.resumed_at() == [25]
    assert difference(whole.output, killed.output) is None
