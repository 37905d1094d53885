"""Measure this machine for the time model: matrix products, memory, launches, the link between two ranks.

In: nothing. Out: a HardwareConfig whose numbers are measured, so that its efficiencies are 1. A device is a GPU where
there is one (not run here: no GPU), else one CPU core, which is what a gloo rank of the tests has.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from megatron_codex.config.execution import available_cores
from megatron_codex.config.hardware import HardwareConfig

_SIZE = 2048
_BYTES = 1 << 28
_LINK_BYTES = 1 << 25
_REPEATS = 5


def measure_hardware() -> HardwareConfig:
    """Measure; some ten seconds. The best of several tries each: a busy machine looks slower than it is."""
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    if not cuda:
        torch.set_num_threads(1)
    devices = torch.cuda.device_count() if cuda else available_cores()
    memory = torch.cuda.get_device_properties(0).total_memory if cuda else _memory_bytes() / devices
    link, alone = _link(device) if devices > 1 else (_copy_speed(device), 0.0)
    return HardwareConfig(
        name=torch.cuda.get_device_name() if cuda else f"a core of {platform.machine()}",
        source=f"measured with torch {torch.__version__}",
        memory_gb=round(memory / 1e9, 3),
        bf16_tflops=_product_speed(torch.bfloat16, device) / 1e12,
        fp32_tflops=_product_speed(torch.float32, device) / 1e12,
        memory_gb_per_s=_copy_speed(device) / 1e9,
        devices_per_node=devices,
        node_gb_per_s=link / 1e9,
        network_gb_per_s=link / 1e9,
        product_efficiency=1.0,
        memory_efficiency=1.0,
        link_efficiency=1.0,
        launch_us=1e6 * _launch_s(device),
        collective_us=1e6 * alone,
    )


def _product_speed(dtype: torch.dtype, device: str) -> float:
    left, right = (torch.randn(_SIZE, _SIZE, device=device).to(dtype) for _ in range(2))
    return 2 * _SIZE**3 / _best_s(lambda: left @ right, device)


def _copy_speed(device: str) -> float:
    source = torch.ones(_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return 2 * _BYTES / _best_s(lambda: target.copy_(source), device)


def _launch_s(device: str) -> float:
    small = torch.ones(8, device=device)
    calls = 1000

    def many() -> None:
        for _ in range(calls):
            small.add_(1)

    return _best_s(many, device) / calls


def _best_s(work: Callable[[], object], device: str) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def _link(device: str) -> tuple[float, float]:
    """Bytes a second that a rank sends in a ring of two, and seconds of a collective of nothing much."""
    with tempfile.TemporaryDirectory() as directory:
        spawn(_link_rank, args=(directory, device), nprocs=2)
        speed, alone = (float(word) for word in Path(directory, "measured").read_text().split())
    return speed, alone


def _link_rank(rank: int, directory: str, device: str) -> None:
    if device == "cuda":
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{directory}/store", rank=rank, world_size=2)
    large, small = torch.ones(_LINK_BYTES // 4, device=device), torch.ones(1, device=device)
    for tensor in (large, small):
        dist.all_reduce(tensor)
    seconds, alone = (_best_s(partial(dist.all_reduce, tensor), device) for tensor in (large, small))
    dist.destroy_process_group()
    if rank == 0:  # an all-reduce over two ranks sends the tensor once
        Path(directory, "measured").write_text(f"{_LINK_BYTES / seconds} {alone}")


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
