from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_codex.config.corpus import MergeConfig
from megatron_codex.data import indexed
from megatron_codex.data.indexed import IndexedDataset
from megatron_codex.data.merge import MergeSummary, merge_datasets
from megatron_codex.errors import InputError
from megatron_codex.files import sha256_file
from megatron_codex.manifest import read_manifest, write_manifest
from tests.data.datasets import write, write_sequences
from tests.megatron_files import MegatronDataset

DOCUMENTS = [[1, 2, 3], [65_535], [], [4, 0]]


def manifest(prefix: Path, *, tokenizer: dict[str, Any] | None = None) -> None:
    config = {"tokenizer": {"vocab_size": None, "min_run": 2, "max_run": 25, **(tokenizer or {})}}
    extra = {"dtype": "uint16", "eod": 50256, "vocab_size": 50281}
    name = f"{prefix.name}.manifest.json"
    write_manifest(
        prefix.parent, name=name, command="c", config=config, inputs=[], counts={}, started_at=0, extra=extra
    )


def merge(*inputs: Path, prefix: Path) -> MergeSummary:
    return merge_datasets(MergeConfig(input=inputs, output_prefix=prefix))


def stored(prefix: Path) -> list[list[int]]:
    ours, theirs = IndexedDataset(prefix), MegatronDataset(str(prefix))
    documents = [ours.document(index).tolist() for index in range(len(ours))]
    bounds = theirs.document_indices.tolist()
    theirs_whole = [
        [token for sequence in range(start, stop) for token in theirs[sequence].tolist()]
        for start, stop in pairwise(bounds)
    ]
    assert documents == theirs_whole
    return documents


def test_documents_follow_each_other_and_megatron_core_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexed, "_BLOCK", 3)
    a, b = write(tmp_path / "a", DOCUMENTS), write(tmp_path / "b", [[9] * 5, [8]])
    summary = merge(b, a, b, prefix=tmp_path / "out" / "p")
    expected = [[9] * 5, [8], *DOCUMENTS, [9] * 5, [8]]
    assert stored(tmp_path / "out" / "p") == expected
    assert (summary.num_documents, summary.num_tokens, summary.dtype) == (8, sum(map(len, expected)), "uint16")
    assert write(tmp_path / "whole", expected)
    for suffix in (".bin", ".idx"):
        assert Path(f"{tmp_path}/out/p{suffix}").read_bytes() == Path(f"{tmp_path}/whole{suffix}").read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p.bin", "p.idx", "p.manifest.json"]


def test_more_datasets_than_may_be_open_are_merged(tmp_path: Path) -> None:
    datasets = [write(tmp_path / f"{number}", [[number], [number, 1]]) for number in range(130)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    num_open = len(list(Path("/proc/self/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (num_open + 30, hard))
        merge(*datasets, prefix=tmp_path / "p")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert stored(tmp_path / "p") == [document for number in range(130) for document in ([number], [number, 1])]


@pytest.mark.parametrize("with_modes", [False, True])
def test_documents_of_several_sequences_stay_such(tmp_path: Path, with_modes: bool) -> None:
    for name in ("a", "b"):
        documents = [([1, 2, 3, 4, 5], [2, 3]), ([6], [1])]
        write_sequences(tmp_path / name, documents, modes=[[0, 1], [1]] if with_modes else None)
    merge(tmp_path / "a", tmp_path / "b", prefix=tmp_path / "p")
    theirs = MegatronDataset(str(tmp_path / "p"), multimodal=with_modes)
    assert theirs.document_indices.tolist() == [0, 2, 3, 5, 6]
    assert theirs.sequence_lengths.tolist() == [2, 3, 1, 2, 3, 1]
    if with_modes:
        assert theirs.index.sequence_modes.tolist() == [0, 1, 1, 0, 1, 1]
    else:
        assert stored(tmp_path / "p") == [[1, 2, 3, 4, 5], [6]] * 2


def test_pointers_are_64_bits_wide(tmp_path: Path) -> None:
    """Of 2**32 tokens, in a .bin that is a hole: the pointer of the last document is beyond 32 bits."""
    for name in ("a", "b"):
        write(tmp_path / name, [[1]])
        content = bytearray((tmp_path / f"{name}.idx").read_bytes())
        content[34:38] = np.array([2**31 - 1], "<i4").tobytes()
        (tmp_path / f"{name}.idx").write_bytes(content)
        with (tmp_path / f"{name}.bin").open("r+b") as handle:
            handle.truncate(2 * (2**31 - 1))
    prefixes = [tmp_path / "a", tmp_path / "b", tmp_path / "a"]
    with (tmp_path / "joined.idx").open("wb") as handle:
        indexed.write_joined_index(handle, prefixes)
    with (tmp_path / "joined.bin").open("wb") as handle:
        handle.truncate(3 * 2 * (2**31 - 1))
    dataset = IndexedDataset(tmp_path / "joined")
    assert dataset.num_tokens == 3 * (2**31 - 1)
    assert dataset.slice(2, 2**31 - 3, 2**31 - 1).tolist() == [0, 0]


def test_the_manifest_names_inputs_and_the_common_tokenizer(tmp_path: Path) -> None:
    for name in ("a", "b"):
        manifest(write(tmp_path / name, DOCUMENTS))
    merge(tmp_path / "a", tmp_path / "b", prefix=tmp_path / "p")
    content = read_manifest(tmp_path, "p.manifest.json")
    assert content["command"] == "merge_datasets"
    assert content["config"]["tokenizer"] == {"vocab_size": None, "min_run": 2, "max_run": 25}
    assert (content["dtype"], content["eod"], content["vocab_size"]) == ("uint16", 50256, 50281)
    assert content["counts"] == {"documents": 8, "tokens": 12, "datasets": 2}
    for suffix in ("bin", "idx"):
        path = tmp_path / f"a.{suffix}"
        assert content["inputs"][str(path)] == {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def test_a_missing_manifest_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, DOCUMENTS)
    manifest(tmp_path / "a")
    merge(tmp_path / "a", tmp_path / "b", prefix=tmp_path / "p")
    assert "b.manifest.json: no such file, so the merged manifest names no tokenizer" in caplog.text
    assert "tokenizer" not in json.loads((tmp_path / "p.manifest.json").read_text())["config"]


def one_with_modes(prefix: Path) -> None:
    write_sequences(prefix, [([1], [1])], np.uint16, modes=[[1]])


def of_another_tokenizer(prefix: Path) -> None:
    manifest(write(prefix, DOCUMENTS), tokenizer={"max_run": 8})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda prefix: None, r"b\.idx: no such file", id="missing"),
        pytest.param(
            lambda prefix: write(prefix, DOCUMENTS[:1], np.int32),
            r"b\.idx: got 'int32'; its tokens must have the type of those of .*a, uint16",
            id="type",
        ),
        pytest.param(one_with_modes, r"b\.idx: of it and .*a one has modes and the other has none", id="modes"),
        pytest.param(of_another_tokenizer, r"b: got .*'max_run': 8.*made with another tokenizer", id="tokenizer"),
    ],
)
def test_what_does_not_go_together_is_named_and_nothing_is_left(tmp_path: Path, make: Any, message: str) -> None:
    manifest(write(tmp_path / "a", DOCUMENTS))
    make(tmp_path / "b")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message):
        merge(tmp_path / "a", tmp_path / "b", prefix=tmp_path / "p")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".manifest.json"])
def test_an_existing_output_is_kept(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "a", DOCUMENTS)
    Path(f"{tmp_path}/p{suffix}").write_text("kept")
    with pytest.raises(InputError, match="the output exists already"):
        merge(tmp_path / "a", prefix=tmp_path / "p")
    assert Path(f"{tmp_path}/p{suffix}").read_text() == "kept"


KILL = """
import os, signal, sys
from pathlib import Path
from megatron_codex.config.corpus import MergeConfig
from megatron_codex import unfinished
from megatron_codex.data import merge
folder, point = Path(sys.argv[1]), int(sys.argv[2])
replace, renames = Path.replace, 0


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(self: Path, target: Path) -> Path:
    global renames
    if self.name.startswith("joined."):
        if renames == point:
            die()
        renames += 1
    return replace(self, target)


Path.replace = die_at
if point == -1:
    merge._copy = die
if point == 3:
    unfinished._remove = die
merge.merge_datasets(MergeConfig(input=(folder / "a", folder / "b"), output_prefix=folder / "p"))
"""


@pytest.mark.parametrize(
    ("point", "placed"),
    [
        pytest.param(-1, [], id="copying"),
        pytest.param(0, [], id="before-the-first-rename"),
        pytest.param(1, ["p.bin"], id="after-the-bin"),
        pytest.param(2, ["p.bin", "p.manifest.json"], id="after-the-manifest"),
        pytest.param(3, ["p.bin", "p.idx", "p.manifest.json"], id="after-the-idx"),
    ],
)
def test_a_merge_that_is_killed_is_told_from_a_whole_one_and_finished_by_the_next_run(
    tmp_path: Path, point: int, placed: list[str]
) -> None:
    a, b = write(tmp_path / "a", DOCUMENTS), write(tmp_path / "b", [[8]])
    killed = subprocess.run([sys.executable, "-c", KILL, str(tmp_path), str(point)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.glob("p.[bim]*")) == placed
    if "p.idx" in placed:
        assert stored(tmp_path / "p") == [*DOCUMENTS, [8]]
    elif placed:
        message = r"p: is not finished: p\.bin is there without p\.idx; run the command that makes it again"
        with pytest.raises(InputError, match=message):
            IndexedDataset(tmp_path / "p")
    merge(a, b, prefix=tmp_path / "p")
    assert stored(tmp_path / "p") == [*DOCUMENTS, [8]]
    assert sorted(path.name for path in tmp_path.glob("*p.*")) == ["p.bin", "p.idx", "p.manifest.json"]


def test_a_bin_whose_unfinished_work_was_removed_is_told(tmp_path: Path) -> None:
    write(tmp_path / "p", DOCUMENTS)
    (tmp_path / "p.idx").unlink()
    with pytest.raises(InputError, match=r"p: is not finished: .*nothing is left to finish it from: remove .*p\.bin"):
        IndexedDataset(tmp_path / "p")


def test_unfinished_work_of_other_inputs_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = write(tmp_path / "a", DOCUMENTS), write(tmp_path / "b", [[8]])

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("megatron_codex.unfinished.sync_directory", stop)  # after the first rename
        merge(a, b, prefix=tmp_path / "p")
    with pytest.raises(InputError, match=r"p\.partial: holds unfinished work of a run with other inputs"):
        merge(b, a, prefix=tmp_path / "p")
    merge(a, b, prefix=tmp_path / "p")
    assert stored(tmp_path / "p") == [*DOCUMENTS, [8]]
