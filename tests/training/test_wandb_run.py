"""Metrics for Weights & Biases: offline, one id a run, each step's numbers; refused where wandb is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from megatron_codex.config.training_run import TrainingConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.training.metrics import MetricsWriter
from megatron_codex.training.wandb_run import WandbRun, require_wandb


class StandInRun:
    """Writes down what wandb would be told."""

    def __init__(self, **asked: Any) -> None:
        self.asked = asked
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = False

    def log(self, numbers: dict[str, float], *, step: int) -> None:
        self.logged.append((step, numbers))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[StandInRun]:
    """Runs that were begun with a stand-in for wandb, which is not installed where CI runs."""
    begun: list[StandInRun] = []

    def init(**asked: Any) -> StandInRun:
        begun.append(StandInRun(**asked))
        return begun[-1]

    module = ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    module.Settings = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return begun


def test_each_step_is_told_to_an_offline_run(tmp_path: Path, runs: list[StandInRun]) -> None:
    run = WandbRun(tmp_path / "base", project="codex", config={"task": "base"})
    with MetricsWriter(tmp_path, resumed_step=0, wandb_run=run) as writer:
        writer.write({"step": 1, "loss": 2.5, "grad_norm": None, "skipped": "loss 9"})
    (told,) = runs
    assert (told.asked["mode"], told.asked["project"], told.asked["name"]) == ("offline", "codex", "base")
    assert told.logged == [(1, {"loss": 2.5})]
    assert told.finished


def test_a_resumed_run_has_the_same_id(tmp_path: Path, runs: list[StandInRun]) -> None:
    for name in ("a", "a", "b"):
        WandbRun(tmp_path / name, project="codex", config={})
    ids = [run.asked["id"] for run in runs]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "needs the package wandb; pip"), ("raise ImportError('no protobuf')", "which fails: no protobuf; pip")],
    ids=["missing", "broken"],
)
def test_a_project_needs_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, said: str
) -> None:
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # whatever is installed
    if content is not None:
        (tmp_path / "wandb.py").write_text(content)
    require_wandb(None)
    with pytest.raises(InputError, match=r"training.wandb_project: got 'codex'; needs the package wandb") as caught:
        require_wandb("codex")
    assert said in str(caught.value)


@pytest.mark.parametrize("project", ["", "a/b", "a:b", "50%", "a\nb", "x" * 129])
def test_a_project_that_wandb_would_refuse_is_refused_at_once(tmp_path: Path, project: str) -> None:
    with pytest.raises(ConfigError, match="wandb_project: got"):
        TrainingConfig(output_dir=tmp_path, train_iters=1, global_batch_size=1, wandb_project=project)
    TrainingConfig(output_dir=tmp_path, train_iters=1, global_batch_size=1, wandb_project="größe 1, it's")


def test_the_real_package_writes_an_offline_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed (extra `wandb`)")
    program = f"""
from pathlib import Path
from megatron_codex.training.wandb_run import WandbRun
run = WandbRun(Path({str(tmp_path)!r}), project="codex", config={{}})
run.write({{"step": 1, "loss": 2.5}})
run.close()
"""
    # A process of its own: wandb's writer is done when the process that started it has ended, not when close returns.
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert b"2.5" in written.read_bytes()
