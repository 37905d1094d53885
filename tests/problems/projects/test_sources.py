"""What the user names as projects."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from megatron_codex.errors import InputError
from megatron_codex.problems.project import BrokenProjectError, open_project
from megatron_codex.problems.projects.sources import ProjectSource, find_sources


def test_paths_names_and_lists_each_once(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "x-1.0.tar.gz").write_text("")
    listed = tmp_path / "projects.txt"
    listed.write_text("# ours\nmine\n\ninflection==0.5.1  # pinned\nmore-itertools\ninflection == 0.5.1\n")
    sources = find_sources([f"{tmp_path}/x-1.0.tar.gz", listed, f"{tmp_path}/mine"])
    assert sources == [
        ProjectSource(path=tmp_path / "x-1.0.tar.gz"),
        ProjectSource(path=tmp_path / "mine"),
        ProjectSource(requirement="inflection==0.5.1"),
        ProjectSource(requirement="more-itertools"),
    ]
    assert [source.label for source in sources] == ["x-1.0.tar.gz", "mine", "inflection==0.5.1", "more-itertools"]


@pytest.mark.parametrize(
    "word", ["./absent", "absent.tar.gz", "a/b", "name>=1", "-e", "absent.whl", "a b", "name==1==2"]
)
def test_what_is_neither_a_path_nor_a_name(word: str) -> None:
    with pytest.raises(InputError, match="no such project"):
        find_sources([word])


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"# none\n\n", "names no project"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"good\n../bad.zip\n", r"list\.txt:2: got '\.\./bad\.zip'; no such project"),
    ],
    ids=["empty", "binary", "missing"],
)
def test_a_bad_list_is_named_with_its_line(tmp_path: Path, content: bytes, rule: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=rule):
        find_sources([tmp_path / "list.txt"])
    with pytest.raises(InputError, match="no such file"):
        find_sources([tmp_path / "absent.txt"])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A work tree with one commit, a link in it, and a change that is not committed."""
    root = tmp_path / "work"
    (root / "tests").mkdir(parents=True)
    (root / "lib.py").write_text("A = 1\n")
    (root / "tests" / "test_lib.py").write_text("committed\n")
    (root / "link").symlink_to("/etc/passwd")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(root)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (root / "tests" / "test_lib.py").write_text("changed\n")
    return root


def _texts(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in root.rglob("*.py")}


def test_a_git_repository_bare_or_not(repository: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(repository), str(bare)], check=True)
    of_head = {"lib.py": "A = 1\n", "test_lib.py": "committed\n"}
    project = open_project(bare, tmp_path / "1")
    assert _texts(project.root) == of_head
    assert not (project.root / "link").exists()
    without_files = tmp_path / "without_files"
    subprocess.run(["git", "clone", "-q", "--no-checkout", str(repository), str(without_files)], check=True)
    assert _texts(open_project(without_files, tmp_path / "2").root) == of_head
    # A work tree is taken as it lies there.
    assert _texts(open_project(repository, tmp_path / "3").root) == {**of_head, "test_lib.py": "changed\n"}


def test_a_repository_without_a_commit_and_a_damaged_one(repository: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "empty.git")], check=True)
    for path in (repository / ".git" / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(b"damage")
    (repository / ".git").rename(tmp_path / "damaged.git")
    for name in ("empty.git", "damaged.git"):
        with pytest.raises(BrokenProjectError, match="broken archive"):
            open_project(tmp_path / name, tmp_path / f"{name}.work")
