"""A checkpoint written without ranks: tensors one by one, each cut over the files of a layout.

In: groups of tensors and their source. Out: a step directory as training writes it. Memory: one group.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from megatron_codex.convert.layout import FileLayout
from megatron_codex.convert.weights import Group, TensorSource
from megatron_codex.files import atomic_file, sync_directory
from megatron_codex.log import progress
from megatron_codex.manifest import write_manifest
from megatron_codex.model.checkpoint_files import CHECKPOINTS, FORMAT, LATEST, step_name
from megatron_codex.model.checkpoint_shards import Place, ShardWriter, write_index

COMMAND = "convert_checkpoint"


def write_checkpoint(
    run: Path,
    groups: Sequence[Group],
    source: TensorSource,
    *,
    layout: FileLayout,
    config: Mapping[str, Any],
    described: Mapping[str, Any],
    inputs: Sequence[Path],
) -> Path:
    """Write RUN/checkpoints/step_...; the step directory.

    config: what the manifest says of the model, the tokenizer and, where there was one, the run. described: the
    manifest's entries of a checkpoint (step, num_updates, has_optimizer, ...).
    """
    started_at = time.time()
    directory = run / CHECKPOINTS / step_name(int(described["step"]))
    directory.mkdir(parents=True)
    placed = {name: layout.places(name, shape) for group in groups for name, shape in group.shapes.items()}
    files: list[list[Place]] = [[] for _ in range(layout.num_writers)]
    for places in placed.values():
        for writer, place in places:
            files[writer].append(place)
    with ExitStack() as stack:
        writers = [stack.enter_context(ShardWriter(directory, number, places)) for number, places in enumerate(files)]
        for group in progress(groups, total=len(groups), description="writing tensors", unit="group"):
            for name, tensor in zip(group.shapes, group.make(source), strict=True):
                for writer, place in placed[name]:
                    ranges = [slice(o, o + extent) for o, extent in zip(place.offset, place.shape, strict=True)]
                    writers[writer].append(tensor[tuple(ranges)])
    write_index(directory, layout.num_writers)
    extra = {
        **described,
        "checkpoint_format": FORMAT,
        "num_writers": layout.num_writers,
        "files": {path.name: path.stat().st_size for path in sorted(directory.iterdir())},
    }
    write_manifest(
        directory, command=COMMAND, config=config, inputs=inputs, counts={}, started_at=started_at, extra=extra
    )
    sync_directory(directory)
    with atomic_file(directory.parent / LATEST, "w") as handle:
        handle.write(directory.name + "\n")
    return directory
