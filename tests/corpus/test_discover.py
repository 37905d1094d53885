from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.corpus import CorpusConfig
from megatron_codex.corpus import discover
from megatron_codex.corpus.discover import find_units
from megatron_codex.corpus.languages import Selection
from megatron_codex.errors import ConfigError, InputError


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def found(*inputs: Path, **changes: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    config = CorpusConfig(input=inputs, output=Path("unused"), **changes)
    return [(unit.kind, unit.path.name, unit.names) for unit in find_units(config)]


def test_python_files_of_a_directory_come_sorted_and_others_are_ignored(tmp_path: Path) -> None:
    make(tmp_path / "tree", "b.py", "a/z.py", "a.py", "a/B.PY", "notes.ipynb", "a.pyc", "py", "README.md")
    assert found(tmp_path / "tree") == [("files", "tree", ("a.py", "a/B.PY", "a/z.py", "b.py"))]


def test_a_large_directory_is_several_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "_FILES_IN_A_UNIT", 2)
    make(tmp_path / "tree", "1.py", "2.py", "3.py")
    assert [names for _, _, names in found(tmp_path / "tree")] == [("1.py", "2.py"), ("3.py",)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.tar", "tar"), ("a.tar.gz", "tar"), ("a.tgz", "tar"), ("a.tar.bz2", "tar"), ("A.TAR.XZ", "tar"),
        ("a.tar.zst", "tar"), ("a.zip", "zip"), ("a-1.0-py3-none-any.whl", "zip"), ("a.jsonl", "jsonl"),
        ("a.jsonl.gz", "jsonl"), ("a.jsonl.zst", "jsonl"), ("a.parquet", "parquet"),
    ],
)  # fmt: skip
def test_an_archive_or_table_is_known_by_its_ending(tmp_path: Path, name: str, kind: str) -> None:
    make(tmp_path, name)
    assert found(tmp_path / name) == [(kind, name, ())]


def test_inputs_come_in_one_order_and_once(tmp_path: Path) -> None:
    make(tmp_path, "b.zip", "a.py", "c/x.py")
    expected = [("files", tmp_path.name, ("a.py",)), ("zip", "b.zip", ()), ("files", "c", ("x.py",))]
    paths = [tmp_path / "a.py", tmp_path / "b.zip", tmp_path / "c"]
    assert found(*paths) == found(*reversed(paths), paths[1]) == expected


@pytest.mark.parametrize(
    ("mode", "with_sources", "opened"),
    [("auto", False, True), ("auto", True, False), ("always", True, True), ("never", True, False)],
)
def test_archives_in_a_directory_are_opened_when_they_are_what_it_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, with_sources: bool, opened: bool
) -> None:
    make(tmp_path / "folder", "sub/a.whl", "b.parquet", *(["c.py"] if with_sources else []))
    with caplog.at_level(logging.WARNING):
        kinds = [kind for kind, _, _ in found(tmp_path / "folder", archives_in_directories=mode)]
    assert kinds == (["files"] if with_sources else []) + (["parquet", "zip"] if opened else [])
    assert ("2 archives, repositories and tables in it are not opened" in caplog.text) == (not opened)


def test_excluded_names_are_passed_over_below_the_input_only(tmp_path: Path) -> None:
    root = make(tmp_path / "site-packages", "a.py", "lib/site-packages/b.py", "test_c.py", "d/test_e.py")
    assert found(root, exclude=("site-packages", "test_*")) == [("files", "site-packages", ("a.py",))]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    root = make(tmp_path / "tree", "a.py")
    (root / "loop").symlink_to(root, target_is_directory=True)
    assert found(root) == [("files", "tree", ("a.py",))]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "tree", "a.py", "locked/b.py")
    listed = os.scandir

    def scandir(path: str) -> Any:
        if Path(path).name == "locked":  # as for another user than root, who may list everything
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(root) == [("files", "tree", ("a.py", "locked"))]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("missing", r"missing: no such file", id="missing"),
        pytest.param("empty", r"empty: holds no Python file", id="empty-directory"),
        pytest.param("notes", r"notes: holds no Python file", id="nothing-of-ours"),
        pytest.param("a.txt", r"a\.txt: is no kind of input.*one of \.py, \.tar", id="unknown-ending"),
        pytest.param("zero.tar", r"zero\.tar: the file is empty", id="empty-file"),
    ],
)
def test_an_input_with_nothing_to_read_is_named(tmp_path: Path, name: str, message: str) -> None:
    make(tmp_path, "a.txt", "notes/a.ipynb", "good.py")
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.tar").touch()
    with pytest.raises(InputError, match=message):
        found(tmp_path / "good.py", tmp_path / name)


def test_what_is_read_of_a_container_goes_with_it(tmp_path: Path) -> None:
    make(tmp_path, "a.tar", "b.ipynb", "c.go", "d.py")
    inputs = (tmp_path, tmp_path / "a.tar")
    changes: dict[str, Any] = {"languages": ("Go",), "notebooks": True, "max_archive_bytes": 7}
    units = find_units(CorpusConfig(input=inputs, output=Path("unused"), **changes))
    assert [(unit.kind, unit.names) for unit in units] == [("files", ("b.ipynb", "c.go")), ("tar", ())]
    selection = Selection(languages=("Go",), notebooks=True)
    assert {(unit.selection, unit.max_archive_bytes) for unit in units} == {(selection, 7)}


@pytest.mark.parametrize(
    ("values", "field"), [({"languages": ()}, "languages"), ({"max_archive_bytes": 0}, "max_archive_bytes")]
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CorpusConfig(input=(Path("a"),), output=Path("b"), **values)
    assert [fault.field for fault in caught.value.faults] == [field]
