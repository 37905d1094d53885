"""A layout against one rank: the steps that training takes, compared with a plain model's after each of them.

In: a VerifyConfig, on all ranks of the layout. Out: a VerifyReport. What runs here is training's own step
(training/loop.py); what it is compared with shares no code with it (parallel/verify_reference.py), so a fault that
changes every layout alike is found as well. This driver lies above parallel/ because it takes training's steps; how
tensors are brought together and compared lies in parallel/verify_*.py.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import torch.distributed as dist
from torch import Tensor

from megatron_codex.config.verify import VerifyConfig
from megatron_codex.data.batch import SampleSource
from megatron_codex.model.initialization import WORD_EMBEDDINGS
from megatron_codex.parallel.groups import Layout, model_parallel
from megatron_codex.parallel.joined import joined_ranks, world_size
from megatron_codex.parallel.verify_compare import Check, Difference, check_copies
from megatron_codex.parallel.verify_pieces import Piece, full_tensors, gather_pieces
from megatron_codex.parallel.verify_reference import Tensors
from megatron_codex.training.batches import run_batches
from megatron_codex.training.checkpoint import Progress
from megatron_codex.training.datasets import ReadPairs
from megatron_codex.training.engine import build_engine
from megatron_codex.training.loop import Run, take_step
from megatron_codex.training.randomness import seed_step
from megatron_codex.training.start import check_init_from, set_state
from megatron_codex.training.verify_data import verification_samples
from megatron_codex.training.verify_dropout import check_dropout
from megatron_codex.training.verify_one_rank import OneRank
from megatron_codex.training.verify_steps import WEIGHTS, before_updates, global_batch, gradient_pieces, state_pieces


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What was compared."""

    layout: str
    """In words."""
    samples: str
    """In words."""
    checks: tuple[Check, ...]
    seconds: float

    @property
    def first(self) -> Difference | None:
        """The first difference beyond its tolerance, a tensor's where the same step has one; None: all is equal."""
        found = [check.first for check in self.checks if check.first is not None]
        if not found:
            return None
        _, _, step = found[0].what.partition(", ")
        tensors = (difference for difference in found if difference.rank is not None)
        return next((difference for difference in tensors if difference.what.endswith(step)), found[0])

    def largest(self, what: str) -> float:
        """The largest difference of the checks whose name begins so."""
        return max((check.largest for check in self.checks if check.what.startswith(what)), default=0.0)

    def table(self) -> str:
        """A line for each check."""
        lines = [f"{'compared':32} {'largest':>9} {'tolerance':>9}  at"]
        for check in self.checks:
            mark = "" if check.first is None else "DIFFERS "
            lines.append(f"{check.what:32} {check.largest:9.2g} {check.tolerance:9.2g}  {mark}{check.at}".rstrip())
        return "\n".join(lines)


def verify(config: VerifyConfig, *, read_pairs: ReadPairs | None = None) -> VerifyReport:
    """Compare config's layout with one rank; the same report on every rank. Collective over all ranks of the run.

    Raises: InputError for bad input; WorkError as training does.
    """
    started = time.monotonic()
    config.check_world_size(world_size())
    check_init_from(config)
    source, samples = verification_samples(config, read_pairs=read_pairs)
    with joined_ranks(), model_parallel(config.parallel) as layout:
        run = build_run(config, layout, source, dropout=(0.0, 0.0))
        checks = _check_steps(run, config)
        if config.check_dropout:
            rates = (config.model.hidden_dropout, config.model.attention_dropout)
            rates = rates if any(rates) else (0.1, 0.1)
            checks += check_dropout(partial(build_run, config, layout, source, dropout=rates), config)
        report = VerifyReport(
            layout=describe_layout(config, layout),
            samples=samples,
            checks=tuple(checks),
            seconds=time.monotonic() - started,
        )
        shared: list[VerifyReport] = [report]
        dist.broadcast_object_list(shared, src=0)
        return shared[0]


def describe_layout(config: VerifyConfig, layout: Layout) -> str:
    """The layout in one line: "TP 2, PP 2, DP 1, sequence parallel, fp32; 4 ranks"."""
    parallel = config.parallel
    words = {
        f"TP {layout.tp_size}": True,
        f"PP {layout.pp_size}": True,
        f"virtual PP {parallel.num_chunks}": parallel.interleaved,
        f"DP {layout.dp_size}": True,
        "sequence parallel": parallel.sequence_parallel,
        "distributed optimizer": parallel.use_distributed_optimizer,
        "overlapped gradients": parallel.overlap_grad_reduce,
        "overlapped weights": parallel.overlap_param_gather,
        f"{parallel.recompute} recompute": parallel.recompute != "none",
        config.training.precision: True,
    }
    ranks = "1 rank" if layout.world_size == 1 else f"{layout.world_size} ranks"
    return f"{', '.join(word for word, said in words.items() if said)}; {ranks}"


def build_run(
    config: VerifyConfig,
    layout: Layout,
    source: SampleSource,
    *,
    dropout: tuple[float, float],
    recompute: bool = True,
) -> Run:
    """The run as training builds it, with these rates of hidden and attention dropout; recompute=False: without."""
    hidden, attention = dropout
    config = replace(
        config,
        model=replace(config.model, hidden_dropout=hidden, attention_dropout=attention),
        training=replace(config.training, eval_interval=0, loss_spike_factor=None),
        parallel=config.parallel if recompute else replace(config.parallel, recompute="none"),
    )
    seed_step(config.training.seed, 0, layout)
    engine = build_engine(config)
    set_state(engine, config, None)
    return Run(
        config=config,
        layout=layout,
        engine=engine,
        train=run_batches(config, source, layout),
        valid=None,
        num_valid_batches=0,
        data_fingerprint="",
    )


def _check_steps(run: Run, config: VerifyConfig) -> list[Check]:
    """Take the steps, dropout off, and compare; the checks are on rank 0."""
    one_rank: OneRank | None = None
    checks: list[Check] = []
    start = gather_pieces(state_pieces(run.engine)[WEIGHTS])
    if run.layout.rank == 0:
        checks.append(check_copies("copies of weights, start", start))
        one_rank = OneRank(config, _true_rows(full_tensors(start), run.vocab_size))
    progress = Progress()
    for step in range(config.steps):
        gradients: list[Piece] = []

        def gather(into: list[Piece] = gradients) -> None:
            into += gather_pieces(gradient_pieces(run.engine))

        with before_updates(run.engine, gather):
            line, progress = take_step(run, step, progress)
        if one_rank is not None:
            checks += one_rank.check_step(step, line, gradients, global_batch(run.train, step))
        weights = gather_pieces(state_pieces(run.engine)[WEIGHTS]) if step + 1 < config.steps else []
        if one_rank is not None and weights:
            one_rank.take_weights(_true_rows(full_tensors(weights), run.vocab_size))
    for kind, held in state_pieces(run.engine).items():
        pieces = gather_pieces(held)
        if one_rank is not None:
            checks += one_rank.check_state(kind, pieces)
            checks += [check_copies(f"copies of weights, step {config.steps}", pieces)] if kind == WEIGHTS else []
    return checks


def _true_rows(tensors: Tensors, vocab_size: int) -> dict[str, Tensor]:
    """Without the rows of vocabulary padding."""
    return tensors | {WORD_EMBEDDINGS: tensors[WORD_EMBEDDINGS][:vocab_size].clone()}
