"""Random numbers of a step, as a function of seed, step and rank: there is no state to save or to lose on resume."""

from __future__ import annotations

import hashlib

from megatron_codex.parallel.groups import Layout
from megatron_codex.platform.megatron_core import model_parallel_cuda_manual_seed

RULE = "sha256('seed step pp_rank dp_rank'): a function of the step, no state"
"""How a checkpoint's manifest says where random numbers go on."""

_SEEDS = 2**31 - 2**16
"""megatron-core adds an offset for each tensor-parallel rank; the sum must stay a valid seed."""


def seed_step(seed: int, step: int, layout: Layout) -> None:
    """Seed what dropout draws in a step: equal on tensor-parallel ranks where they hold equal activations, different
    where they hold different heads, different on every pipeline and data-parallel rank."""
    text = f"{seed} {step} {layout.pp_rank} {layout.dp_rank}"
    digest = hashlib.sha256(text.encode()).digest()
    model_parallel_cuda_manual_seed(int.from_bytes(digest[:8], "little") % _SEEDS)
