"""A run's metrics as an offline run of Weights & Biases, for those who compare their runs there.

In: the lines of metrics.jsonl. Out: OUTPUT/wandb/offline-run-*, which `wandb sync` uploads where there is a network.
Nothing is sent from here. The one module that imports wandb (extra `wandb`).
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

from megatron_codex.config.load import config_to_dict
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import InputError

_ID_LETTERS = 16


def require_wandb(project: str | None) -> None:
    """Raises: InputError when a project is given and wandb cannot be imported, before training has begun."""
    if project is None:
        return
    try:
        importlib.import_module("wandb")
    except ImportError as error:
        why = "" if isinstance(error, ModuleNotFoundError) and error.name == "wandb" else f", which fails: {error}"
        rule, remedy = f"needs the package wandb{why}", "pip install 'megatron-codex[wandb]', or leave it out"
        raise InputError("training.wandb_project", value=project, rule=rule, remedy=remedy) from error


def wandb_run(config: TrainConfig) -> WandbRun | None:
    """That of this process; None where no project is given."""
    training = config.training
    if training.wandb_project is None:
        return None
    return WandbRun(training.output_dir, project=training.wandb_project, config=config_to_dict(config))


class WandbRun:
    """One process's part of the run: a run that was stopped goes on under the same id, in a further offline folder."""

    def __init__(self, output_dir: Path, *, project: str, config: dict[str, Any]) -> None:
        """config: the resolved configuration, shown beside the curves."""
        import wandb

        self._run: Any = wandb.init(
            mode="offline",
            project=project,
            name=output_dir.name,
            id=hashlib.sha256(str(output_dir.absolute()).encode()).hexdigest()[:_ID_LETTERS],
            dir=str(output_dir),
            config=config,
            # What the process prints, the machine's load and the code are not asked for.
            settings=wandb.Settings(
                console="off", disable_git=True, disable_code=True, x_disable_stats=True, silent=True
            ),
        )

    def write(self, line: dict[str, Any]) -> None:
        """A step's numbers."""
        numbers = {name: value for name, value in line.items() if isinstance(value, (int, float)) and name != "step"}
        self._run.log(numbers, step=line["step"])

    def close(self) -> None:
        """Write what is still in memory."""
        self._run.finish()
