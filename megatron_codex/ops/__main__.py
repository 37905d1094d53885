"""`python -m megatron_codex.ops`: which program does each operation on this machine, and why.

In: the choice of model.kernels and a device. Out: a table. With --roofline, what the kernels of csrc/kernels would take
at best on a GPU, computed from a model's shape (ops/roofline.py).
"""

from __future__ import annotations

import argparse
from typing import get_args

import torch

from megatron_codex.config.model import ModelConfig
from megatron_codex.config.presets import PresetName
from megatron_codex.errors import run_command
from megatron_codex.ops.choice import active, device_here
from megatron_codex.ops.programs import Kernels, of_sampling, require_kernels
from megatron_codex.ops.roofline import H100, roofline_table

_LIBRARIES = {
    "transformer-impl": ("local", "transformer_engine"),
    "layer-norm-backend": ("kernels", "apex"),
    "optimizer-backend": ("torch", "flat_adam", "apex", "transformer_engine"),
}
"""As model.transformer_impl, model.layer_norm_backend and optimizer.backend: what each may be, the default first."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m megatron_codex.ops", description=__doc__)
    parser.add_argument("--kernels", choices=get_args(Kernels), default="auto", help="as model.kernels (default auto)")
    for name, libraries in _LIBRARIES.items():
        parser.add_argument(f"--{name}", choices=libraries, default=libraries[0], help=f"default {libraries[0]}")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a device")
    parser.add_argument(
        "--roofline",
        nargs="?",
        const="codex_12b",
        choices=get_args(PresetName),
        help="table of a model's kernels, computed (without a name: codex_12b)",
    )
    parser.add_argument("--tensor-model-parallel-size", type=int, default=8, help="of --roofline (default 8)")
    parser.add_argument("--micro-batch-size", type=int, default=1, help="samples, of --roofline (default 1)")
    arguments = parser.parse_args()
    if arguments.roofline:
        sizes = {
            "tensor_model_parallel_size": arguments.tensor_model_parallel_size,
            "micro_batch_size": arguments.micro_batch_size,
        }
        print(roofline_table(ModelConfig(preset=arguments.roofline), H100, **sizes))
        return
    device = arguments.device or device_here()
    require_kernels(arguments.kernels, device=device_here())
    print(f"model.kernels={arguments.kernels} on {device}, torch {torch.__version__}")
    chosen = {name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name in _LIBRARIES}
    found = active(arguments.kernels, device=device, **chosen)
    for each in (*found, *of_sampling(arguments.kernels, device=device)):
        print(f"  {each.operation:32} {each.program:18} {each.why}")


if __name__ == "__main__":
    run_command(main)
