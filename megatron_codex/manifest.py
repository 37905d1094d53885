"""manifest.json of every output directory: inputs with hashes, resolved config, versions, counts, time.

Every number a user reads is traced through these files:
config -> data fingerprint -> checkpoint -> samples -> verdicts.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import megatron_codex
from megatron_codex.config.load import config_to_dict
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, sha256_file

MANIFEST_NAME = "manifest.json"
FORMAT = "megatron_codex/manifest/1"

_VERSIONED = ("torch", "megatron-core", "numpy", "pyarrow", "tiktoken")


def write_manifest(
    directory: Path | str,
    *,
    command: str,
    config: Any,
    inputs: Iterable[Path | str] | Mapping[Path, str],
    counts: Mapping[str, Any],
    started_at: float,
    extra: Mapping[str, Any] | None = None,
    name: str = MANIFEST_NAME,
) -> Path:
    """Write DIRECTORY/manifest.json atomically and return its path.

    config: a config dataclass (its resolved values are stored) or a mapping. inputs: files, hashed by SHA-256 here;
    or files and their hashes.
    started_at: time.time() of the work's start, in seconds. extra: further top-level keys.
    """
    path = Path(directory) / name
    digests = inputs if isinstance(inputs, Mapping) else {item: sha256_file(item) for item in inputs}
    content = {
        "format": FORMAT,
        "command": command,
        "config": dict(config) if isinstance(config, Mapping) else config_to_dict(config),
        "inputs": {
            str(item): {"sha256": digest, "bytes": Path(item).stat().st_size} for item, digest in digests.items()
        },
        "counts": dict(counts),
        "versions": package_versions(),
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_at)),
        "seconds": round(time.time() - started_at, 3),
        **(extra or {}),
    }
    with atomic_file(path, "w") as handle:
        json.dump(content, handle, indent=2, default=str)
        handle.write("\n")
    return path


def read_manifest(directory: Path | str, name: str = MANIFEST_NAME) -> dict[str, Any]:
    """The manifest of an output directory. Raises InputError when it is missing or not a manifest."""
    path = Path(directory) / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        remedy = "the stage that makes this directory did not end: run it again"
        raise InputError(str(path), rule="no such file", remedy=remedy) from error
    except ValueError as error:
        raise InputError(str(path), rule=f"not valid JSON ({error})", remedy="run the stage again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(str(path), rule=f"not a manifest of format {FORMAT}", remedy="run the stage again")
    return content


def package_versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that decide results."""
    versions = {"python": platform.python_version(), "megatron_codex": megatron_codex.__version__}
    for package in _VERSIONED:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
