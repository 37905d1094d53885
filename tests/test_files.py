from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.errors import InputError
from megatron_codex.files import atomic_directory, atomic_file, require_file, sha256_file


def test_atomic_file_appears_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.bin"
    with atomic_file(target) as handle:
        handle.write(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_atomic_file_keeps_the_old_content_on_an_error(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(target, "w") as handle:
        handle.write("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_directory_appears_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(RuntimeError), atomic_directory(target) as folder:
        (folder / "a").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with atomic_directory(target) as folder:
        (folder / "a").write_text("whole")
    assert (target / "a").read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_directory_refuses_a_taken_name(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("kept")
    with pytest.raises(InputError, match="exists already"), atomic_directory(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "kept").read_text() == "kept"


@pytest.mark.parametrize("kind", ["missing", "empty", "directory"])
def test_require_file_names_what_is_wrong(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "empty":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    expected = {"missing": "no such file", "empty": "is empty", "directory": "is a directory"}[kind]
    with pytest.raises(InputError, match=expected):
        require_file(path, "a thing")


def test_sha256_is_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
