"""Other people's archives as projects."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from megatron_codex.problems.project import BrokenProjectError, find_tests, open_project

PKG_INFO = (
    "Metadata-Version: 2.1\nName: some.thing\nVersion: 1.0\nClassifier: License :: OSI Approved :: MIT License\n\nText"
)


def _sdist(path: Path, files: dict[str, str], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
        for member in extra:
            archive.addfile(member)
    return path


FILES = {"x-1.0/PKG-INFO": PKG_INFO, "x-1.0/x.py": "A = 1\n", "x-1.0/tests/test_x.py": "pass\n"}


def test_an_sdist(tmp_path: Path) -> None:
    project = open_project(_sdist(tmp_path / "x-1.0.tar.gz", FILES), tmp_path / "work")
    assert project.name == "some.thing-1.0"
    assert project.metadata.licence == "MIT License"
    assert project.tests == ("tests",)
    assert project.import_roots == (".",)
    assert (project.root / "x.py").read_text() == "A = 1\n"
    assert (project.root / "some.thing-1.0.dist-info" / "METADATA").is_file()


def test_a_zip_with_a_src_folder(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/pyproject.toml", '[project]\nname = "x"\nversion = "2"\nlicense = {text = "BSD"}\n')
        archive.writestr("x/src/x/__init__.py", "")
        archive.writestr("x/src/x/tests/test_a.py", "")
        archive.writestr("x/test.py", "")
    project = open_project(path, tmp_path / "work")
    assert (project.name, project.metadata.licence) == ("x-2", "BSD")
    assert project.import_roots == (".", "src")
    assert project.tests == ("src/x/tests", "test.py")


def test_a_directory_is_copied_not_touched(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    (source / ".git").mkdir(parents=True)
    (source / ".git" / "config").write_text("secret")
    (source / "test_mine.py").write_text("")
    (source / "link").symlink_to("/etc/passwd")
    before = sorted(source.rglob("*"))
    project = open_project(source, tmp_path / "work")
    assert sorted(source.rglob("*")) == before
    assert project.name == "mine-0"
    assert not (project.root / ".git").exists() and not (project.root / "link").exists()
    again = open_project(source, tmp_path / "again")
    assert again.sha256 == project.sha256
    (source / "test_mine.py").write_text("changed")
    assert open_project(source, tmp_path / "third").sha256 != project.sha256


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    link, hard, fifo = tarfile.TarInfo("x-1.0/link"), tarfile.TarInfo("x-1.0/hard"), tarfile.TarInfo("x-1.0/fifo")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    hard.type, hard.linkname = tarfile.LNKTYPE, "/etc/passwd"
    fifo.type = tarfile.FIFOTYPE
    project = open_project(_sdist(tmp_path / "x.tar.gz", FILES, link, hard, fifo), tmp_path / "work")
    names = {path.name for path in project.root.iterdir()}
    assert names == {"PKG-INFO", "x.py", "tests", "some.thing-1.0.dist-info"}


@pytest.mark.parametrize("name", ["../out.py", "/tmp/out.py", "x/../../out.py", "x\\..\\..\\out.py"])
def test_members_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = _sdist(tmp_path / "x.tar.gz", {"x/test_x.py": "", name: "bad"})
    with pytest.raises(BrokenProjectError, match="leads outside"):
        open_project(path, tmp_path / "work")
    assert not (tmp_path / "out.py").exists()


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatron_codex.problems.project._MAX_TOTAL_BYTES", 100)
    path = _sdist(tmp_path / "x.tar.gz", {"x/test_x.py": "#" * 101})
    with pytest.raises(BrokenProjectError, match="too large"):
        open_project(path, tmp_path / "work")


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b\x08\x00", b"PK\x03\x04"])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    with pytest.raises(BrokenProjectError, match="broken archive"):
        open_project(path, tmp_path / "work")


def test_a_cut_off_sdist(tmp_path: Path) -> None:
    whole = _sdist(tmp_path / "x.tar.gz", {**FILES, "x-1.0/big.py": os.urandom(3000).hex()}).read_bytes()
    (tmp_path / "y.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BrokenProjectError, match="broken archive"):
        open_project(tmp_path / "y.tar.gz", tmp_path / "work")


def test_no_tests(tmp_path: Path) -> None:
    with pytest.raises(BrokenProjectError, match="no tests"):
        open_project(_sdist(tmp_path / "x.tar.gz", {"x-1.0/x.py": ""}), tmp_path / "work")


def test_only_the_outermost_test_folders_are_named(tmp_path: Path) -> None:
    for name in ("tests/unit/tests/test_a.py", "lib/test/test_b.py", "lib/x_test.py", "test_loose.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "docs" / "tests").mkdir(parents=True)
    assert find_tests(tmp_path) == ("lib/test", "tests", "test_loose.py")
