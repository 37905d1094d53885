"""A project's suite as it will be run: the interpreter with its packages, the command, the variables.

In: a project, what was made for it. Out: what problems/traces.py starts in the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from megatron_codex.problems.projects.environment import Environment
from megatron_codex.problems.projects.test_commands import TestCommand
from megatron_codex.sandbox.project_run import PROJECT_IN_JAIL

if TYPE_CHECKING:
    from megatron_codex.problems.project import Project

_PROGRAMS = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What runs, and with what."""

    environment: Environment
    command: TestCommand

    def variables(self, project: Project) -> dict[str, str]:
        """The environment variables of the run, besides those that every run has."""
        roots = [PROJECT_IN_JAIL if root == "." else f"{PROJECT_IN_JAIL}/{root}" for root in project.import_roots]
        return {
            "PYTHONPATH": ":".join(roots),
            "PATH": f"{self.environment.python.parent}:{_PROGRAMS}",
            "PYTHONHASHSEED": "0",
            "TZ": "UTC",
            # hypothesis then draws the same examples in every run, and has no deadline that tracing would break.
            "CI": "true",
            "OMP_NUM_THREADS": "1",
        }
