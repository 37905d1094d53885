"""Commands that follow each other, as jobs that wait for each other; or, on this machine, one after the other.

In: a ChainConfig, whose stages are files of LaunchConfig's values. Out: a job for each stage that is not done, which
starts when those before it have ended well; when one fails for good, SLURM takes those after it out of the queue.
Calling it again goes on from where it stands. RUN/chain.json names the stages, for `launch.py status`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from megatron_codex.config.launch import ChainConfig, LaunchConfig
from megatron_codex.config.load import Tree, apply_override, build_config, merge_tree, read_yaml
from megatron_codex.errors import ConfigError, Fault, InputError, raise_faults
from megatron_codex.files import atomic_file
from megatron_codex.launch.local import RunRanks, commands_here, run_here
from megatron_codex.launch.queue import cancel_jobs
from megatron_codex.launch.script import render
from megatron_codex.launch.submit import Submitted, checked_work, submit, submitted_work
from megatron_codex.launch.work import Work

CHAIN = "chain.json"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage and the names of those that it waits for."""

    name: str
    work: Work
    after: tuple[str, ...]


def chain_stages(config: ChainConfig) -> list[Stage]:
    """All stages, checked, in order. Raises: ConfigError with the faults of all of them."""
    config = replace(config, run_dir=config.run_dir.absolute())
    launches, faults = [], []
    for path in config.stages:
        try:
            launches.append(_launch(config, path))
        except ConfigError as error:
            faults += [replace(fault, field=f"{error.source}: {fault.field}") for fault in error.faults]
    raise_faults(faults or _order_faults(launches))
    stages: dict[str, Stage] = {}
    for path, launch in zip(config.stages, launches, strict=True):
        after = launch.after if launch.after is not None else tuple(stages)[-1:]
        try:
            check = checked_work if config.local else submitted_work
            work = check(launch, after=[stages[name].work for name in after])
        except ConfigError as error:
            raise ConfigError(error.faults, f"{path}: {error.source}".removesuffix(": ")) from error
        stages[launch.job_name] = Stage(name=launch.job_name, work=work, after=after)
    return list(stages.values())


def submit_chain(config: ChainConfig) -> list[Submitted]:
    """Put every stage that is not done into the queue. When one is refused, those put in by this call are taken out."""
    stages = chain_stages(config)
    _write_chain(config.run_dir, stages)
    submitted: dict[str, Submitted] = {}
    try:
        for stage in stages:
            jobs = [job for name in stage.after if (job := submitted[name].job) is not None]
            submitted[stage.name] = submit(stage.work, after=jobs)
    except BaseException:
        cancel_jobs([each.job for each in submitted.values() if each.is_new and each.job is not None])
        raise
    return list(submitted.values())


def chain_shown(config: ChainConfig) -> str:
    """What would be started, nothing of which is: the scripts of all stages, or on this machine their commands."""
    works = [stage.work for stage in chain_stages(config)]
    if config.local:
        return "\n".join(line for work in works for line in commands_here(work))
    return "\n".join(render(work.config, work_key=work.key) for work in works).rstrip()


def run_chain_here(config: ChainConfig, run_ranks: RunRanks) -> int:
    """Run every stage that is not done on this machine; the exit code of the first that fails, or 0."""
    stages = chain_stages(config)
    _write_chain(config.run_dir, stages)
    for stage in stages:
        if code := run_here(stage.work, run_ranks):
            return code
    return 0


def stage_folders(run: Path) -> list[tuple[str, Path]]:
    """(name, run directory) of the stages of a chain; of a run alone, those in its launch folder."""
    if (run / CHAIN).is_file():
        return [(name, Path(folder)) for name, folder in json.loads((run / CHAIN).read_text())["stages"].items()]
    names = sorted(path.stem for path in (run / "launch").glob("*.yaml"))
    if not names:
        rule, remedy = "nothing was launched there: no launch/*.yaml and no chain.json", "name a run or a chain"
        raise InputError(str(run), rule=rule, remedy=remedy)
    return [(name, run) for name in names]


def _launch(config: ChainConfig, path: Path) -> LaunchConfig:
    tree: Tree = {}
    for source in (*config.shared, path):
        merge_tree(tree, read_yaml(source))
    for override in config.set:
        apply_override(tree, override)
    name: Any = tree.setdefault("name", path.stem)
    tree.setdefault("run_dir", str(config.run_dir / str(name)))
    return build_config(LaunchConfig, tree, source=str(path))


def _order_faults(launches: list[LaunchConfig]) -> list[Fault]:
    faults: list[Fault] = []
    before: list[str] = []
    for launch in launches:
        name = launch.job_name
        if name in before:
            rule, remedy = "two stages have this name", "give each a name of its own"
            faults.append(Fault(field="name", value=name, rule=rule, remedy=remedy))
        for other in launch.after or ():
            if other not in before:
                rule = f"is no stage before {name}; these are: {', '.join(before) or 'none'}"
                faults.append(Fault(field="after", value=other, rule=rule, remedy="name one of these"))
        before.append(name)
    return faults


def _write_chain(run_dir: Path, stages: list[Stage]) -> None:
    with atomic_file(run_dir.absolute() / CHAIN, "w") as handle:
        json.dump({"stages": {stage.name: str(stage.work.config.run_dir) for stage in stages}}, handle, indent=2)
