#!/usr/bin/env python3
"""Measure this machine for tools/plan.py: `--hardware this-machine` then stands for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.load import save_config
from megatron_codex.errors import run_command
from megatron_codex.planning.hardware_files import this_machine_path


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """Where the measurements go."""

    output: Path = field(default_factory=this_machine_path)
    """YAML file to write; the default is what `--hardware this-machine` reads."""


def main() -> None:
    """Measure, write, and say where."""
    config = parse_command(MeasureConfig, description=__doc__ or "")
    from megatron_codex.planning.measure import measure_hardware  # after the arguments: torch takes seconds to import

    hardware = measure_hardware()
    config.output.parent.mkdir(parents=True, exist_ok=True)
    save_config(hardware, config.output)
    print(
        f"{config.output}: {hardware.name}, {hardware.memory_gb:.1f} GB, "
        f"{1e3 * hardware.fp32_tflops:.0f} GFLOP/s fp32, {1e3 * hardware.bf16_tflops:.0f} bf16, "
        f"memory {hardware.memory_gb_per_s:.1f} GB/s, link {hardware.node_gb_per_s:.2f} GB/s"
    )


if __name__ == "__main__":
    run_command(main)
