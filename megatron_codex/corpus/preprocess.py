"""Shards or JSON Lines to token files: each document's ids, then the end of document, one after the other.

In: Parquet shards or JSONL. Out: PREFIX.bin, PREFIX.idx (megatron_codex/data/indexed.py), PREFIX.manifest.json.

The work is split into tasks (token_tasks.py) whose parts lie in PREFIX.partial/. They are joined in the order of the
input, beside the work, as soon as the next one is there. So the bytes depend on the input and the configuration only,
and a run that was killed goes on where it stopped. Memory: some 230 MB a worker, whatever the input's size. Disk: twice
the output.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from megatron_codex.config.corpus import PreprocessConfig
from megatron_codex.config.load import config_to_dict
from megatron_codex.corpus.discover import kind_of
from megatron_codex.corpus.execution import RunTasks, executor
from megatron_codex.corpus.token_parts import DamagedPart, PartCounts, read_counts, read_part
from megatron_codex.corpus.token_tasks import TASK_BYTES, TokenSettings, TokenTask, encode_task, plan_tasks
from megatron_codex.data.indexed import IndexedDatasetWriter, bin_path, dataset_files, idx_path, manifest_path
from megatron_codex.errors import InputError, WorkError
from megatron_codex.files import require_absent, require_file, sha256_file
from megatron_codex.journals import open_journal
from megatron_codex.manifest import read_manifest, write_manifest
from megatron_codex.tokenizer.codex import CodexTokenizer
from megatron_codex.unfinished import Unfinished, partial_path, unfinished_work

logger = logging.getLogger(__name__)

_JOINED = "joined"
_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class PreprocessSummary:
    """What was written."""

    num_documents: int
    num_empty: int
    """Documents without a token, which were left out."""
    num_tokens: int
    """End-of-document tokens included."""
    text_bytes: int
    dtype: str
    seconds: float


def preprocess_data(config: PreprocessConfig) -> PreprocessSummary | None:
    """Tokenise the inputs into config.output_prefix's three files, whole or not at all.

    What a run that was killed left in PREFIX.partial/ is used. None: on MPI ranks but the first, which work for it; for
    a share of the work (--shard) when others have not ended, or have joined all.
    Raises: InputError for a missing or damaged input, a row without text, an output that exists or that another process
    is at work on, or unfinished work of other inputs or settings; WorkError when workers die again and again.
    """
    with executor(config, folder=partial_path(config.output_prefix) / "slurm") as run:
        if run is None:
            return None
        planned = _plan(config)
        return _preprocess(planned, run) if config.share[1] == 1 else _preprocess_share(planned, run)


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """What the inputs and the configuration decide."""

    config: PreprocessConfig
    started_at: float
    files: list[Path]
    tokenizer: CodexTokenizer
    tasks: list[TokenTask]
    fingerprint: dict[str, Any]

    @property
    def encode(self) -> Callable[[TokenTask], None]:
        """Makes a task's part; goes to other processes."""
        config = self.config
        settings = TokenSettings(key=config.json_key, append_eod=config.append_eod, tokenizer=config.tokenizer)
        return partial(encode_task, settings=settings)


def _plan(config: PreprocessConfig) -> _Planned:
    started_at = time.time()
    files = find_files(config.input)
    partial_directory = partial_path(config.output_prefix)
    return _Planned(
        config=config,
        started_at=started_at,
        files=files,
        tokenizer=CodexTokenizer.from_config(config.tokenizer),
        tasks=plan_tasks(files, partial_directory, key=config.json_key, task_bytes=TASK_BYTES),
        fingerprint=_fingerprint(config, files),
    )


def _preprocess(planned: _Planned, run: RunTasks) -> PreprocessSummary:
    prefix = planned.config.output_prefix
    with unfinished_work(prefix, fingerprint=planned.fingerprint, outputs=dataset_files(prefix)) as work:
        _drop_damaged(planned.tasks, planned.tokenizer.dtype)
        return _encode_and_join(planned, work, run)


def _preprocess_share(planned: _Planned, run: RunTasks) -> PreprocessSummary | None:
    """Every N-th task; the last of the processes that share the work joins all parts."""
    prefix, (number, count) = planned.config.output_prefix, planned.config.share
    if not partial_path(prefix).exists():
        if _is_made(planned):
            logger.info("%s is there, of the same inputs and settings", bin_path(prefix))
            return None
        for path in dataset_files(prefix):
            require_absent(path)
    with open_journal(prefix, name="tokens", fingerprint=planned.fingerprint, shard=(number, count)) as journal:
        mine = planned.tasks[number::count]
        _drop_damaged(mine, planned.tokenizer.dtype)
        run(planned.encode, mine, done=_is_done, description=f"tokenise shard {number}/{count}")
        with journal.joining() as still_there:
            if not still_there:
                return None  # another one has found all parts there, and joined them
            _drop_damaged(planned.tasks, planned.tokenizer.dtype)
            left = sum(not _is_done(task) for task in planned.tasks)
            if left:
                text = "%d of %d tasks are not done yet; the last shard to end writes %s; if all have, run again"
                logger.info(text, left, len(planned.tasks), bin_path(prefix))
                return None
            summary = _encode_and_join(planned, Unfinished(journal.directory), run)
            journal.remove()
    return summary


def _is_made(planned: _Planned) -> bool:
    """Whether the outputs are there, of these inputs and settings."""
    prefix = planned.config.output_prefix
    try:
        manifest = read_manifest(prefix.parent, manifest_path(prefix).name)
    except InputError:
        return False
    decides = json.loads(json.dumps(planned.fingerprint))
    return manifest.get("made_of") == decides and all(path.exists() for path in dataset_files(prefix))


def _encode_and_join(planned: _Planned, work: Unfinished, run: RunTasks) -> PreprocessSummary:
    """Run the tasks that are left, join all parts beside it, and put the outputs in their places."""
    config, tokenizer = planned.config, planned.tokenizer
    prefix = config.output_prefix
    joined = work.directory / _JOINED
    with _beside() as (threads, stop):
        joining = threads.submit(_join, planned.tasks, joined, tokenizer.dtype, stop=stop)
        digests = {file: threads.submit(sha256_file, file, stop=stop) for file in planned.files}
        run(planned.encode, planned.tasks, done=_is_done, description="tokenise")
        totals = joining.result()
        inputs = {path: digest.result() for path, digest in digests.items()}
    if not totals.num_tokens:
        raise InputError(str(prefix), rule="no tokens were added", remedy="give input that has documents")
    seconds = time.time() - planned.started_at
    summary = PreprocessSummary(**asdict(totals), dtype=tokenizer.dtype.name, seconds=seconds)
    write_manifest(
        work.directory,
        name=manifest_path(joined).name,
        command="preprocess_data",
        config=config,
        inputs=inputs,
        counts={"documents": summary.num_documents, "empty": summary.num_empty, "tokens": summary.num_tokens},
        started_at=planned.started_at,
        extra={
            "dtype": summary.dtype,
            "eod": tokenizer.eod,
            "vocab_size": tokenizer.vocab_size,
            "encoder": tokenizer.encoder_name,
            "made_of": planned.fingerprint,
        },
    )
    work.publish(dict(zip(dataset_files(joined), dataset_files(prefix), strict=True)))
    return summary


def find_files(inputs: Sequence[Path]) -> list[Path]:
    """The Parquet and JSONL files named, or directly inside the directories named, in order.

    Raises: InputError for an input that is missing, empty, or neither.
    """
    files: list[Path] = []
    for path in inputs:
        found = sorted(item for item in path.iterdir() if _is_table(item)) if path.is_dir() else [path]
        for file in found:
            require_file(file, "documents to tokenise")
        if not found or not all(map(_is_table, found)):
            rule = "holds no documents (.parquet, .jsonl, .jsonl.gz, .jsonl.zst)"
            raise InputError(str(path), rule=rule, remedy="name the output of tools/build_corpus.py, or JSON Lines")
        files += found
    return files


def _is_table(path: Path) -> bool:
    return kind_of(path.name) in ("parquet", "jsonl")


def _fingerprint(config: PreprocessConfig, files: Sequence[Path]) -> dict[str, Any]:
    """What decides the tasks and their tokens. Inputs are told by size and time of change: to hash is to read all."""
    status = [(str(file), file.stat()) for file in files]
    return {
        "command": "preprocess_data",
        "inputs": [[name, found.st_size, found.st_mtime_ns] for name, found in status],
        "json_key": config.json_key,
        "append_eod": config.append_eod,
        "tokenizer": config_to_dict(config.tokenizer),
        "task_bytes": TASK_BYTES,
    }


@contextmanager
def _beside() -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """Two threads for what goes on beside the work, and an event that is set when the block is left, for it to end.

    What has not begun by then does not.
    """
    threads, stop = ThreadPoolExecutor(2), threading.Event()
    try:
        yield threads, stop
    finally:
        stop.set()
        threads.shutdown(wait=True, cancel_futures=True)


def _is_done(task: TokenTask) -> bool:
    return task.part.exists()


def _drop_damaged(tasks: Sequence[TokenTask], dtype: np.dtype[Any]) -> None:
    """Check what an earlier run left: parts are not fsynced (token_parts.py)."""
    for task in filter(_is_done, tasks):
        try:
            for _ in read_part(task.part, dtype):
                pass
        except DamagedPart:
            logger.warning("%s: not whole, it is made again", task.part)
            task.part.unlink()


def _join(tasks: Sequence[TokenTask], joined: Path, dtype: np.dtype[Any], *, stop: threading.Event) -> PartCounts:
    """All parts, one after the other, as JOINED.bin and JOINED.idx; waits for each. Ends early when `stop` is set."""
    for path in (bin_path(joined), idx_path(joined)):
        path.unlink(missing_ok=True)
    counts: list[PartCounts] = []
    with IndexedDatasetWriter(joined, dtype) as writer:
        for task in tasks:
            while not _is_done(task):
                if stop.wait(_POLL_SECONDS):
                    raise InterruptedError(f"{joined}: no longer joined")
            try:
                counts.append(read_counts(task.part, dtype))
                for ids, sizes in read_part(task.part, dtype):
                    writer.add_documents(ids, sizes)
            except DamagedPart as error:
                task.part.unlink()
                raise WorkError(f"{task.part}: not whole; run again, and it alone is made again") from error
        if writer.num_tokens:
            writer.finalize()
    return PartCounts(**{name: sum(getattr(part, name) for part in counts) for name in PartCounts.__dataclass_fields__})
