"""What the jobs of a run or a chain are doing, for people: from the queue, the jobs' history and the run's metrics.

In: a directory. Out: a row for each stage. Neither accounting (sacct) nor SLURM is needed: what ran on this machine
leaves the same files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from megatron_codex.config.launch import LaunchConfig, StatusConfig
from megatron_codex.config.load import load_config, read_yaml
from megatron_codex.launch.chain import stage_folders
from megatron_codex.launch.one_at_a_time import runs_here
from megatron_codex.launch.queue import QueuedTask, queued_tasks
from megatron_codex.launch.submit import read_jobs
from megatron_codex.launch.work import log_file

_METRICS_BYTES = 1 << 16
"""Of the end of metrics.jsonl: some hundred steps, whose mean is the speed."""
_ENDS = ("done", "failed", "stopped")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands."""

    step: int
    train_iters: int | None
    loss: float | None
    tokens_per_s: float
    """Mean of the last steps."""
    left_s: float | None
    """Seconds to the last step, at the last steps' pace, without time in the queue."""


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """A row."""

    name: str
    command: str
    job: str | None
    state: str
    tasks_done: int
    num_tasks: int
    restarts: int
    detail: str
    """Why it waits, where it runs, how it ended."""
    progress: Progress | None = None


def run_status(config: StatusConfig) -> list[StageStatus]:
    """A row for each stage of a chain, or for a run. Raises: InputError when nothing was launched there."""
    stages = stage_folders(config.run)
    submitted = any((folder / "launch" / f"{name}.jobs").exists() for name, folder in stages)
    queued = (queued_tasks() or []) if submitted else []  # of what ran on this machine, SLURM need not answer
    return [_stage(name, folder, queued) for name, folder in stages]


def status_shown(config: StatusConfig) -> str:
    """The rows as people or as programs want them."""
    rows = run_status(config)
    return status_json(rows) if config.json else status_text(rows)


def status_text(rows: Sequence[StageStatus]) -> str:
    """The rows as a table."""
    lines = [f"{'stage':16} {'job':>8} {'state':11} {'tasks':>7} {'restarts':>8}  what"]
    for row in rows:
        tasks = f"{row.tasks_done}/{row.num_tasks}"
        what = "; ".join(part for part in (_in_words(row.progress), row.detail) if part)
        lines.append(f"{row.name:16} {row.job or '-':>8} {row.state:11} {tasks:>7} {row.restarts:>8}  {what}".rstrip())
    return "\n".join(lines)


def status_json(rows: Sequence[StageStatus]) -> str:
    """The rows as one JSON object."""
    return json.dumps({"stages": [asdict(row) for row in rows]})


def _stage(name: str, run_dir: Path, queued: Sequence[QueuedTask]) -> StageStatus:
    folder = run_dir / "launch"
    if not (folder / f"{name}.yaml").exists():
        return StageStatus(
            name=name, command="", job=None, state="not started", tasks_done=0, num_tasks=0, restarts=0, detail=""
        )
    config = load_config(LaunchConfig, folder / f"{name}.yaml")
    jobs = read_jobs(folder / f"{name}.jobs")
    job = jobs[-1]["job"] if jobs else None
    events = _latest(_history(folder / f"{name}.history"), job)
    here = [task for task in queued if task.job == job]
    done = _tasks_done(folder / f"{name}.done")
    who = runs_here(folder / f"{name}.running")
    state, detail = ("running", f"on {who}") if who else _state(here, events, all_done=done >= config.array.tasks)
    if job is not None and state in ("failed", "lost"):
        detail += f"; log {log_file(folder, name, job=job, tasks=config.array.tasks)}"
    return StageStatus(
        name=name,
        command=config.command,
        job=job,
        state=state,
        tasks_done=done,
        num_tasks=config.array.tasks,
        restarts=max((int(event["restarts"]) for event in events), default=0),
        detail=detail,
        progress=_progress(run_dir) if config.command == "train" else None,
    )


def _tasks_done(folder: Path) -> int:
    """Of the newest work: earlier ones had other values."""
    works = sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
    return len(list(works[-1].iterdir())) if works else 0


def _latest(events: Sequence[dict[str, str]], job: str | None) -> Sequence[dict[str, str]]:
    """Events of the newest job, or launch on this machine: what became of an earlier one is not what became of this."""
    if events and events[-1]["job"] == "local":
        return events[-1:]  # one task after the other, up to the first that fails
    # The jobs of an array have numbers of their own, above the array's.
    return [event for event in events if job and event["job"].isdecimal() and int(event["job"]) >= int(job)]


def _state(here: Sequence[QueuedTask], events: Sequence[dict[str, str]], *, all_done: bool) -> tuple[str, str]:
    running = [task for task in here if task.state not in ("PENDING", "REQUEUED")]
    if running:
        nodes = ",".join(dict.fromkeys(task.nodes for task in running if task.nodes))
        return "running", f"on {nodes}, {running[0].left} to the time limit"
    last = events[-1] if events else None
    if here:
        again = f"; before: {last['detail']}" if last and last["event"] == "requeued" else ""
        return "waiting", here[0].reason + again
    if all_done:
        return "done", ""
    if last is None:
        return "gone", "left the queue before it started: a job that it waited for has failed, or scancel"
    if last["event"] in _ENDS:
        unsound = [event for event in events if event["event"] == "failed"]
        worst = unsound[-1] if unsound else last
        return ("failed" if unsound else "stopped"), worst["detail"]
    return "lost", f"{last['event']} at {last['time']}, and is no longer in the queue"


def _history(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    names = ("time", "job", "task", "restarts", "event", "detail")
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]


def _progress(run_dir: Path) -> Progress | None:
    lines = _last_metrics(run_dir / "metrics.jsonl")
    if not lines:
        return None
    seconds = sum(line["step_time_s"] for line in lines)
    train_iters = None
    if (run_dir / "config.yaml").is_file():
        train_iters = int(read_yaml(run_dir / "config.yaml")["training"]["train_iters"])
    last = lines[-1]
    left = None if train_iters is None else max(0, train_iters - last["step"]) * seconds / len(lines)
    return Progress(
        step=last["step"],
        train_iters=train_iters,
        loss=last["loss"],
        tokens_per_s=sum(line["num_tokens"] for line in lines) / seconds if seconds else 0.0,
        left_s=left,
    )


def _last_metrics(path: Path) -> list[dict[str, Any]]:
    """Whole lines of the file's end; training may be writing the next one."""
    if not path.exists():
        return []
    with path.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - _METRICS_BYTES))
        text = handle.read()
    whole = text.splitlines(keepends=True)[1 if size > _METRICS_BYTES else 0 :]
    lines = [json.loads(line) for line in whole if line.endswith(b"\n")]
    return [line for line in lines if "step_time_s" in line]


def _in_words(progress: Progress | None) -> str:
    if progress is None:
        return ""
    of = "" if progress.train_iters is None else f"/{progress.train_iters}"
    loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
    left = "" if not progress.left_s else f", {_duration(progress.left_s)} left"
    return f"step {progress.step}{of}{loss}, {progress.tokens_per_s:.0f} tokens/s{left}"


def _duration(seconds: float) -> str:
    """Rounded to what a person plans with.

    >>> _duration(59), _duration(3600 * 30)
    ('1 min', '1 d 6 h')
    """
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    if hours < 24:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
