"""Each rank measures its neighbours, whatever their number; a sum that comes out wrong names the pair."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.parallel.ranks import ROOT

pytestmark = pytest.mark.multirank

_RANK = """
import json, os, sys
import torch, torch.distributed as dist
from megatron_codex.parallel.neighbour_links import measure_links
if os.environ["RANK"] == os.environ.get("WRONG"):
    sum_up = dist.all_reduce
    def all_reduce(tensor, *args, **kwargs):
        sum_up(tensor, *args, **kwargs)
        if tensor.numel() > 1:
            tensor[7] += 1
    dist.all_reduce = all_reduce
print(json.dumps(measure_links(size_mb=0.1, timeout_s=60)))
"""


def _measure(num_ranks: int, **environment: str) -> list[dict[str, Any]]:
    store = torch._C._distributed_c10d.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(num_ranks)}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK], env=shared | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(num_ranks)
    ]
    try:
        return [json.loads(process.communicate(timeout=120)[0]) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.wait()


def test_an_odd_number_of_ranks_makes_a_chain_and_a_wrong_sum_names_the_pair() -> None:
    found = _measure(3, WRONG="2")
    assert [sorted(of_rank["gb_s"]) for of_rank in found] == [["1"], ["0", "2"], ["1"]]
    assert all(speed > 0 for of_rank in found for speed in of_rank["gb_s"].values())
    assert [list(of_rank["wrong"]) for of_rank in found] == [[], [], ["1"]]
    assert found[2]["wrong"]["1"] == "1 of 25000 sums are wrong"
