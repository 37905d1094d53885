"""What a run reports: metrics.jsonl (a line for every step), TensorBoard, and log lines. Rank 0 only.

A line of metrics.jsonl: step, loss, grad_norm, lr, num_tokens (unmasked tokens trained on in this step), num_positions
(of the global batch, padding included), padding_share (of them, those that are padding), masked_share (of them, those
that do not count in the loss: the output layer leaves them out), tokens_per_s (num_tokens over the step's time),
step_time_s, compute_s (of it, rank 0's outside collectives), mfu (share of the device's peak, where the peak is known,
else null), and on evaluation steps valid_loss. Every log_interval steps it has what stragglers.py compared:
compute_median_s, compute_slowest_s, slowest_rank and, where there are any, stragglers. loss and grad_norm are null for
a step whose batch had nothing to train on. A step that was skipped (training.loss_spike_factor) has skipped, which says
its loss or where a gradient that was not finite came from, grad_norm null and num_tokens 0.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from megatron_codex.config.model import ModelConfig
from megatron_codex.files import atomic_file
from megatron_codex.training.wandb_run import WandbRun

METRICS = "metrics.jsonl"

PEAK_FLOPS = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
}
"""Dense bf16 FLOP/s of one device, by the beginning of its name. Source: NVIDIA's data sheets."""

_logger = logging.getLogger(__name__)
_SCALARS = ("loss", "grad_norm", "lr", "tokens_per_s", "padding_share", "masked_share", "mfu", "valid_loss")
_SHARES = ("padding_share", "masked_share")


class MetricsWriter:
    """Writes metrics.jsonl and TensorBoard; a context manager."""

    def __init__(self, output_dir: Path, *, resumed_step: int, wandb_run: WandbRun | None = None) -> None:
        """resumed_step: lines of later steps are cut off, so that the file has each step once.

        wandb_run: takes the lines too, and is closed with the file.
        """
        from torch.utils.tensorboard import SummaryWriter  # only here: it takes a second to import

        path = output_dir / METRICS
        _cut_after(path, resumed_step)
        self._file = path.open("a", encoding="utf-8")
        self._wandb_run = wandb_run
        self._board = SummaryWriter(str(output_dir / "tensorboard"), purge_step=resumed_step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()
        if self._wandb_run is not None:
            self._wandb_run.close()

    def write(self, line: dict[str, Any]) -> None:
        """Append a step's line; it is in the file when this returns."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name in _SCALARS:
            if line.get(name) is not None:
                self._board.add_scalar(name, line[name], line["step"])
        if self._wandb_run is not None:
            self._wandb_run.write(line)


def log_step(line: dict[str, Any], *, train_iters: int) -> None:
    """One line of the log for a step."""
    loss = "no token to train on" if line["loss"] is None else f"loss {line['loss']:.4f}"
    loss = f"skipped, {line['skipped']}" if "skipped" in line else loss
    norm = "" if line["grad_norm"] is None else f", grad norm {line['grad_norm']:.3f}"
    valid = f", valid loss {line['valid_loss']:.4f}" if line.get("valid_loss") is not None else ""
    _logger.info(
        "step %d/%d: %s%s%s, lr %.3g, %.0f tokens/s",
        line["step"],
        train_iters,
        loss,
        valid,
        norm,
        line["lr"],
        line["tokens_per_s"],
    )


def read_metrics(output_dir: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line that was cut off by a kill is left out."""
    path = output_dir / METRICS
    if not path.exists():
        return []
    whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole]


def shares_of_positions(lines: Iterable[dict[str, Any]]) -> dict[str, float]:
    """padding_share and masked_share over all positions of these steps; none where no step says how many it had."""
    counted = [line for line in lines if "num_positions" in line]
    total = sum(line["num_positions"] for line in counted)
    return {name: sum(line[name] * line["num_positions"] for line in counted) / total for name in _SHARES if total}


def model_flops(model: ModelConfig, *, vocab_size: int, num_positions: int, seq_length: int) -> float:
    """Floating-point operations of a training step: forward and backward of all matrix products, recomputation not.

    6 for each weight of a matrix and position, and 12 x layers x hidden size x positions attended to (causal attention
    is counted in full, as is usual). Source: arXiv 2204.02311, appendix B.
    """
    matrices = model.num_layer_parameters + vocab_size * model.hidden_size
    return num_positions * (6.0 * matrices + 12.0 * model.num_layers * model.hidden_size * seq_length)


def peak_flops() -> float | None:
    """Peak FLOP/s of this rank's device; None where it is not known (every CPU)."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for device, peak in PEAK_FLOPS.items() if name.startswith(device)), None)


def _cut_after(path: Path, step: int) -> None:
    lines = read_metrics(path.parent)
    with atomic_file(path, "w") as handle:
        handle.writelines(json.dumps(line) + "\n" for line in lines if line["step"] <= step)
