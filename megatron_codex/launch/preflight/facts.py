"""What a rank finds on its node: code, packages, data, disk, GPUs.

In: the training configuration. Out: Facts, which the ranks compare (verdict.py); what is wrong in itself is complained
of at once.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import megatron_codex
from megatron_codex.config.preflight import PreflightConfig
from megatron_codex.model.checkpoint_files import CHECKPOINTS

_SAMPLE_BYTES = 64 * 1024
_NUM_SAMPLES = 16
"""Blocks of a file that are read, spread evenly, beside its size: a fingerprint in milliseconds, whatever its size."""
_CHECKPOINT_BYTES = 12
"""Of a parameter: fp32 weight and Adam's two means."""
_GPU_S = 60.0
_GPU_FIELDS = "index,name,ecc.errors.uncorrected.volatile.total,memory.used,memory.total"
_TAKEN_SHARE = 0.1
"""Of a GPU's memory in use, before the job has started, that is another process's."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one rank found."""

    rank: int
    node: str
    code: str
    """Digest of this package's files."""
    versions: dict[str, str]
    """Python and every installed package -> version."""
    data: dict[str, str]
    """Data file -> digest of its size and samples; "error: ..." for one that cannot be read."""
    disk_mb_s: float | None
    """Megabytes a second written to the checkpoints' directory; None: it was not written to."""
    complaints: dict[str, str] = field(default_factory=dict)
    """Check (disk, gpu) -> what is wrong."""


def find_facts(config: PreflightConfig, *, rank: int, node: str, ranks_here: int, leads: bool) -> Facts:
    """What this rank finds. leads: whether it is the one of its node that writes to the disk and asks the GPUs.

    ranks_here: ranks of this node, each of which needs a GPU where there are any.
    """
    complaints: dict[str, str] = {}
    speed = None
    if leads:
        try:
            speed = _write_speed(config)
        except OSError as error:
            complaints["disk"] = f"{_checkpoints(config)} cannot be written: {error.strerror or error}"
        disk = complaints.get("disk") or _disk_complaint(config, speed)
        gpu = _gpu_complaint(ranks_here)
        complaints = {check: text for check, text in (("disk", disk), ("gpu", gpu)) if text}
    return Facts(
        rank=rank,
        node=node,
        code=_code_digest(),
        versions=_versions(),
        data={str(path): _fingerprint(path) for path in _data_files(config)},
        disk_mb_s=speed,
        complaints=complaints,
    )


def _code_digest() -> str:
    root = Path(megatron_codex.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".so", ".sh") and path.is_file():
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for distribution in metadata.distributions():  # in the order of sys.path: what comes first is imported
        name = distribution.metadata["Name"]
        if name:
            versions.setdefault(name.lower().replace("_", "-"), distribution.version)
    return versions


def _data_files(config: PreflightConfig) -> Iterator[Path]:
    for prefix in config.data.paths("data_prefix"):
        yield from (Path(f"{prefix}.bin"), Path(f"{prefix}.idx"))
    yield from config.data.paths("problems")
    yield from config.data.paths("valid_problems")


def _fingerprint(path: Path) -> str:
    try:
        size = path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        last = max(0, size - _SAMPLE_BYTES)
        with path.open("rb") as handle:
            for number in range(_NUM_SAMPLES):
                handle.seek(last * number // (_NUM_SAMPLES - 1))
                digest.update(handle.read(_SAMPLE_BYTES))
    except OSError as error:
        return f"error: {error.strerror or error}"
    return digest.hexdigest()[:16]


def _checkpoints(config: PreflightConfig) -> Path:
    return config.training.output_dir / CHECKPOINTS


def _write_speed(config: PreflightConfig) -> float | None:
    size = int(config.preflight.disk_test_mb * 1e6)
    if size == 0:
        return None
    folder = _checkpoints(config)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".preflight.{platform.node()}.{os.getpid()}.tmp"
    block = os.urandom(min(size, 1 << 20))
    started = time.perf_counter()
    try:
        with path.open("wb") as handle:
            for begin in range(0, size, len(block)):
                handle.write(block[: size - begin])
            handle.flush()
            os.fsync(handle.fileno())
        return size / 1e6 / (time.perf_counter() - started)
    finally:
        path.unlink(missing_ok=True)


def _disk_complaint(config: PreflightConfig, speed: float | None) -> str | None:
    folder = _checkpoints(config)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    needed = _CHECKPOINT_BYTES * config.model.num_parameters(config.tokenizer.true_vocab_size)
    if free < needed:
        return f"{folder} has {free / 1e6:.0f} MB free, and a checkpoint takes {needed / 1e6:.0f} MB"
    least = config.preflight.min_disk_mb_s
    if speed is not None and speed < least:
        return f"{folder} is written at {speed:.0f} MB/s, and preflight.min_disk_mb_s is {least:g}"
    return None


def _gpu_complaint(ranks_here: int) -> str | None:
    """What nvidia-smi says against this node's GPUs; None where there is no nvidia-smi, and so no GPU to ask for."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_GPU_S, check=False)
    except subprocess.TimeoutExpired:
        return f"nvidia-smi does not answer within {_GPU_S:.0f} s"
    if answer.returncode:
        said = " ".join((answer.stderr or answer.stdout).split())[:200]
        return f"nvidia-smi ended with exit code {answer.returncode}: {said}"
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines() if line.strip()]
    if len(rows) < ranks_here:
        return f"{len(rows)} GPUs answer, for {ranks_here} ranks"
    for index, _, errors, used, total in rows:
        if errors.isdecimal() and int(errors) > 0:
            return f"GPU {index} has {errors} uncorrected memory errors"
        if float(used) > _TAKEN_SHARE * float(total):
            return f"GPU {index} has {used} of {total} MB in use before the job has started"
    return None
