"""Cross entropy of logits on this CPU, forward and backward, beside torch's, interleaved: prints ratios.

    python tests/benchmarks/cross_entropy.py [--rows 2048] [--columns 50304] [--dtypes fp32 bf16] [--rounds 7]
                                              [--threads 1]

All sides get the same logits and labels and make the mean loss and its gradient; ours (ops/rows.py) overwrites the
logits with it, torch's F.cross_entropy makes new tensors. ours: at once, as a rank with the whole vocabulary does;
ours_in_two_passes: forward, then backward, as tensor-parallel ranks must; torch: its tensors are taken anew from the
system in each step, as in any plain process; torch_kept_memory: torch in a process whose freed memory is kept
(platform/memory.py), as in our own training. Logits are set anew before each step, outside the time. bf16: torch
computes on fp32 copies, as training loops do. Each side tells its loss and the sum of the gradient's magnitudes, which
must agree. Timings are no tests: run this by hand, alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from typing import Any

from interleaved import Found, interleave, serve, spread

SIDES = ("ours", "ours_in_two_passes", "torch", "torch_kept_memory")
WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--columns", type=int, default=50_304)
    parser.add_argument("--dtypes", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        be_side(*arguments.side, shape=(arguments.rows, arguments.columns))
        return
    for dtype in arguments.dtypes:
        compare(dtype, arguments)


def compare(dtype: str, arguments: Any) -> None:
    """One dtype: all sides in turn, then the medians and the ratios of each round."""
    size = ["--rows", str(arguments.rows), "--columns", str(arguments.columns)]
    commands = {name: [sys.executable, __file__, *size, "--side", name, dtype] for name in SIDES}
    found = interleave(commands, rounds=arguments.rounds, warm_up=WARM_UP, threads=arguments.threads)
    print(f"[{arguments.rows}, {arguments.columns}] {dtype}, {arguments.threads} threads, {arguments.rounds} rounds")
    for name in SIDES:
        wall, cpu = (statistics.median(step[kind] for step in found[name]) for kind in ("seconds", "processor"))
        last = found[name][-1]
        print(f"  {name}: {1e3 * wall:.1f} ms, {1e3 * cpu:.1f} ms of processor, loss {last['loss']:.5f}", end="")
        print(f", sum of |gradient| {last['magnitude']:.5f}")
    for name in SIDES[1:]:
        for kind, words in (("seconds", "wall time"), ("processor", "processor time")):
            ratios = [theirs[kind] / mine[kind] for theirs, mine in zip(found[name], found["ours"], strict=True)]
            print(f"  {name}: its {words} / ours {spread(ratios)}", flush=True)


def be_side(name: str, dtype: str, *, shape: tuple[int, int]) -> None:
    """One side: a step for each line, until an empty one."""
    import torch

    from megatron_codex.platform.memory import keep_freed_memory

    if name != "torch":
        keep_freed_memory()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randn(shape, generator=draw).mul_(3).to({"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])
    labels = torch.randint(0, shape[1], shape[:1], generator=draw)
    logits = drawn.clone()
    make = {"ours": ours, "ours_in_two_passes": ours_in_two_passes}.get(name, torchs)

    def step() -> Found:
        logits.copy_(drawn)
        started, used = time.perf_counter(), time.process_time()
        loss, gradient = make(logits, labels)
        found = {"seconds": time.perf_counter() - started, "processor": time.process_time() - used}
        return found | {"loss": float(loss), "magnitude": float(gradient.float().abs().sum())}

    serve(step)


def ours(logits: Any, labels: Any) -> tuple[Any, Any]:
    import torch

    from megatron_codex.ops import rows

    gradients = torch.full((len(logits),), 1 / len(logits))
    given = {"true_columns": logits.shape[1], "labels_N": labels, "gradients_N": gradients}
    largest, (sums, at_labels) = rows.cross_entropy(logits, **given)
    return (largest + sums.log() - at_labels).mean(), logits


def ours_in_two_passes(logits: Any, labels: Any) -> tuple[Any, Any]:
    """The parts of ops/linear_cross_entropy.py that are not matrix products."""
    import torch

    from megatron_codex.ops import rows

    largest, sums = rows.row_statistics(logits)
    log_sums = largest + sums.log()
    loss = (log_sums - logits.gather(1, labels[:, None])[:, 0].float()).mean()
    gradients = torch.full_like(log_sums, 1 / len(logits))
    rows.cross_entropy_gradient(
        logits, true_columns=logits.shape[1], labels_N=labels, log_sums_N=log_sums, gradients_N=gradients
    )
    return loss, logits


def torchs(logits: Any, labels: Any) -> tuple[Any, Any]:
    import torch
    import torch.nn.functional as F

    leaf = logits.detach().requires_grad_()
    loss = F.cross_entropy(leaf.float(), labels)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


if __name__ == "__main__":
    main()
