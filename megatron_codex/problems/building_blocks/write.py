"""One folder of a family: train.jsonl, valid.jsonl, held_out.jsonl, mis_specified.jsonl, modules.jsonl, manifest.json.

In: counts and a seed. Out: the files; those with a count of 0 are not made.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_codex.config.building_blocks import BuildingBlocksConfig
from megatron_codex.files import atomic_directory
from megatron_codex.jsonl import write_jsonl
from megatron_codex.manifest import write_manifest
from megatron_codex.problems.building_blocks.generate import generate_mis_specified, generate_problems
from megatron_codex.problems.building_blocks.modules import generate_modules
from megatron_codex.records import Problem


def write_building_blocks(config: BuildingBlocksConfig) -> dict[str, int]:
    """Write the folder, whole or not at all, and return the rows of each file.

    Raises: InputError when the output exists or fewer different problems exist than are asked for.
    """
    started_at = time.time()
    with atomic_directory(config.output) as folder:
        counts = {name: write_jsonl(folder / f"{name}.jsonl", rows) for name, rows in _files(config)}
        write_manifest(
            folder, command="generate_blocks", config=config, inputs=[], counts=counts, started_at=started_at
        )
    return counts


def _files(config: BuildingBlocksConfig) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    for split in ("train", "valid", "held_out"):
        if number := getattr(config, f"num_{split}"):
            measured = config.measured_chain_lengths if split != "train" else ()
            problems = generate_problems(
                config.family,
                num_problems=number,
                chain_lengths=measured or config.chain_lengths,
                split=split,
                seed=config.seed,
            )
            yield split, _rows(problems)
    if config.num_mis_specified:
        problems = generate_mis_specified(
            config.family,
            num_problems=config.num_mis_specified,
            chain_lengths=config.chain_lengths,
            split="train",
            seed=config.seed,
        )
        yield "mis_specified", _rows(problems)
    if config.module_bytes:
        modules = generate_modules(config.family, num_bytes=config.module_bytes, seed=config.seed)
        yield "modules", (module.to_json() for module in modules)


def _rows(problems: list[Problem]) -> Iterator[dict[str, Any]]:
    return (problem.to_json() for problem in problems)


def describe(counts: dict[str, int], output: Path) -> str:
    """The command's one line."""
    return f"{output}: " + ", ".join(f"{number} {name}" for name, number in counts.items())
