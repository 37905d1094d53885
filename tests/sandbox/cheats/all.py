"""Every family, by name."""

from __future__ import annotations

from tests.sandbox.cheats import endings, equality, exits, forging, reading, replacing, restorable
from tests.sandbox.cheats.family import Family

KINDS = (exits, equality, reading, replacing, forging, endings, restorable)
FAMILIES: dict[str, Family] = {name: family for kind in KINDS for name, family in kind.CHEATS.items()}
assert len(FAMILIES) == sum(len(kind.CHEATS) for kind in KINDS), "two families have one name"
