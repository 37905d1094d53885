"""Workers and whole runs killed in the middle: the bytes are those of a run that was left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_codex.config.corpus import PreprocessConfig
from megatron_codex.corpus import preprocess
from megatron_codex.corpus.preprocess import preprocess_data
from megatron_codex.errors import InputError

TASK_BYTES = 10_000
PROGRAM = f"""
import sys
from pathlib import Path
from megatron_codex.config.corpus import PreprocessConfig
from megatron_codex.corpus import preprocess
if __name__ == "__main__":
    preprocess.TASK_BYTES = {TASK_BYTES}
    source, prefix, workers = sys.argv[1:]
    config = PreprocessConfig(input=(Path(source),), output_prefix=Path(prefix), workers=int(workers))
    preprocess.preprocess_data(config)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    random = np.random.default_rng(0)
    with path.open("w") as handle:
        for number in range(10_000):
            words = random.integers(0, 100_000, 100).tolist()
            handle.write(json.dumps({"text": f"number = {number}\n" + " ".join(map(str, words))}) + "\n")
    return path


def start(source: Path, prefix: Path, *, workers: int = 2) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, str(source), str(prefix), str(workers)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)


def parts(prefix: Path) -> dict[str, int]:
    """Done parts, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(f"{prefix}.partial").glob("*.part")}


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"it ended before it was killed: {process.stderr and process.stderr.read()!r}"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def contents(prefix: Path) -> list[bytes]:
    return [Path(f"{prefix}{suffix}").read_bytes() for suffix in (".bin", ".idx")]


def undisturbed(source: Path, prefix: Path) -> list[bytes]:
    preprocess_data(PreprocessConfig(input=(source,), output_prefix=prefix, workers=1))
    return contents(prefix)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a run: the process and the workers in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_time_only(tmp_path: Path, source: Path) -> None:
    process = start(source, tmp_path / "p")
    try:
        wait_until(lambda: len(parts(tmp_path / "p")) > 5, process)
        os.kill(workers_of(process)[0], signal.SIGKILL)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    finally:
        end(process)
    assert contents(tmp_path / "p") == undisturbed(source, tmp_path / "whole")
    names = {path.name for path in tmp_path.iterdir()}
    assert {name for name in names if "partial" in name} == set()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_where_it_stopped(tmp_path: Path, source: Path) -> None:
    done: dict[str, int] = {}
    for _ in range(2):
        process = start(source, tmp_path / "p")
        try:
            enough = len(done) + 20
            wait_until(lambda enough=enough: len(parts(tmp_path / "p")) > enough, process)  # type: ignore[misc]
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        finally:
            end(process)
        found = parts(tmp_path / "p")
        assert done.items() <= found.items(), "what was done was done again"
        assert not (tmp_path / "p.bin").exists()
        done = found
    process = start(source, tmp_path / "p")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert contents(tmp_path / "p") == undisturbed(source, tmp_path / "whole")
    assert not (tmp_path / "p.partial").exists()


def interrupted(source: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """A run that stops when it comes to call `at` of the module."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(preprocess, at, stop)
        preprocess_data(PreprocessConfig(input=(source,), output_prefix=prefix, workers=1))


@pytest.mark.parametrize("at", ["_join", "write_manifest"])
def test_a_run_that_stops_while_it_joins_is_finished(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    interrupted(source, tmp_path / "p", monkeypatch, at)
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "p.partial"}
    assert undisturbed(source, tmp_path / "p") == undisturbed(source, tmp_path / "whole")
    assert not (tmp_path / "p.partial").exists()


@pytest.mark.parametrize("num_renamed", [0, 1, 2, 3])
def test_a_run_that_stops_between_two_renames_is_finished(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, num_renamed: int
) -> None:
    renames = 0
    replace = Path.replace

    def stop_after(self: Path, target: Path) -> Path:
        nonlocal renames
        if self.name.startswith("joined."):
            if renames == num_renamed:
                raise KeyboardInterrupt
            renames += 1
        return replace(self, target)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", stop_after)
        patch.setattr("megatron_codex.unfinished._remove", stop)
        preprocess_data(PreprocessConfig(input=(source,), output_prefix=tmp_path / "p", workers=1))
    assert sum(path.name in ("p.bin", "p.idx", "p.manifest.json") for path in tmp_path.iterdir()) == num_renamed
    assert undisturbed(source, tmp_path / "p") == undisturbed(source, tmp_path / "whole")
    names = ["p.bin", "p.idx", "p.manifest.json"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("p.")) == names


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"append_eod": False}, "other append_eod;", id="setting"),
        pytest.param({"json_key": "code"}, "other json_key;", id="key"),
        pytest.param({}, "other inputs;", id="input"),
    ],
)
def test_unfinished_work_of_another_run_is_not_taken(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], named: str
) -> None:
    interrupted(source, tmp_path / "p", monkeypatch, "_join")
    before = parts(tmp_path / "p")
    if not change:
        os.utime(source, (0, 0))
    config = PreprocessConfig(input=(source,), output_prefix=tmp_path / "p", workers=1, **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"p\.partial: holds unfinished work of a run with {named} remove this"):
        preprocess_data(config)
    assert parts(tmp_path / "p") == before


def test_a_folder_of_that_name_that_is_not_ours_is_kept(tmp_path: Path, source: Path) -> None:
    (tmp_path / "p.partial").mkdir()
    (tmp_path / "p.partial" / "mine").write_text("kept")
    with pytest.raises(InputError, match=r"p\.partial: holds unfinished work"):
        undisturbed(source, tmp_path / "p")
    assert (tmp_path / "p.partial" / "mine").read_text() == "kept"


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-1], lambda content: b"\x01" + content[1:], lambda content: b""],
    ids=["cut", "changed", "empty"],
)
def test_a_part_that_a_power_failure_damaged_is_made_again(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    interrupted(source, tmp_path / "p", monkeypatch, "_join")
    [part] = Path(f"{tmp_path}/p.partial").glob("*.part")
    part.write_bytes(damage(part.read_bytes()))
    assert undisturbed(source, tmp_path / "p") == undisturbed(source, tmp_path / "whole")


# VmHWM, not getrusage: that counts the memory of the process that the command was forked from as well.
MEASURE = """
import sys
from pathlib import Path
from megatron_codex.config.corpus import PreprocessConfig
from megatron_codex.corpus.preprocess import preprocess_data
preprocess_data(PreprocessConfig(input=(Path(sys.argv[1]),), output_prefix=Path(sys.argv[2]), workers=1))
[line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(line.split()[1]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, suffix: str) -> None:
    letters = np.frombuffer(b"aeiounrst(,   \n", np.uint8)
    words = np.random.default_rng(0).choice(letters, 3_000_000).tobytes().decode()
    peaks = []
    for num_texts in (6_000, 60_000):
        texts = [f"{number}\n" + words[number * 45 :][:5_000] for number in range(num_texts)]
        path = tmp_path / f"{num_texts}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.table({"content": texts}), path, row_group_size=num_texts)  # one row group of 300 MB
        else:
            with path.open("w") as handle:
                handle.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        del texts
        command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / f"p{num_texts}")]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout))
    assert max(peaks) < 500e6
    assert peaks[1] - peaks[0] < 60e6
