"""Bounds of config fields, each fault with its rule: shared by the configs that have many of them."""

from __future__ import annotations

import math
from typing import Any

from megatron_codex.errors import Fault


def below(config: Any, least: int, *names: str) -> list[Fault]:
    """A fault for each of these fields that is smaller than `least` (None is not)."""
    values = {name: getattr(config, name) for name in names}
    rule, remedy = f"must be at least {least}", "give a larger number"
    return [
        Fault(field=name, value=value, rule=rule, remedy=remedy)
        for name, value in values.items()
        if value is not None and value < least
    ]


def not_positive(config: Any, *names: str) -> list[Fault]:
    """A fault for each of these fields that is not above 0 and finite."""
    values = {name: getattr(config, name) for name in names}
    rule, remedy = "must be above 0 and finite", "give a larger, finite number"
    return [
        Fault(field=name, value=value, rule=rule, remedy=remedy)
        for name, value in values.items()
        if not 0 < value < math.inf
    ]
