"""OUTPUT.partial/: who may work in it, what of it stays, and the three commands that keep their work so."""

from __future__ import annotations

import errno
import fcntl
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_codex.config.corpus import CorpusConfig, MergeConfig, PreprocessConfig
from megatron_codex.corpus.build import build_corpus
from megatron_codex.corpus.preprocess import preprocess_data
from megatron_codex.data.indexed import IndexedDatasetWriter
from megatron_codex.data.merge import merge_datasets
from megatron_codex.errors import InputError
from megatron_codex.unfinished import unfinished_work

LOCK = """
import sys, time
from pathlib import Path
from megatron_codex.unfinished import unfinished_work
import json
with unfinished_work(Path(sys.argv[1]), fingerprint=json.loads(sys.argv[2]), outputs=()) as work:
    (work.directory / "part").touch()
    print("locked", flush=True)
    time.sleep(60)
"""


def hold(output: Path, **changes: Any) -> Any:
    return unfinished_work(output, **{"fingerprint": {"of": [1, "a"]}, "outputs": (output,), **changes})


def stopped(output: Path, error: type[BaseException] = KeyboardInterrupt, **changes: Any) -> None:
    """Work of one part that ends with an error."""
    with pytest.raises(error), hold(output, **changes) as work:
        (work.directory / "parts").mkdir(exist_ok=True)
        (work.directory / "parts" / "0").write_text("part")
        raise error("stopped")


@contextmanager
def at_work(output: Path, fingerprint: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Another process that works on the output until the block ends, which is a kill."""
    command = [sys.executable, "-c", LOCK, str(output), json.dumps(fingerprint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "locked\n"
            yield other
        finally:
            other.kill()


def test_work_that_is_done_leaves_nothing(tmp_path: Path) -> None:
    with hold(tmp_path / "deep" / "out") as work:
        assert work.directory == tmp_path / "deep" / "out.partial"
        (work.directory / "whole").write_text("whole")
        work.publish({work.directory / "whole": tmp_path / "deep" / "out"})
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert (tmp_path / "deep" / "out").read_text() == "whole"


def test_work_that_was_stopped_is_found_again(tmp_path: Path) -> None:
    stopped(tmp_path / "out")
    with hold(tmp_path / "out") as work:
        assert (work.directory / "parts" / "0").read_text() == "part"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("keep", "left"), [(True, ["out.partial"]), (False, [])])
def test_bad_input_ends_the_work_unless_it_is_of_use_after_it(tmp_path: Path, keep: bool, left: list[str]) -> None:
    class Bad(InputError):
        def __init__(self, where: str) -> None:
            super().__init__(where, rule="bad", remedy="mend it")

    stopped(tmp_path / "out", Bad, keep_on_bad_input=keep)
    assert [path.name for path in tmp_path.iterdir()] == left


def test_an_error_before_any_work_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold(tmp_path / "out") as work:
        (work.directory / "parts").mkdir()
        (work.directory / "parts" / ".0.123.tmp").touch()  # what a killed worker was writing
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_work_on_something_else_is_not_taken(tmp_path: Path) -> None:
    stopped(tmp_path / "out")
    message = r"out\.partial: holds unfinished work of a run with other of; remove this directory"
    with pytest.raises(InputError, match=message), hold(tmp_path / "out", fingerprint={"of": [1, "b"]}):
        pass
    assert (tmp_path / "out.partial/parts/0").exists()


@pytest.mark.parametrize("name", ["mine", "fingerprint.json"])
def test_a_directory_of_that_name_that_is_not_ours_is_kept_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / name).write_text("kept")
    with pytest.raises(InputError, match=r"out\.partial: holds unfinished work"), hold(tmp_path / "out"):
        pass
    assert [path.read_text() for path in (tmp_path / "out.partial").iterdir()] == ["kept"]


def test_outputs_that_are_there_are_kept_and_so_is_work_on_them(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("kept")
    with pytest.raises(InputError, match="out: the output exists already"), hold(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "out").unlink()
    stopped(tmp_path / "out")
    (tmp_path / "out").write_text("kept")
    with pytest.raises(InputError, match="out: the output exists already"), hold(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "kept"
    assert (tmp_path / "out.partial/parts/0").exists()


def test_outputs_that_the_work_itself_has_put_in_place_do_not_stop_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold(tmp_path / "out") as work:
        (work.directory / "whole").touch()
        work.publish({work.directory / "whole": tmp_path / "out"})
        raise KeyboardInterrupt
    with hold(tmp_path / "out") as work:
        assert work.publishing


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with at_work(tmp_path / "out", {"of": [1, "a"]}) as other:
        message = rf"out\.partial: another process \(.+, process {other.pid}\) is at work on this output; wait for it"
        for changes in ({}, {"fingerprint": {"of": "other input"}}):
            with pytest.raises(InputError, match=message), hold(tmp_path / "out", **changes):
                pass
    with hold(tmp_path / "out") as work:
        assert (work.directory / "part").exists()


def test_a_lock_that_was_removed_by_who_held_it_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the file and locking it, its holder ends: what was locked then is no longer there."""
    lock = fcntl.flock
    opened = []

    def late(handle: Any, operation: int) -> None:
        if not opened:
            Path(handle.name).parent.rename(tmp_path / "gone")
        opened.append(handle.name)
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with hold(tmp_path / "out") as work:
        assert (work.directory / "lock").exists()
    assert len(opened) == 2


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(tmp_path / "out"):
        pass
    assert "out.partial: its file system has no locks; no second run on this output will be refused" in caplog.text


def build(folder: Path) -> None:
    (folder / "a.py").write_text("x = 1\n")
    build_corpus(CorpusConfig(input=(folder / "a.py",), output=folder / "out", workers=1))


def preprocess(folder: Path) -> None:
    (folder / "a.jsonl").write_text('{"text": "x = 1"}\n')
    preprocess_data(PreprocessConfig(input=(folder / "a.jsonl",), output_prefix=folder / "out", workers=1))


def merge(folder: Path) -> None:
    if not (folder / "a.idx").exists():
        with IndexedDatasetWriter(folder / "a", np.uint16) as writer:
            writer.add_document(np.arange(5))
            writer.finalize()
    merge_datasets(MergeConfig(input=(folder / "a",), output_prefix=folder / "out"))


@pytest.mark.parametrize("command", [build, preprocess, merge], ids=lambda command: command.__name__)
def test_a_second_run_of_a_command_at_the_same_time_is_refused(tmp_path: Path, command: Callable[[Path], None]) -> None:
    (tmp_path / "out.partial").mkdir()
    with (tmp_path / "out.partial/lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # of another open file, so of another run, in this process or not
        with pytest.raises(InputError, match=r"out\.partial: another process is at work on this output; wait for it"):
            command(tmp_path)
    command(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
