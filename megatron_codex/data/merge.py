"""Several indexed datasets to one: the documents of the first, then those of the second, and so on.

In: PREFIXes of .bin/.idx files of one token type. Out: PREFIX.bin, PREFIX.idx, PREFIX.manifest.json. The tokens are
copied in blocks and the indices joined array by array, so that neither memory nor time depends on what a document is.
Memory: some MB, whatever the datasets' number and size. Disk: the output only.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_codex.config.corpus import MergeConfig
from megatron_codex.config.load import config_to_dict
from megatron_codex.data.index_file import read_index_arrays
from megatron_codex.data.indexed import (
    IndexedDataset,
    bin_path,
    dataset_files,
    idx_path,
    manifest_path,
    write_joined_index,
)
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, sha256_file
from megatron_codex.log import progress
from megatron_codex.manifest import read_manifest, write_manifest
from megatron_codex.unfinished import unfinished_work

logger = logging.getLogger(__name__)

_JOINED = "joined"
_COPY_BYTES = 1 << 23
_TOKENIZER_KEYS = ("dtype", "eod", "vocab_size")


@dataclass(frozen=True, kw_only=True)
class MergeSummary:
    """What was written."""

    num_documents: int
    num_tokens: int
    dtype: str
    seconds: float


def merge_datasets(config: MergeConfig) -> MergeSummary:
    """Join config.input, in the order given, into config.output_prefix's three files, whole or not at all.

    Documents of several sequences stay such; modes are joined when all inputs have them.
    They are made in PREFIX.partial/ and put in place one by one; a run that was killed in between is repeated.
    Raises: InputError for a missing or damaged input, inputs that do not go together, an output that exists or that
    another process is at work on, or unfinished work of other inputs.
    """
    started_at = time.time()
    prefix = config.output_prefix
    shapes = [_shape(source) for source in config.input]
    _require_alike(config.input, shapes)
    tokenizer = common_tokenizer(config.input)
    with unfinished_work(prefix, fingerprint=_fingerprint(config.input), outputs=dataset_files(prefix)) as work:
        joined = work.directory / _JOINED
        digests = _join(config.input, joined)
        summary = MergeSummary(
            num_documents=sum(shape.num_documents for shape in shapes),
            num_tokens=sum(shape.num_tokens for shape in shapes),
            dtype=shapes[0].dtype,
            seconds=time.time() - started_at,
        )
        write_manifest(
            work.directory,
            name=manifest_path(joined).name,
            command="merge_datasets",
            config={**config_to_dict(config), **({"tokenizer": tokenizer["tokenizer"]} if tokenizer else {})},
            inputs=digests,
            counts={"documents": summary.num_documents, "tokens": summary.num_tokens, "datasets": len(shapes)},
            started_at=started_at,
            extra={"dtype": summary.dtype, **{key: tokenizer[key] for key in _TOKENIZER_KEYS if key in tokenizer}},
        )
        work.publish(dict(zip(dataset_files(joined), dataset_files(prefix), strict=True)))
    return summary


def common_tokenizer(prefixes: Sequence[Path]) -> Mapping[str, Any]:
    """What the manifests beside the datasets say of their tokenizer; empty, with a warning, when one says nothing.

    Raises: InputError when two of them differ.
    """
    found: dict[Path, dict[str, Any]] = {}
    for prefix in prefixes:
        manifest = manifest_path(prefix)
        if not manifest.exists():
            logger.warning("%s: no such file, so the merged manifest names no tokenizer", manifest)
            return {}
        content = read_manifest(manifest.parent, manifest.name)
        if "tokenizer" not in content["config"]:
            logger.warning("%s: names no tokenizer, so the merged manifest does not either", manifest)
            return {}
        found[prefix] = {"tokenizer": content["config"]["tokenizer"], **{key: content[key] for key in _TOKENIZER_KEYS}}
    first = prefixes[0]
    for prefix, tokenizer in found.items():
        if tokenizer != found[first]:
            rule = f"its tokens were made with another tokenizer than those of {first}"
            raise InputError(str(prefix), value=tokenizer["tokenizer"], rule=rule, remedy="tokenise both with one")
    return found[first]


@dataclass(frozen=True, kw_only=True)
class _Shape:
    dtype: str
    has_modes: bool
    num_documents: int
    num_tokens: int


def _shape(prefix: Path) -> _Shape:
    dataset = IndexedDataset(prefix)  # checks both files
    return _Shape(
        dtype=dataset.dtype.name,
        has_modes=read_index_arrays(idx_path(prefix)).modes is not None,
        num_documents=len(dataset),
        num_tokens=dataset.num_tokens,
    )


def _require_alike(prefixes: Sequence[Path], shapes: Sequence[_Shape]) -> None:
    first = shapes[0]
    for prefix, shape in zip(prefixes, shapes, strict=True):
        where = str(idx_path(prefix))
        if shape.dtype != first.dtype:
            rule = f"its tokens must have the type of those of {prefixes[0]}, {first.dtype}"
            raise InputError(where, value=shape.dtype, rule=rule, remedy="tokenise both with one vocabulary")
        if shape.has_modes != first.has_modes:
            rule = f"of it and {prefixes[0]} one has modes and the other has none"
            raise InputError(where, rule=rule, remedy="merge datasets with modes by themselves")


def _fingerprint(inputs: Sequence[Path]) -> dict[str, Any]:
    status = [(str(path), path.stat()) for prefix in inputs for path in (bin_path(prefix), idx_path(prefix))]
    found = [[name, of.st_size, of.st_mtime_ns] for name, of in status]
    return {"command": "merge_datasets", "inputs": found}


def _join(inputs: Sequence[Path], joined: Path) -> dict[Path, str]:
    """Write JOINED.bin and JOINED.idx; the SHA-256 of each input file. What a killed run left there is written anew."""
    digests: dict[Path, str] = {}
    with atomic_file(idx_path(joined)) as index, atomic_file(bin_path(joined)) as tokens:
        write_joined_index(index, inputs)
        for source in progress(inputs, total=len(inputs), description="merge", unit="datasets"):
            digests[bin_path(source)] = _copy(bin_path(source), tokens)
            digests[idx_path(source)] = sha256_file(idx_path(source))
    return digests


def _copy(source: Path, target: Any) -> str:
    """Append a file to an open one; returns its SHA-256."""
    digest = hashlib.sha256()
    with source.open("rb") as handle:
        while block := handle.read(_COPY_BYTES):
            digest.update(block)
            target.write(block)
    return digest.hexdigest()
