"""Faults planted into one rank of a training run: what a broken disk, a flipped bit or a bug does there.

A plant is {"kind": ..., "rank": ..., "steps": [...]}, steps counted from 1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from megatron_codex.training import loop, run
from megatron_codex.training.batches import GlobalBatches


@contextmanager
def planted(plant: Mapping[str, Any] | None) -> Iterator[None]:
    """Within the block, training meets the fault on its rank. None: nothing."""
    if plant is None or plant["rank"] != dist.get_rank():
        yield
        return
    with FAULTS[plant["kind"]](plant):
        yield


@contextmanager
def _unreadable(plant: Mapping[str, Any]) -> Iterator[None]:
    """The samples of these steps cannot be read."""
    read = GlobalBatches.at

    def at(batches: GlobalBatches, step: int) -> Any:
        if step + 1 in plant["steps"]:
            raise OSError(5, "Input/output error", "/data/code.bin")
        return read(batches, step)

    with patch.object(GlobalBatches, "at", at):
        yield


@contextmanager
def _read_only(plant: Mapping[str, Any]) -> Iterator[None]:
    """This rank may read, and write nowhere. (A test that runs as root may write anywhere.)"""
    with patch.object(os, "access", lambda path, mode: not mode & os.W_OK):
        yield


@contextmanager
def _raises(plant: Mapping[str, Any]) -> Iterator[None]:
    """In these steps the program itself has a fault."""
    read = GlobalBatches.at

    def at(batches: GlobalBatches, step: int) -> Any:
        if step + 1 in plant["steps"]:
            raise KeyError("planted")
        return read(batches, step)

    with patch.object(GlobalBatches, "at", at):
        yield


@contextmanager
def _slow(plant: Mapping[str, Any]) -> Iterator[None]:
    """These steps take this rank some seconds more."""
    read = GlobalBatches.at

    def at(batches: GlobalBatches, step: int) -> Any:
        if step + 1 in plant["steps"]:
            time.sleep(plant["seconds"])
        return read(batches, step)

    with patch.object(GlobalBatches, "at", at):
        yield


@contextmanager
def _bad_gradient(plant: Mapping[str, Any]) -> Iterator[None]:
    """In these steps one weight's gradient is NaN, before any sum over ranks. once: in a step's first passes only."""
    passes_left = [0]
    train_step, build_engine = loop.train_step, run.build_engine

    def watched_step(*args: Any, step: int, **kwargs: Any) -> Any:
        passes_left[0] = (1 if plant.get("once") else 1 << 30) if step + 1 in plant["steps"] else 0
        return train_step(*args, step=step, **kwargs)

    def build(config: Any) -> Any:
        engine = build_engine(config)
        shard = next(shard for shard in engine.shards if "linear_fc1.weight" in shard.name)
        inner: Callable[..., Any] = engine.forward_backward

        def forward_backward(*args: Any, **kwargs: Any) -> Any:
            outcome = inner(*args, **kwargs)
            passes_left[0] -= 1
            return outcome

        def spoil(gradient: torch.Tensor) -> torch.Tensor:
            return gradient * torch.nan if passes_left[0] > 0 else gradient

        shard.parameter.register_hook(spoil)
        return replace(engine, forward_backward=forward_backward)

    with patch.object(loop, "train_step", watched_step), patch.object(run, "build_engine", build):
        yield


FAULTS: Mapping[str, Callable[[Mapping[str, Any]], AbstractContextManager[None]]] = {
    "unreadable": _unreadable,
    "bad_gradient": _bad_gradient,
    "slow": _slow,
    "raises": _raises,
    "read_only": _read_only,
}
"""Kind -> the fault, which lasts as long as its block."""
