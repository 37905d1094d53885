"""What a time model must know of an accelerator and its links: a YAML file each (megatron_codex/planning/hardware)."""

from __future__ import annotations

from dataclasses import dataclass

from megatron_codex.errors import Fault, raise_faults

_SHARES = ("product_efficiency", "memory_efficiency", "link_efficiency", "usable_memory")


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """One accelerator, the node it stands in and the network between nodes. GB are 10^9 bytes, a TFLOP 10^12."""

    name: str
    """What reports call it."""
    source: str
    """Where the numbers are from."""
    memory_gb: float
    """Memory of one device, in GB."""
    bf16_tflops: float
    """Dense bf16 matrix products, in TFLOP/s."""
    fp32_tflops: float
    """fp32 matrix products without reduced-precision inputs, in TFLOP/s."""
    memory_gb_per_s: float
    """Reading and writing device memory, in GB/s."""
    devices_per_node: int
    """Devices that the fast link joins."""
    node_gb_per_s: float
    """Link between devices of a node, one direction, a device, in GB/s."""
    network_gb_per_s: float
    """Network between nodes, one direction, a device, in GB/s."""
    product_efficiency: float = 0.7
    """Share of the TFLOP/s that large matrix products reach. The default is an assumption (docs/planning.md)."""
    memory_efficiency: float = 0.8
    """Share of the memory's speed that simple operations reach. The default is an assumption."""
    link_efficiency: float = 0.8
    """Share of the links' speed that collectives reach. The default is an assumption."""
    usable_memory: float = 0.9
    """Share of the memory that tensors may fill; the rest is for the driver, the communication library and gaps
    between blocks. The default is an assumption."""
    launch_us: float = 4.0
    """Least time of one operation, in microseconds: what starting it costs. The default is an assumption."""
    collective_us: float = 20.0
    """Least time of one collective, in microseconds. The default is an assumption."""

    def __post_init__(self) -> None:
        amounts = ("memory_gb", "bf16_tflops", "fp32_tflops", "memory_gb_per_s", "node_gb_per_s", "network_gb_per_s")
        infinity = float("inf")
        faults = [
            Fault(field=name, value=getattr(self, name), rule="must be positive", remedy="see the data sheet")
            for name in amounts
            if not 0 < getattr(self, name) < infinity
        ]
        faults += [
            Fault(
                field=name, value=getattr(self, name), rule="must be in (0, 1]", remedy="leave it out for the default"
            )
            for name in _SHARES
            if not 0 < getattr(self, name) <= 1
        ]
        faults += [
            Fault(
                field=name, value=getattr(self, name), rule="must not be negative", remedy="0 leaves it out of account"
            )
            for name in ("launch_us", "collective_us")
            if not 0 <= getattr(self, name) < infinity
        ]
        if self.devices_per_node < 1:
            value, remedy = self.devices_per_node, "for example 8"
            faults.append(Fault(field="devices_per_node", value=value, rule="must be at least 1", remedy=remedy))
        raise_faults(faults)

    @property
    def usable_bytes(self) -> float:
        """Bytes that tensors may fill."""
        return self.memory_gb * 1e9 * self.usable_memory

    def peak_flops(self, precision: str) -> float:
        """FLOP/s of matrix products in a training precision ("fp32" or "bf16")."""
        return 1e12 * (self.bf16_tflops if precision == "bf16" else self.fp32_tflops)
