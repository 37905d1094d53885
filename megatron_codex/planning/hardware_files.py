"""Hardware by name: the YAML files shipped in planning/hardware, this machine's own, or a file of the user's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from megatron_codex.config.hardware import HardwareConfig
from megatron_codex.config.load import load_config
from megatron_codex.errors import InputError

SHIPPED = Path(__file__).parent / "hardware"
THIS_MACHINE = "this-machine"


def this_machine_path() -> Path:
    """Where tools/measure_hardware.py writes what it measured."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "megatron_codex" / "this-machine.yaml"


def hardware_names() -> list[str]:
    """The shipped names."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load_hardware(name: str, *, memory_gb: float | None = None) -> HardwareConfig:
    """The hardware of this name or file. memory_gb: in place of its own.

    Raises: InputError for an unknown name; ConfigError for faults of a file.
    """
    hardware = load_config(HardwareConfig, _path(name))
    return hardware if memory_gb is None else replace(hardware, memory_gb=memory_gb)


def _path(name: str) -> Path:
    if name in hardware_names():
        return SHIPPED / f"{name}.yaml"
    if name == THIS_MACHINE:
        path = this_machine_path()
        if not path.exists():
            remedy = "run tools/measure_hardware.py once"
            raise InputError("hardware", value=name, rule="this machine was not measured yet", remedy=remedy)
        return path
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    rule = "is not a known hardware"
    remedy = f"give {', '.join(hardware_names())}, {THIS_MACHINE} or a .yaml file"
    raise InputError("hardware", value=name, rule=rule, remedy=remedy)
