"""THE loop: steps, evaluations, metrics and checkpoints, from where the run stands to its end."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import InputError, StoppedError, WorkError
from megatron_codex.log import progress as progress_bar
from megatron_codex.model.checkpoint_files import CHECKPOINTS, step_name
from megatron_codex.parallel.collective_calls import CollectiveCalls
from megatron_codex.parallel.groups import Layout
from megatron_codex.training.batches import GlobalBatches
from megatron_codex.training.checkpoint import CheckpointSaver, Progress
from megatron_codex.training.engine import TrainingEngine
from megatron_codex.training.heart import Heart
from megatron_codex.training.metrics import MetricsWriter, log_step, model_flops, peak_flops
from megatron_codex.training.randomness import seed_step
from megatron_codex.training.schedule import learning_rate
from megatron_codex.training.step import RefusedStepError, StepResult, evaluate, train_step
from megatron_codex.training.stop_signals import StopSignals
from megatron_codex.training.stragglers import StepTimes
from megatron_codex.training.wandb_run import wandb_run


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything a run works with on this rank."""

    config: TrainConfig
    layout: Layout
    engine: TrainingEngine
    train: GlobalBatches
    valid: GlobalBatches | None
    num_valid_batches: int
    """Global batches of an evaluation."""
    data_fingerprint: str
    heart: Heart | None = None
    """Tells others what this rank is doing; None: nobody watches."""
    calls: CollectiveCalls = field(default_factory=CollectiveCalls)
    """The time in collectives; of one that is not entered, none."""

    @property
    def vocab_size(self) -> int:
        """The true one."""
        return self.config.tokenizer.true_vocab_size

    def doing(self) -> str:
        """For people: where this rank is."""
        return self.heart.doing if self.heart is not None else "training"

    def beat(self, *, step: int, phase: str) -> None:
        """Say what this rank is doing."""
        if self.heart is not None:
            self.heart.beat(step=step, phase=phase)


def run_steps(run: Run, progress: Progress) -> Progress:
    """Train from `progress` to the last step, or until the validation loss no longer falls; where the run then stands.

    A checkpoint of the last step is written, and one of each step with the best evaluation so far.
    Raises: StoppedError after a checkpoint, when a signal stops the run; WorkError and InputError when it cannot go on,
    after a checkpoint where the state is sound.
    """
    config = run.config
    output_dir = config.training.output_dir
    last = config.training.train_iters
    with ExitStack() as stack:
        writer = None
        if run.layout.rank == 0:
            writer = MetricsWriter(output_dir, resumed_step=progress.step, wandb_run=wandb_run(config))
            stack.enter_context(writer)
        saver = stack.enter_context(
            CheckpointSaver(run.engine, config, output_dir / CHECKPOINTS, data_fingerprint=run.data_fingerprint)
        )
        signals = stack.enter_context(StopSignals(doing=run.doing))
        times = StepTimes(run.layout, device=run.train.device)
        steps = range(progress.step, last)
        saved_step = progress.step
        for step in progress_bar(steps, total=len(steps), description="training", unit="step"):
            try:
                line, progress = take_step(run, step, progress, stop_asked=signals.asked is not None)
            except RefusedStepError as refused:
                raise _after_a_checkpoint(saver, progress, refused, saved_step=saved_step) from refused
            ends = progress.step == last or progress.plateau.has_ended(config.training)
            times.add(line["compute_s"])
            if progress.step % config.training.log_interval == 0 or ends:
                line |= times.compare(config.training.straggler_factor)
            if writer is not None:
                writer.write(line)
                if progress.step % config.training.log_interval == 0 or "valid_loss" in line or ends:
                    log_step(line, train_iters=last)
            if (
                ends
                or _is_due(progress.step, config.training.save_interval)
                or progress.plateau.best_step == progress.step
            ):
                run.beat(step=progress.step, phase="checkpoint")
                saver.save(progress)
                saved_step = progress.step
            if ends:
                break
    return progress


def _after_a_checkpoint(
    saver: CheckpointSaver, progress: Progress, refused: RefusedStepError, *, saved_step: int
) -> InputError | WorkError:
    """See that the last step is saved; the error to end with. Collective: all ranks refuse the same step."""
    reason = refused.reason
    if progress.step > saved_step:
        saver.save(progress)
    saver.finish()
    if isinstance(reason, StoppedError):
        kept = f"its checkpoint is written: {step_name(progress.step)}" if progress.step else "nothing was done yet"
        return StoppedError(f"{reason} after step {progress.step}; {kept}; the same command goes on")
    return reason


def take_step(run: Run, step: int, progress: Progress, *, stop_asked: bool = False) -> tuple[dict[str, Any], Progress]:
    """One step and, where it is due, an evaluation: the line of metrics and where the run then stands.

    stop_asked, and what it raises: as train_step has them.
    """
    config = run.config
    run.beat(step=step + 1, phase="step")
    started, waited = time.perf_counter(), run.calls.seconds
    if config.model.hidden_dropout or config.model.attention_dropout:
        seed_step(config.training.seed, step, run.layout)
    rate = learning_rate(step + 1, config.optimizer, decay_iters=config.lr_decay_iters)
    spikes = progress.spikes
    result = train_step(
        run.engine,
        run.train,
        run.layout,
        step=step,
        learning_rate=rate,
        vocab_size=run.vocab_size,
        accepts=spikes.acceptance(config.training),
        stop_asked=stop_asked,
    )
    if result.loss is not None:
        spikes = spikes.after(
            step, result.loss, config.training, skipped=result.declined, bad_gradient=result.bad_gradient
        )
    line = _metrics_line(
        run,
        result,
        step=step,
        learning_rate=rate,
        seconds=time.perf_counter() - started,
        waited_s=run.calls.seconds - waited,
    )
    plateau = progress.plateau
    last = step + 1 == config.training.train_iters
    if run.valid is not None and (last or _is_due(step + 1, config.training.eval_interval)):
        run.beat(step=step + 1, phase="evaluation")
        line["valid_loss"] = evaluate(
            run.engine, run.valid, run.layout, num_batches=run.num_valid_batches, vocab_size=run.vocab_size
        )
        plateau = plateau.after(step + 1, line["valid_loss"], config.training)
    return line, replace(
        progress,
        step=step + 1,
        num_updates=progress.num_updates + (result.grad_norm is not None),
        num_tokens=progress.num_tokens + line["num_tokens"],
        spikes=spikes,
        plateau=plateau,
    )


def _metrics_line(
    run: Run, result: StepResult, *, step: int, learning_rate: float, seconds: float, waited_s: float
) -> dict[str, Any]:
    """What metrics.jsonl says of a step. waited_s: of its seconds, those in collectives."""
    num_tokens = 0 if result.declined else result.num_tokens
    line: dict[str, Any] = {
        "step": step + 1,
        "loss": result.loss if result.loss is None or math.isfinite(result.loss) else None,
        "grad_norm": result.grad_norm,
        "lr": learning_rate,
        "num_tokens": num_tokens,
        "num_positions": result.num_positions,
        "padding_share": result.num_padding / result.num_positions,
        "masked_share": 1 - result.num_tokens / result.num_positions,
        "tokens_per_s": num_tokens / seconds,
        "step_time_s": seconds,
        "compute_s": seconds - waited_s,
        "mfu": _model_flops_utilisation(run, result, seconds),
    }
    if result.declined:
        line["skipped"] = result.bad_gradient or f"loss {result.loss:.6g}"
    return line


def _model_flops_utilisation(run: Run, result: StepResult, seconds: float) -> float | None:
    peak = peak_flops()
    if peak is None:
        return None
    flops = model_flops(
        run.config.model,
        vocab_size=run.vocab_size,
        num_positions=result.num_positions,
        seq_length=result.seq_length,
    )
    return flops / seconds / (peak * run.layout.world_size)


def _is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0
