"""The families of building blocks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from megatron_codex.errors import InputError
from megatron_codex.problems.building_blocks.codex_blocks import CODEX_BLOCKS
from megatron_codex.problems.building_blocks.family import Family
from megatron_codex.problems.building_blocks.paper_blocks import PAPER_BLOCKS

FAMILIES: Mapping[str, Family] = {family.name: family for family in (CODEX_BLOCKS, PAPER_BLOCKS)}


def family_named(name: str) -> Family:
    """The family of this name. Raises InputError for an unknown one."""
    if name not in FAMILIES:
        raise InputError("family", value=name, rule="no such family", remedy=f"use one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
