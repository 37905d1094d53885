"""csrc/common/on_cpu: the exchanges that CUDA defines, and a fault with its place for what it leaves undefined."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.ops.kernels import build
from tests.ops.kernels.calls import ORDERS, Call, KernelFault, Order, run

FAULTS = {
    "not_in_mask": (0, "does not name its own thread"),
    "ended": (1, "names a thread that has ended"),
    "half_at_barrier": (2, "a barrier that not all reach"),
    "two_barriers": (3, "a barrier that not all reach"),
    "barrier_after_end": (4, "a barrier that not all reach"),
    "never_met": (5, "a barrier that not all reach"),
    "beside_array": (7, "written outside, beside `array`"),
}


@pytest.fixture(scope="module")
def checks() -> Path:
    return build.compile_for_cpu(Path(__file__).with_name("on_cpu_checks.cu"))


@pytest.fixture(params=ORDERS.values(), ids=ORDERS)
def order(request: pytest.FixtureRequest) -> Order:
    return request.param


def _taken(kind: str, given: list[int], lane: int, source: int, width: int) -> int:
    """The CUDA C++ Programming Guide's definition, 10.22 "Warp Shuffle Functions"."""
    segment = lane // width * width
    at = {"idx": segment + source % width, "xor": lane ^ source, "down": lane + source, "up": lane - source}[kind]
    outside = at < segment if kind == "up" else at >= segment + width
    return given[lane if outside else at]


@pytest.mark.parametrize("width", [8, 32])
@pytest.mark.parametrize("source", [1, 5])
def test_shuffles_and_votes(checks: Path, order: Order, source: int, width: int) -> None:
    given = torch.randint(100, (64,), generator=torch.Generator().manual_seed(width), dtype=torch.int32)
    taken = torch.zeros(6, 64, dtype=torch.int32)
    run(checks, Call("shuffles", (given, taken, source, width, 64)), order=order)
    for warp in range(2):
        mine = given[warp * 32 : warp * 32 + 32].tolist()
        lanes = slice(warp * 32, warp * 32 + 32)
        for row, kind in enumerate(("idx", "xor", "down", "up")):
            assert taken[row, lanes].tolist() == [_taken(kind, mine, lane, source, width) for lane in range(32)]
        ballot = sum((value & 1) << lane for lane, value in enumerate(mine))
        assert [found & 0xFFFFFFFF for found in taken[4, lanes].tolist()] == [ballot] * 32
        assert set(taken[5, lanes].tolist()) == {any(v > source for v in mine) + 2 * all(v > source for v in mine)}


def test_a_part_of_a_warp_may_meet_while_the_rest_waits(checks: Path, order: Order) -> None:
    out = torch.zeros(32)
    run(checks, Call("halves_then_all", (out,)), order=order)
    assert out.tolist() == [16.0 * sum(range(16)) + sum(range(16, 32))] * 32


def test_atomics_of_several_blocks(checks: Path, order: Order) -> None:
    counters, total = torch.tensor([0, 0, 1000, 7], dtype=torch.int32), torch.zeros(1)
    run(checks, Call("atomics", (counters, total, 9)), order=order)
    assert counters.tolist() == [576, 575, 0, 8] and total.item() == 576.0


def test_shared_memory_is_a_blocks_own_and_begins_as_nan(checks: Path, order: Order) -> None:
    out = torch.zeros(64)
    run(checks, Call("shared_memory", (out, 1, 256, 64)), order=order)
    assert out.tolist() == [2.0 * (63 - thread) for thread in range(64)]
    run(checks, Call("shared_memory", (out, 0, 256, 64)), order=order)
    assert out.isnan().all(), "the former launch's values are gone"


def test_a_lane_that_is_absent_gives_nan(checks: Path, order: Order) -> None:
    out = torch.zeros(64)
    run(checks, Call("wrong", (out, 6)), order=order)
    assert out.view(2, 32)[:, :16].isnan().all()


@pytest.mark.parametrize("kind", FAULTS.values(), ids=FAULTS)
def test_what_cuda_leaves_undefined_is_a_fault_with_its_place(
    checks: Path, order: Order, kind: tuple[int, str]
) -> None:
    with pytest.raises(KernelFault, match=kind[1]) as caught:
        run(checks, Call("wrong", (torch.zeros(64), kind[0])), order=order)
    if "shared" not in str(caught.value):
        assert "on_cpu_checks.cu:" in str(caught.value) and "thread " in str(caught.value)
    out = torch.zeros(32)
    run(checks, Call("halves_then_all", (out,)), order=order)
    assert out[0] == 16.0 * sum(range(16)) + sum(range(16, 32)), "the next launch is whole"


@pytest.mark.parametrize(("num_bytes", "threads"), [(163 * 1024 + 1, 64), (256, 1025), (256, 0)], ids=str)
def test_a_launch_that_no_gpu_takes_is_refused(checks: Path, num_bytes: int, threads: int) -> None:
    with pytest.raises(KernelFault, match=r"dynamic shared memory|a block of"):
        run(checks, Call("shared_memory", (torch.zeros(2048), 1, num_bytes, threads)))
