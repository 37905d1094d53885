"""The commands that can be launched: whose configuration each reads, and how several processes work on one.

In: a LaunchConfig. Out: the command's own configuration, checked before a job waits in the queue for a typing error;
and its arguments.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from megatron_codex.config.building_blocks import BuildingBlocksConfig
from megatron_codex.config.command_line import parse_command
from megatron_codex.config.contests import MineConfig
from megatron_codex.config.convert import ConvertConfig
from megatron_codex.config.corpus import CorpusConfig, MergeConfig, PreprocessConfig
from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.config.launch import LaunchConfig
from megatron_codex.config.problems import FilterConfig, TraceConfig
from megatron_codex.config.report import ReportConfig, RerankConfig
from megatron_codex.config.sampling import GradeDocstringsConfig, SamplingConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.config.yaml_text import parse_yaml
from megatron_codex.errors import Fault, raise_faults
from megatron_codex.launch.quoting import in_yaml

CHECKOUT = Path(__file__).resolve().parents[2]
"""The repository that this is read from."""

_PLACES = ("{run_dir}", "{chain_dir}")
_STAND_IN = "place-{}-of-a-directory"


@dataclass(frozen=True, kw_only=True)
class Command:
    """How a command of tools/ is launched."""

    config: type[Any]
    ranks: Literal["joined", "shares", "mpi", "one"]
    """What several processes of a job are to it. joined: ranks of torch.distributed; shares: none, but the jobs of an
    array share the work by --shard; mpi: ranks of its executor; one: nothing, it is one process."""
    takes_shards: bool = False
    """Whether the jobs of an array can share its work."""


COMMANDS: Mapping[str, Command] = {
    "train": Command(config=TrainConfig, ranks="joined"),
    "sample": Command(config=SamplingConfig, ranks="joined", takes_shards=True),
    "evaluate": Command(config=EvaluationConfig, ranks="shares", takes_shards=True),
    "preprocess_data": Command(config=PreprocessConfig, ranks="mpi", takes_shards=True),
    "build_corpus": Command(config=CorpusConfig, ranks="mpi"),
    "merge_datasets": Command(config=MergeConfig, ranks="one"),
    "generate_blocks": Command(config=BuildingBlocksConfig, ranks="one"),
    "mine_contests": Command(config=MineConfig, ranks="one"),
    "trace_ci": Command(config=TraceConfig, ranks="one"),
    "filter_problems": Command(config=FilterConfig, ranks="one"),
    "convert_checkpoint": Command(config=ConvertConfig, ranks="one"),
    "rerank": Command(config=RerankConfig, ranks="one"),
    "grade_docstrings": Command(config=GradeDocstringsConfig, ranks="one"),
    "report": Command(config=ReportConfig, ranks="one"),
}


def require_command(name: str) -> Command:
    """Raises: ConfigError when there is no such command to launch."""
    if name not in COMMANDS:
        rule = "is not a command that can be launched"
        raise_faults([Fault(field="command", value=name, rule=rule, remedy=f"give one of {', '.join(COMMANDS)}")])
    return COMMANDS[name]


def command_arguments(config: LaunchConfig, *, share: str | None = None) -> list[str]:
    """What stands after the tool's name. share: I/N of an array, put in by the caller (in a script, by bash)."""
    files = [word for path in config.command_config for word in ("--config", str(path))]
    places = {"{run_dir}": str(config.run_dir), "{chain_dir}": str(config.run_dir.parent)}
    arguments = [*files, *(_put_places(argument, places) for argument in config.arguments)]
    if config.command == "train":
        arguments.append(f"training.output_dir={in_yaml(str(config.run_dir))}")
    if share is not None:
        arguments += ["--shard", share]
    return arguments


def command_config(config: LaunchConfig) -> Any:
    """The configuration with which every process of the command will start.

    Raises: InputError or ConfigError for what the command would refuse, and for a layout that the nodes do not fit.
    """
    command = require_command(config.command)
    share = f"0/{config.array.tasks}" if config.array.tasks > 1 and command.takes_shards else None
    given = command_arguments(config, share=share)
    arguments = [
        str(configuration_file(config, word)) if before == "--config" else word
        for before, word in zip(["", *given], given, strict=False)
    ]
    if command.ranks != "joined":
        with _launched_as(1):
            return parse_command(command.config, arguments, program=f"{config.command}.py")
    with _launched_as(config.resources.num_tasks):
        return parse_command(command.config, arguments, program=f"{config.command}.py")


def has_watchdog(config: LaunchConfig) -> bool:
    """Whether a watchdog looks after the ranks: they must give signs of life."""
    return config.watchdog and config.command == "train"


def python_of(config: LaunchConfig) -> str:
    """Interpreter of the nodes."""
    return config.python or sys.executable


def project_of(config: LaunchConfig) -> Path:
    """This repository, as the nodes see it."""
    return config.project_dir or CHECKOUT


def configuration_file(config: LaunchConfig, path: Path | str) -> Path:
    """A configuration file as this machine sees it: the nodes' project_dir is taken to hold this checkout's."""
    there = project_of(config) / path
    return there if there.exists() else CHECKOUT / path


def _put_places(argument: str, places: Mapping[str, str]) -> str:
    """The argument with directories in place of their names; in section.key=value as YAML that reads as this path."""
    if not any(place in argument for place in _PLACES):
        return argument
    name, equals, value = argument.partition("=")
    if argument.startswith("-") or not equals or all(in_yaml(path) == path for path in places.values()):
        for place, path in places.items():
            argument = argument.replace(place, path)
        return argument
    stand_ins = {place: _STAND_IN.format(number) for number, place in enumerate(places)}
    for place, stand_in in stand_ins.items():
        value = value.replace(place, stand_in)
    paths = {stand_ins[place]: path for place, path in places.items()}
    return f"{name}={json.dumps(_replaced(parse_yaml(value), paths), ensure_ascii=False)}"


def _replaced(value: Any, paths: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for stand_in, path in paths.items():
            value = value.replace(stand_in, path)
        return value
    if isinstance(value, list):
        return [_replaced(item, paths) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item, paths) for key, item in value.items()}
    return value


@contextmanager
def _launched_as(num_ranks: int) -> Iterator[None]:
    """The environment of a first rank of so many: configurations read from it how many share the work."""
    launchers = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_", "OMPI_", "PMI_")
    before = dict(os.environ)
    for name in before:
        if name.startswith(launchers):
            del os.environ[name]
    if num_ranks > 1:
        os.environ |= {"RANK": "0", "WORLD_SIZE": str(num_ranks)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
