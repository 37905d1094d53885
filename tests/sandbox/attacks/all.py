"""Every attack, by name."""

from __future__ import annotations

from tests.sandbox.attacks import files, kernel, processes, resources
from tests.sandbox.attacks.attack import Attack

_KINDS = (files, processes, kernel, resources)
ATTACKS: dict[str, Attack] = {name: attack for kind in _KINDS for name, attack in kind.ATTACKS.items()}
assert len(ATTACKS) == sum(len(kind.ATTACKS) for kind in _KINDS), "two attacks have one name"
