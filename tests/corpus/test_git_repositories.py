from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import psutil
import pytest

from megatron_codex.config.corpus import CorpusConfig
from megatron_codex.corpus import git_objects, git_repositories
from megatron_codex.corpus.candidates import ARCHIVE_TOO_LARGE, NOT_A_FILE, STALLED, TOO_LARGE, UNREADABLE, Candidate
from megatron_codex.corpus.discover import Unit, find_units
from megatron_codex.corpus.languages import selection_of
from megatron_codex.corpus.readers import read_unit
from megatron_codex.errors import InputError

FILES = {
    "b.py": "b = 1\n",
    "a.py": "a = 1\n",
    "src/deep/c.py": "c = 1\n",
    "notes.md": "no\n",
    "src/new\nline.py": "d = 1\n",
}
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{f"GIT_{who}_{what}": "tester@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(folder: Path, *arguments: str, text: str | None = None) -> str:
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, input=text, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def repository(root: Path, files: dict[str, str] = FILES, *, object_format: str = "sha1") -> Path:
    """A bare repository with one commit, its index filled from `files`."""
    bare = root / "project.git"
    git(root, "init", "-q", "--bare", f"--object-format={object_format}", str(bare))
    for name, content in files.items():
        add(bare, "100644", git(bare, "hash-object", "-w", "--stdin", text=content), name)
    commit(bare)
    return bare


def add(bare: Path, mode: str, object_name: str, name: str) -> None:
    git(bare, "update-index", "--add", "--cacheinfo", f"{mode},{object_name},{name}")


def commit(bare: Path) -> None:
    git(bare, "update-ref", "HEAD", git(bare, "commit-tree", "-m", "files", git(bare, "write-tree")))


def loose(bare: Path, object_name: str) -> Path:
    return bare / "objects" / object_name[:2] / object_name[2:]


def read(bare: Path, *, max_bytes: int = 1_000_000, **changes: Any) -> list[Candidate]:
    return list(read_unit(Unit(kind="git", path=bare, **changes), max_bytes=max_bytes))


FAKE_GIT = """#!{python} -IS
import os, subprocess, sys, time
answers, pace = {answers}, {pace}
real = subprocess.Popen([{git!r}, *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for number, name in enumerate(sys.stdin.buffer):
    if number >= answers and not pace:
        time.sleep(60)
    real.stdin.write(name)
    real.stdin.flush()
    answer = real.stdout.readline()
    answer += real.stdout.read(int(answer.split()[2]) + 1)
    for byte in [answer] if number < answers else [answer[i : i + 1] for i in range(len(answer))]:
        os.write(1, byte)
        time.sleep(0 if number < answers else pace)
"""


@pytest.mark.parametrize(
    ("answers", "pace", "found"),
    [
        pytest.param(0, 0, [("", STALLED)], id="silent"),
        pytest.param(2, 0.5, [("a.py", ""), ("", STALLED)], id="dripping-after-a-file"),
    ],
)
def test_a_git_that_gives_nothing_is_ended_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: int, pace: float, found: list[tuple[str, str]]
) -> None:
    bare = repository(tmp_path)
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(FAKE_GIT.format(python=sys.executable, git=shutil.which("git"), answers=answers, pace=pace))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    began = time.monotonic()
    assert named(read(bare, git_timeout_s=5.0)) == found
    assert time.monotonic() - began < 30, "it was waited for"
    assert not any("cat-file" in " ".join(child.cmdline()) for child in psutil.Process().children())


def test_an_object_longer_than_a_pipe_holds_is_read(tmp_path: Path) -> None:
    files = {"a.py": "a = 1\n" * 100_000, "b.py": "b = 1\n", "c.py": "é" * 300_000 + "\n"}
    found = read(repository(tmp_path, files))
    assert [candidate.content for candidate in found] == [text.encode() for text in files.values()]


def named(candidates: list[Candidate]) -> list[tuple[str, str]]:
    return [(candidate.path, candidate.fault) for candidate in candidates]


EXPECTED = [("a.py", "a = 1\n"), ("b.py", "b = 1\n"), ("src/deep/c.py", "c = 1\n"), ("src/new?line.py", "d = 1\n")]


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("state", ["loose", "packed", "detached"])
def test_the_files_of_head_are_read_in_git_s_order(tmp_path: Path, object_format: str, state: str) -> None:
    bare = repository(tmp_path, object_format=object_format)
    if state == "packed":
        git(bare, "repack", "-q", "-a", "-d")
        git(bare, "pack-refs", "--all")
        assert not (bare / "refs" / "heads" / "main").exists()
    if state == "detached":
        (bare / "HEAD").write_text(git(bare, "rev-parse", "HEAD") + "\n")
    candidates = read(bare)
    assert [(item.path, bytes(item.content).decode()) for item in candidates] == EXPECTED  # type: ignore[arg-type]
    assert {(item.source, item.repository, item.licence) for item in candidates} == {(str(bare), "project", "")}


def test_links_and_submodules_are_no_files(tmp_path: Path) -> None:
    bare = repository(tmp_path)
    target = git(bare, "hash-object", "-w", "--stdin", text="/etc/passwd")
    add(bare, "120000", target, "link.py")
    add(bare, "120000", target, "link.md")
    add(bare, "160000", "1" * 40, "vendor/library")
    commit(bare)
    selection = selection_of(["JavaScript", "Python"], notebooks=False)
    found = [(item.path, item.fault, item.language) for item in read(bare, selection=selection) if item.fault]
    assert found == [("link.py", NOT_A_FILE, "Python"), ("vendor/library", NOT_A_FILE, "JavaScript")]


def test_a_repository_without_a_commit_is_counted_once(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "empty.git")
    assert named(read(tmp_path / "empty.git")) == [("", UNREADABLE)]


def test_what_only_looks_like_a_repository_is_counted_once(tmp_path: Path) -> None:
    for name in ("objects", "refs"):
        (tmp_path / "fake.git" / name).mkdir(parents=True)
    (tmp_path / "fake.git" / "HEAD").write_text("nonsense")
    assert named(read(tmp_path / "fake.git")) == [("", UNREADABLE)]


def test_a_file_of_the_limit_is_not_loaded_and_the_next_is_read(tmp_path: Path) -> None:
    bare = repository(tmp_path, {"a.py": "x" * 1000, "b.py": "x" * 999, "c.py": "x" * 30_000_000})
    tracemalloc.start()
    found = [(item.path, item.fault, item.size_bytes, len(item.content)) for item in read(bare, max_bytes=1000)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [("a.py", TOO_LARGE, 1000, 0), ("b.py", "", 999, 999), ("c.py", TOO_LARGE, 30_000_000, 0)]
    assert peak < 10_000_000


@pytest.mark.parametrize("damage", ["missing", "corrupt", "another-type"])
def test_a_damaged_file_is_counted_and_the_others_are_read(tmp_path: Path, damage: str) -> None:
    bare = repository(tmp_path, {"a.py": "a = 1\n", "b.py": "b = 1\n", "c.py": "c = 1\n"})
    path = loose(bare, git(bare, "rev-parse", "HEAD:b.py"))
    path.chmod(0o600)
    if damage == "missing":
        path.unlink()
    elif damage == "corrupt":
        path.write_bytes(zlib.compress(b"blob 6\0zzzzzz")[:-3] + b"abc")
    else:
        replace_object(bare, "HEAD:b.py", "HEAD^{tree}")
    assert named(read(bare)) == [("a.py", ""), ("b.py", UNREADABLE), ("c.py", "")]


def replace_object(bare: Path, name: str, by: str) -> None:
    """Let the tree of HEAD name another object where it named this one: git writes no such tree itself."""
    content = zlib.decompress(loose(bare, git(bare, "rev-parse", "HEAD^{tree}")).read_bytes())
    old, new = (bytes.fromhex(git(bare, "rev-parse", item)) for item in (name, by))
    changed = content.replace(old, new)
    tree = hashlib.sha1(changed).hexdigest()
    loose(bare, tree).parent.mkdir(exist_ok=True)
    loose(bare, tree).write_bytes(zlib.compress(changed))
    git(bare, "update-ref", "HEAD", git(bare, "commit-tree", "-m", "changed", tree))


def test_a_repository_that_holds_too_much_is_left_at_the_limit(tmp_path: Path) -> None:
    bare = repository(tmp_path, {"a.py": "a = 1\n", "b.py": "#" * 100_000, "c.py": "c = 1\n"})
    assert named(read(bare, max_archive_bytes=100_000)) == [("a.py", ""), ("", ARCHIVE_TOO_LARGE)]


def test_trees_in_trees_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_repositories, "_MAX_ENTRIES", 5_000)
    bare = repository(tmp_path, {"a.py": "a = 1\n"})
    blob = git(bare, "rev-parse", "HEAD:a.py")
    tree = git(bare, "mktree", text="".join(f"100644 blob {blob}\t{number}.py\n" for number in range(10)))
    for _ in range(9):  # 10^10 files
        tree = git(bare, "mktree", text="".join(f"040000 tree {tree}\t{number}\n" for number in range(10)))
    git(bare, "update-ref", "HEAD", git(bare, "commit-tree", "-m", "bomb", tree))
    candidates = read(bare)
    assert len(candidates) < 5_001
    assert candidates[-1].fault == ARCHIVE_TOO_LARGE


@pytest.mark.parametrize("git_is_old", [False, True])
def test_nothing_of_a_repository_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git_is_old: bool) -> None:
    """Its hooks, its monitor of files, and the remote of a partial clone that lacks a file."""
    if git_is_old:
        monkeypatch.delitem(git_objects._ENVIRONMENT, "GIT_NO_LAZY_FETCH")
    bare = repository(tmp_path, {"a.py": "a = 1\n", "b.py": "b = 1\n"})
    ran = tmp_path / "ran"
    script = bare / "run"
    script.write_text(f"#!/bin/sh\necho $0 $@ >> {ran}\n")
    script.chmod(0o700)
    for hook in ("post-checkout", "pre-auto-gc", "reference-transaction", "post-index-change", "fsmonitor-watchman"):
        (bare / "hooks").mkdir(exist_ok=True)
        shutil.copy(script, bare / "hooks" / hook)
    (bare / "config").write_text(
        "[core]\nrepositoryformatversion = 1\nbare = true\n"
        f"fsmonitor = {script}\nhooksPath = {bare}/hooks\nsshCommand = {script}\npager = {script}\n"
        "[extensions]\npartialClone = origin\n"
        f'[remote "origin"]\nurl = ext::{script} %S\nuploadpack = {script}\npromisor = true\n'
        '[protocol "ext"]\nallow = always\n[protocol]\nallow = always\n'
    )
    missing = git(bare, "rev-parse", "HEAD:b.py")
    loose(bare, missing).unlink()
    assert named(read(bare)) == [("a.py", ""), ("b.py", UNREADABLE)]
    assert not ran.exists(), ran.read_text()
    # The trap works: git by itself falls into it.
    subprocess.run(["git", "cat-file", "-p", missing], cwd=bare, env=ENVIRONMENT, capture_output=True, check=False)
    assert ran.exists()


def test_the_user_s_own_git_settings_take_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = repository(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "elsewhere"))
    assert [name for name, _ in named(read(bare))] == [name for name, _ in EXPECTED]


def test_the_licence_is_that_which_the_licence_file_names(tmp_path: Path) -> None:
    bare = repository(tmp_path, {"LICENSE": "SPDX-License-Identifier: MIT\n", "a.py": "a = 1\n"})
    assert [item.licence for item in read(bare)] == ["MIT"]


def units(*paths: Path, **changes: Any) -> list[tuple[str, str]]:
    config = CorpusConfig(input=paths, output=Path("unused"), **changes)
    return [(unit.kind, unit.path.name) for unit in find_units(config)]


def test_repositories_are_found_by_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "all" / "owner").mkdir(parents=True)
    bare = repository(tmp_path / "all" / "owner")
    assert units(bare) == units(tmp_path / "all") == [("git", "project.git")]
    (tmp_path / "all" / "a.py").write_text("a = 1\n")
    assert units(tmp_path / "all") == [("files", "all")]
    assert units(tmp_path / "all", archives_in_directories="always") == [("files", "all"), ("git", "project.git")]


def test_a_work_tree_is_a_directory_of_files(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "work")
    (tmp_path / "work" / "a.py").write_text("a = 1\n")
    (tmp_path / "work" / ".git" / "refs" / "heads" / "branch.py").write_text("not a file of the tree\n")
    config = CorpusConfig(input=(tmp_path / "work",), output=Path("unused"), archives_in_directories="always")
    (unit,) = find_units(config)
    assert (unit.kind, unit.names) == ("files", ("a.py",))


def test_a_machine_without_git_says_so_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = repository(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git: is not on PATH"):
        units(bare)
    with pytest.raises(InputError, match="git: is not on PATH"):
        read(bare)
