"""What a launch is to do, by a key, and what of it is done.

In: a LaunchConfig and the command's own configuration. Out: the tasks that are left. RUN/launch/NAME.done/KEY/ has a
file for each task that is done; the key is of what was given to the command, so another configuration is other work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_codex.config.corpus import CorpusConfig, PreprocessConfig
from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.config.launch import LaunchConfig
from megatron_codex.config.load import read_yaml
from megatron_codex.config.report import ReportConfig
from megatron_codex.config.sampling import SamplingConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.launch.commands import command_arguments, configuration_file, project_of

_KEY_LETTERS = 16


@dataclass(frozen=True, kw_only=True)
class Work:
    """A launch and its key."""

    config: LaunchConfig
    """With absolute paths."""
    key: str
    outputs: tuple[Path, ...]
    """Files that are there when it is done, as far as they are known."""

    @property
    def folder(self) -> Path:
        """RUN/launch."""
        return self.config.run_dir / "launch"

    def file(self, suffix: str) -> Path:
        """RUN/launch/NAME.SUFFIX."""
        return self.folder / f"{self.config.job_name}.{suffix}"

    @property
    def done_folder(self) -> Path:
        """Holds a file for each task that is done."""
        return self.file("done") / self.key

    def tasks_left(self) -> list[int]:
        """Numbers of the tasks that are not done; all, where what they made is gone."""
        tasks = range(self.config.array.tasks)
        left = [task for task in tasks if not (self.done_folder / str(task)).exists()]
        return left if left or all(path.exists() for path in self.outputs) else list(tasks)

    def mark_done(self, task: int) -> None:
        """As the job's script does."""
        self.done_folder.mkdir(parents=True, exist_ok=True)
        (self.done_folder / str(task)).touch()


def log_file(folder: Path, name: str, *, job: str, tasks: int) -> Path:
    """Where a job writes what it prints, as launch/script.py has it; of an array, a pattern. folder: RUN/launch."""
    return folder / f"{name}-{job}{'_*' if tasks > 1 else ''}.out"


def work_of(config: LaunchConfig, own: Any, *, after: Sequence[str] = ()) -> Work:
    """own: the command's configuration. after: keys of the work that this one reads.

    The key is of what was given, not of defaults: a new version's further settings do not make done work other work.
    """
    given = [read_yaml(configuration_file(config, path)) for path in config.command_config]
    decides = [config.command, given, command_arguments(config), config.array.tasks, list(after)]
    text = json.dumps(decides, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:_KEY_LETTERS]
    outputs = tuple(project_of(config) / path for path in _outputs(own))
    return Work(config=config, key=key, outputs=outputs)


def _outputs(own: Any) -> list[Path]:
    if isinstance(own, TrainConfig):
        return [own.training.output_dir / "manifest.json"]
    if isinstance(own, (SamplingConfig, ReportConfig)):
        return [own.output]
    if isinstance(own, EvaluationConfig):
        return [own.results_file]
    if isinstance(own, PreprocessConfig):
        return [own.output_prefix.with_name(own.output_prefix.name + suffix) for suffix in (".bin", ".idx")]
    if isinstance(own, CorpusConfig):
        return [own.output / "manifest.json"]
    return []
