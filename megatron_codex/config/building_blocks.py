"""Configuration of tools/generate_blocks.py: how many building-block problems and modules are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class BuildingBlocksConfig:
    """Generate problems of chained building blocks, and modules with the same functions for the base corpus."""

    output: Path
    """Folder to make, with one JSONL of problems a split and modules.jsonl."""
    family: Literal["codex_blocks", "paper_blocks"] = "codex_blocks"
    """codex_blocks: strings, lists and numbers, for training in miniature; paper_blocks: the 13 of the paper's
    appendix C."""
    num_train: int = 4000
    """Problems whose compositions may be trained on."""
    num_valid: int = 150
    """Problems to tune on; their compositions occur neither in train nor in the modules."""
    num_held_out: int = 150
    """Problems to report on; their compositions occur nowhere else."""
    num_mis_specified: int = 0
    """Problems of the train split whose docstring and tests disagree: what a filter should find."""
    chain_lengths: tuple[int, ...] = (1, 2, 3)
    """Operations of the first problem, the second, ..., and round again; repeat a length to weigh it."""
    measured_chain_lengths: tuple[int, ...] = ()
    """The same for valid and held_out; none: chain_lengths."""
    module_bytes: int = 0
    """Bytes of generated modules for the base corpus; 0 makes none."""
    seed: int = 1
    """Seed of everything drawn here."""

    def __post_init__(self) -> None:
        counts = ("num_train", "num_valid", "num_held_out", "num_mis_specified", "module_bytes")
        faults = [
            Fault(field=name, value=getattr(self, name), rule="must not be negative", remedy="0 makes none")
            for name in counts
            if getattr(self, name) < 0
        ]
        # Without chain_lengths there is nothing to chain; without the measured ones, chain_lengths serve.
        for name, least in (("chain_lengths", 0), ("measured_chain_lengths", 1)):
            lengths = getattr(self, name)
            if min(lengths, default=least) < 1:
                rule, remedy = "must be one or more lengths, each at least 1", "give for example 1 2 3"
                faults.append(Fault(field=name, value=list(lengths), rule=rule, remedy=remedy))
        raise_faults(faults)
