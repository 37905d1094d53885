"""The samples file of a run: written as it grows, continued after an interruption, whole at the end.

In: a SamplingConfig and its prompts. Out: OUTPUT (JSONL of Completions) and OUTPUT.manifest.json. Until the run ends,
finished samples stand in OUTPUT.partial; as no sample depends on the others, a run that was killed goes on after them
and ends in the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_codex.config.load import config_to_dict
from megatron_codex.config.sampling import SamplingConfig
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, require_absent
from megatron_codex.jsonl import dump_line, read_jsonl, write_jsonl
from megatron_codex.log import progress
from megatron_codex.manifest import MANIFEST_NAME, write_manifest
from megatron_codex.model.checkpoint_files import resolve_checkpoint
from megatron_codex.sampling.generate import Prompt, generate, require_distinct
from megatron_codex.sampling.stopping import Stop

_NOT_DECIDING = ("batch_size", "workers", "output")
"""Settings that no sample depends on."""


def write_samples(config: SamplingConfig, prompts: Sequence[Prompt], *, stop: Stop) -> dict[str, int]:
    """Sample every prompt into config.output, with a manifest beside it; returns counts by finish reason.

    Raises: InputError when the output exists, a partial output belongs to other settings, or generate() refuses.
    """
    started_at = time.time()
    require_absent(config.output)
    require_distinct(prompts)
    checkpoint = resolve_checkpoint(config.checkpoint)
    partial = config.output.with_name(config.output.name + ".partial")
    identity = _identity(config, prompts, checkpoint)
    done = _open_partial(partial, identity)
    total = len(prompts) * config.num_samples - done
    completions = generate(checkpoint, prompts, config=config, stop=stop, skip=done)
    with partial.open("ab") as handle:
        for completion in progress(completions, total=total, description="sampling", unit="samples"):
            handle.write(dump_line(completion.to_json()))
    rows = list(read_jsonl(partial))[1:]
    assert len(rows) == len(prompts) * config.num_samples
    write_jsonl(config.output, rows)
    counts = {"problems": len(prompts), "samples": len(rows), **Counter(row["finish_reason"] for row in rows)}
    write_manifest(
        config.output.parent,
        name=f"{config.output.name}.{MANIFEST_NAME}",
        command="sample.py",
        config=config,
        inputs=[config.problems, checkpoint / MANIFEST_NAME],
        counts=counts,
        started_at=started_at,
        extra={"checkpoint": str(checkpoint)},
    )
    partial.unlink()
    return counts


def _identity(config: SamplingConfig, prompts: Sequence[Prompt], checkpoint: Path) -> dict[str, Any]:
    """What decides the samples; equal for two runs exactly when they would write the same file."""
    settings = {key: value for key, value in config_to_dict(config).items() if key not in _NOT_DECIDING}
    prompt_hash = hashlib.sha256()
    for prompt in prompts:
        prompt_hash.update(json.dumps([prompt.task_id, prompt.text]).encode())
    manifest = hashlib.sha256((checkpoint / MANIFEST_NAME).read_bytes()).hexdigest()
    return {
        **settings,
        "checkpoint": str(checkpoint),
        "checkpoint_manifest": manifest,
        "prompts": prompt_hash.hexdigest(),
    }


def _open_partial(partial: Path, identity: dict[str, Any]) -> int:
    """Start the partial file, or make an interrupted run's ready to be continued: how many samples it holds."""
    header = dump_line({"partial_run": identity})
    if not partial.exists():
        with atomic_file(partial) as handle:
            handle.write(header)
        return 0
    first, *lines = partial.read_bytes().splitlines(keepends=True) or [b""]
    if first != header:
        raise InputError(
            str(partial),
            rule="belongs to an interrupted run with other settings",
            remedy="run with its settings to continue it, or remove it",
        )
    whole = [line for line in lines if line.endswith(b"\n")]  # the last one may have been cut off
    with atomic_file(partial) as handle:
        handle.write(b"".join([header, *whole]))
    return len(whole)
