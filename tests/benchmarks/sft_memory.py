"""Peak memory of a step of Codex-S with the rows that have no loss left out before the output layer, and without that.

    python tests/benchmarks/models.py memory [--dtypes bf16 fp32] [--rows 8]

The 17.6M shape on packed rows of 512 positions in one micro-batch, 70 % of which are prompt; the same step twice, each
way in a process of its own. Prints the process's peak of resident memory (the kernel's own, VmHWM), what of it the step
took over the process as it stood before, and the ratios. Losses are compared: they are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from sft_examples import TRUE_VOCAB, dataset, engine_of, examples

WAYS = ("every_row", "selected_rows")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", nargs="+", choices=("bf16", "fp32"), default=["bf16", "fp32"])
    parser.add_argument("--rows", type=int, default=8)
    arguments = parser.parse_args(argv)
    for dtype in arguments.dtypes:
        found = {}
        for way in WAYS:
            command = [sys.executable, __file__, way, dtype, str(arguments.rows)]
            process = subprocess.run(
                command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=True
            )
            found[way] = json.loads(process.stdout.splitlines()[-1])
        every, selected = (found[way] for way in WAYS)
        print(f"17.6M, {dtype}, {arguments.rows} x 512 positions, {selected['masked_share']:.0%} of them without loss")
        for name, each in found.items():
            print(
                f"  {name}: process {each['peak'] / 1e6:.0f} MB, step {each['step'] / 1e6:.0f} MB, loss {each['loss']}"
            )
        ratios = [selected[kind] / every[kind] for kind in ("peak", "step")]
        print(f"  selected / every: process {ratios[0]:.2f}, step {ratios[1]:.2f}")


def be_way(way: str, dtype: str, rows: str) -> None:
    """One process: two steps."""
    import torch

    from megatron_codex.model import gpt
    from megatron_codex.training.batches import run_batches
    from megatron_codex.training.step import train_step

    torch.set_num_threads(1)
    head_loss = gpt.head_loss
    size = int(rows)
    if way == "every_row":
        gpt.head_loss = lambda *args, **kwargs: head_loss(*args, **kwargs | {"loss_mask_BS": None})
    with engine_of(dtype, layout="packed", global_batch_size=size, micro_batch_size=size) as (config, ranks, engine):
        batches = run_batches(config, dataset(examples(256), layout="packed"), ranks)
        before = memory("VmRSS")
        for number in range(2):
            result = train_step(engine, batches, ranks, step=number, learning_rate=1e-4, vocab_size=TRUE_VOCAB)
        peak, masked = memory("VmHWM"), 1 - result.num_tokens / result.num_positions
        print(json.dumps({"peak": peak, "step": peak - before, "loss": result.loss, "masked_share": masked}))


def memory(name: str) -> int:
    """Of this process, in bytes: VmRSS, what is resident now, or VmHWM, the most that was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    be_way(*sys.argv[1:])
