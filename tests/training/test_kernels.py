"""model.kernels and optimizer.backend change programs, not results: losses of runs beside each other, and
resumption."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_codex.config.optimizer import OptimizerConfig
from megatron_codex.model.checkpoint_files import step_directories
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from megatron_codex.training.flat_adam import FlatAdam
from tests.parallel.jobs import Job, base_job, losses, merge, write_data
from tests.parallel.ranks import run_ranks

pytestmark = pytest.mark.multirank

STEPS = 20
FLAT: dict[str, Any] = {"optimizer": {"backend": "flat_adam"}}
SHARED = {"use_distributed_optimizer": True, "overlap_grad_reduce": True, "overlap_param_gather": True}
BF16 = {"training": {"precision": "bf16"}}


def _job(directory: Path, name: str, *sections: dict[str, Any], train_iters: int = STEPS) -> Job:
    training = {"output_dir": str(directory / name), "train_iters": train_iters, "eval_interval": 0}
    job = base_job(directory, training=training, optimizer={"lr_decay_iters": STEPS})
    for section in sections:
        job = merge(job, section)
    return job


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On two ranks: the choices beside each other, in fp32 with two copies and in bf16 with a shared optimizer."""
    directory = tmp_path_factory.mktemp("kernels")
    write_data(directory)
    shared: dict[str, Any] = {"parallel": SHARED}
    jobs = [_job(directory, f"{kernels}", {"model": {"kernels": kernels}}) for kernels in ("own", "reference")]
    jobs += [_job(directory, "flat", FLAT), _job(directory, "flat_bf16", FLAT, BF16)]
    jobs += [_job(directory, "torch_bf16", BF16), _job(directory, "torch_shared", BF16, shared)]
    jobs.append(_job(directory, "flat_shared", FLAT, BF16, shared))
    jobs.append(_job(directory, "flat_parts", FLAT, BF16, shared, train_iters=STEPS // 2))
    jobs.append(_job(directory, "flat_parts", FLAT, BF16, shared))
    outcomes = run_ranks(2, jobs, directory / "ranks")
    assert all("steps" in outcome for outcome in outcomes), outcomes
    return directory


def test_own_trains_as_reference(runs: Path) -> None:
    """fp32, sums in another order over 20 steps; measured: below 1e-6."""
    own, reference = losses(runs / "own"), losses(runs / "reference")
    assert len(own) == STEPS and own != reference
    assert own == pytest.approx(reference, abs=1e-5)


@pytest.mark.parametrize(
    ("flat", "torchs", "tolerance"),
    [("flat", "own", 1e-5), ("flat_bf16", "torch_bf16", 1e-3), ("flat_shared", "torch_shared", 1e-3)],
)
def test_flat_adam_trains_as_torchs(runs: Path, flat: str, torchs: str, tolerance: float) -> None:
    """torch's fused form rounds otherwise than its plain one; in bf16 a weight may round to its other neighbour."""
    assert losses(runs / flat) == pytest.approx(losses(runs / torchs), abs=tolerance)


def test_a_resumed_run_is_bitwise_the_whole_run(runs: Path) -> None:
    whole, parts = (step_directories(runs / name / "checkpoints")[-1] for name in ("flat_shared", "flat_parts"))
    expected, got = CheckpointTensors(whole), CheckpointTensors(parts)
    assert expected.names == got.names
    for name in expected.names:
        assert torch.equal(expected.read(name), got.read(name)), name
    assert losses(runs / "flat_shared") == losses(runs / "flat_parts")


def test_the_manifest_says_which_programs_ran(runs: Path) -> None:
    programs = {
        name: json.loads((runs / name / "manifest.json").read_text())["kernels"] for name in ("own", "reference")
    }
    assert programs["reference"].pop("linear layers") == "megatron-core"
    assert set(programs["reference"].values()) == {"torch"}
    assert programs["own"]["cross entropy"].startswith("CPU C++")


def _adam(kind: str, weights: list[torch.Tensor], settings: OptimizerConfig) -> Any:
    groups = [{"params": weights[:2], "weight_decay": 0.1}, {"params": weights[2:], "weight_decay": 0.0}]
    how: dict[str, Any] = {"lr": settings.lr, "betas": (settings.adam_beta1, settings.adam_beta2), "eps": 1e-8}
    if kind == "flat":
        return FlatAdam(groups, weight_decay=0.1, adam_w_mode=True, **how)
    return torch.optim.AdamW(groups, foreach=False, fused=False, **how)


@pytest.mark.parametrize("may_move", [True, False], ids=["laid_out_anew", "where_they_lie"])
def test_flat_adam_is_bitwise_torchs_plain_form(may_move: bool) -> None:
    """Weights of several sizes with and without decay, clipping, a group's rate that changes, and bf16 copies."""
    settings = OptimizerConfig(lr=1e-3)
    draw = torch.Generator().manual_seed(0)
    sizes = [(70_001,), (3, 5), (129,), (1,)]
    mine, theirs = ([torch.zeros(size) for size in sizes] for _ in range(2))
    for a, b in zip(mine, theirs, strict=True):
        a.copy_(torch.randn(a.shape, generator=draw))
        b.copy_(a)
    copies = [weight.bfloat16() for weight in mine]
    flat, plain = _adam("flat", mine, settings), _adam("plain", theirs, settings)
    flat.write_copies(dict(zip(mine, copies, strict=True)), may_move=may_move)
    buffer, gradients, end = torch.empty(sum(weight.numel() for weight in mine) + 3), {}, 0
    for number in (2, 0, 3, 1):  # as megatron-core's buffers have them: in another order, with a gap
        gradients[number] = buffer[end : end + mine[number].numel()].view(sizes[number])
        end += mine[number].numel() + (3 if number == 0 else 0)
    for step in range(5):
        buffer.normal_(generator=draw)
        norm = float(buffer.norm())
        for number, (weight, other) in enumerate(zip(mine, theirs, strict=True)):
            gradient = gradients[number]
            weight.grad, other.grad = gradient, gradient * torch.tensor(min(1.0, 0.5 / (norm + 1e-6)))
        for group in (*flat.param_groups, *plain.param_groups):
            group["lr"] = settings.lr / (step + 1)
        flat.clip(norm, clip_grad=0.5)
        flat.step()
        plain.step()
    assert len(flat._stretches) == (2 if may_move else len(sizes))
    for weight, other, written in zip(mine, theirs, copies, strict=True):
        assert torch.equal(weight, other)
        assert torch.equal(written, other.bfloat16())
        for mean in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(flat.state[weight][mean], plain.state[other][mean])


def _stepped(kind: str, weights: list[torch.Tensor], gradients: Callable[[int], Any], *, reloaded: int = -1) -> Any:
    """The optimizer after four steps; reloaded: after which its state moves to another one."""
    adam = _adam(kind, weights, OptimizerConfig(lr=1e-2))
    for step in range(4):
        for weight, gradient in zip(weights, gradients(step), strict=True):
            weight.grad = gradient
        if kind == "flat":
            adam.clip(1.0, clip_grad=0.0)  # 0: not clipped
        adam.step()
        if step == reloaded:
            state, adam = copy.deepcopy(adam.state_dict()), _adam(kind, weights, OptimizerConfig(lr=1e-2))
            adam.load_state_dict(state)
    return adam


def _gradients(kind: str, shape: tuple[int, ...]) -> Callable[[int], list[torch.Tensor | None]]:
    """For three weights, the same numbers at every call, laid out as `kind` says."""
    given = torch.randn(4, 3, *shape, generator=torch.Generator().manual_seed(5))
    held = torch.empty(3, *shape)

    def at(step: int) -> list[torch.Tensor | None]:
        if kind == "with_gaps":
            return [torch.stack((x, x), dim=-1)[..., 0] for x in given[step]]
        if kind == "turned_in_place" and step % 2:
            return [x.t() for x in held.copy_(given[step].transpose(1, 2))]
        found: list[torch.Tensor | None] = list(held.copy_(given[step]))
        return [None, *found[1:]] if kind == "missing" else found

    return at


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("plain", (1,)),
        ("plain", ()),
        ("plain", (0,)),
        ("with_gaps", (3, 4)),
        ("missing", (3, 4)),
        ("turned_in_place", (3, 3)),
    ],
    ids=["one_element", "no_dimension", "no_element", "with_gaps", "missing", "turned_in_place"],
)
def test_gradients_may_lie_anywhere_or_nowhere(kind: str, shape: tuple[int, ...]) -> None:
    start = torch.randn(3, *shape, generator=torch.Generator().manual_seed(6))
    mine, theirs = (list(start.clone()) for _ in range(2))
    _stepped("flat", mine, _gradients(kind, shape))
    _stepped("plain", theirs, _gradients(kind, shape))
    for weight, other, before in zip(mine, theirs, start, strict=True):
        assert torch.equal(weight, other)
        assert torch.equal(weight, before) == (weight.grad is None or not weight.numel())


def test_a_state_that_is_saved_and_loaded_changes_nothing() -> None:
    start = torch.randn(3, 5, generator=torch.Generator().manual_seed(6))
    whole, parts = (list(start.clone()) for _ in range(2))
    ends = [_stepped("flat", w, _gradients("plain", (5,)), reloaded=r) for w, r in ((whole, -1), (parts, 1))]
    assert [adam.param_groups[0]["step"] for adam in ends] == [4, 4]
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("norm", [float("inf"), float("nan")])
def test_a_norm_that_is_not_finite_changes_nothing(norm: float) -> None:
    weight = torch.ones(7)
    adam = FlatAdam([weight], lr=1e-3, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8, adam_w_mode=True)
    weight.grad = torch.full((7,), norm)
    adam.clip(norm, clip_grad=1.0)
    adam.step()
    assert torch.equal(weight, torch.ones(7)) and adam.param_groups[0]["step"] == 0
    weight.grad = torch.ones(7)
    adam.clip(float(weight.norm()), clip_grad=1.0)
    adam.step()
    assert adam.param_groups[0]["step"] == 1 and not torch.equal(weight, torch.ones(7))
