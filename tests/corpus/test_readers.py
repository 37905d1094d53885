from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from megatron_codex.corpus.candidates import NOT_A_FILE, TOO_LARGE, UNREADABLE, Candidate
from megatron_codex.corpus.discover import Unit, kind_of
from megatron_codex.corpus.readers import read_unit

FILES = {"pkg/a.py": b"a = 1\n", "pkg/notes.md": b"no", "pkg/sub/b.py": b"b = 2\n" * 500, "../../etc/c.py": b"c = 3\n"}
PYTHON = ["pkg/a.py", "pkg/sub/b.py", "../../etc/c.py"]

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tbz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".txz": lzma.compress,
    ".tar.zst": zstandard.ZstdCompressor().compress,
}


def tar_bytes(files: dict[str, bytes] = FILES) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def read(path: Path, max_bytes: int = 1_000_000) -> list[Candidate]:
    kind = kind_of(path.name)
    assert kind is not None
    return list(read_unit(Unit(kind=kind, path=path), max_bytes=max_bytes))


def named(candidates: list[Candidate]) -> list[tuple[str, str]]:
    return [(candidate.path, candidate.fault) for candidate in candidates]


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_a_tar_is_read_in_its_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pkg-1.0{suffix}"
    path.write_bytes(COMPRESSIONS[suffix](tar_bytes()))
    candidates = read(path)
    assert named(candidates) == [(name, "") for name in PYTHON]
    assert [candidate.content for candidate in candidates] == [FILES[name] for name in PYTHON]
    assert {(candidate.source, candidate.repository) for candidate in candidates} == {(str(path), "pkg-1.0")}
    assert sorted(item.name for item in tmp_path.rglob("*")) == [path.name], "nothing is extracted"


@pytest.mark.parametrize("name", ["pkg-1.0.zip", "pkg-1.0-py3-none-any.whl"])
def test_a_zip_is_read_in_its_order(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder.py")
        for member, content in FILES.items():
            archive.writestr(member, content)
    candidates = read(tmp_path / name)
    assert named(candidates) == [(member, "") for member in PYTHON]
    assert [candidate.content for candidate in candidates] == [FILES[member] for member in PYTHON]
    assert {candidate.repository for candidate in candidates} == {"pkg-1.0"}


def test_links_and_devices_in_a_tar_are_no_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        kinds = {"s.py": tarfile.SYMTYPE, "h.py": tarfile.LNKTYPE, "p.py": tarfile.FIFOTYPE, "d.py": tarfile.DIRTYPE}
        for name, kind in kinds.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        archive.addfile(tarfile.TarInfo("real.py"))
    assert named(read(tmp_path / "links.tar")) == [
        ("s.py", NOT_A_FILE), ("h.py", NOT_A_FILE), ("p.py", NOT_A_FILE), ("real.py", "")
    ]  # fmt: skip


def test_a_link_in_a_zip_is_no_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as archive:
        link = zipfile.ZipInfo("s.py")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert named(read(tmp_path / "links.zip")) == [("s.py", NOT_A_FILE)]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.97])
def test_a_cut_tar_is_counted_once_and_gives_what_came_whole(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut{suffix}"
    files = {f"{number}.py": os.urandom(3000) for number in range(20)}
    whole = COMPRESSIONS[suffix](tar_bytes(files))
    # A tar is padded to 10,240 bytes: a cut inside the padding loses nothing, so measure without it.
    length = tar_bytes(files).rstrip(b"\0").__len__() if suffix == ".tar" else len(whole)
    path.write_bytes(whole[: int(length * share)])
    *good, last = read(path)
    assert (last.path, last.fault) == ("", UNREADABLE)
    assert [(candidate.path, candidate.content) for candidate in good] == list(files.items())[: len(good)]


def test_a_tar_that_ends_between_members_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "cut.tar"
    path.write_bytes(tar_bytes()[:1024])
    assert named(read(path)) == [("pkg/a.py", ""), ("", UNREADABLE)]


def test_a_damaged_header_inside_a_tar_is_counted(tmp_path: Path) -> None:
    content = bytearray(tar_bytes())
    content[1024:1034] = b"\xff" * 10
    (tmp_path / "damaged.tar").write_bytes(content)
    assert named(read(tmp_path / "damaged.tar")) == [("pkg/a.py", ""), ("", UNREADABLE)]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.tar.zst", "a.zip"])
@pytest.mark.parametrize("content", [b"no archive at all", os.urandom(5000)], ids=["text", "noise"])
def test_what_is_no_archive_is_counted(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert named(read(tmp_path / name)) == [("", UNREADABLE)]


def test_a_damaged_member_of_a_zip_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.py", "a = 1\n")
        archive.writestr("b.py", "b = 2\n")
    path.write_bytes(path.read_bytes().replace(b"a = 1\n", b"a = 9\n"))
    assert named(read(path)) == [("a.py", UNREADABLE), ("b.py", "")]


def test_an_encrypted_member_of_a_zip_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "secret.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.py", "a = 1\n")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1  # the "encrypted" flag, in the member's header ...
    content[content.index(b"PK\x01\x02") + 8] |= 1  # ... and in the directory
    path.write_bytes(content)
    assert named(read(path)) == [("a.py", UNREADABLE)]


@pytest.mark.parametrize("kind", ["tar", "zip", "files"])
def test_a_file_of_the_limit_or_more_is_not_loaded(tmp_path: Path, kind: str) -> None:
    files = {"over.py": b"x" * 1001, "at.py": b"x" * 1000, "below.py": b"x" * 999}
    if kind == "tar":
        (tmp_path / "a.tar").write_bytes(tar_bytes(files))
        unit = Unit(kind="tar", path=tmp_path / "a.tar")
    elif kind == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        unit = Unit(kind="zip", path=tmp_path / "a.zip")
    else:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        unit = Unit(kind="files", path=tmp_path, names=tuple(files))
    found = [(item.path, item.fault, item.size_bytes, len(item.content)) for item in read_unit(unit, max_bytes=1000)]
    assert found == [("over.py", TOO_LARGE, 1001, 0), ("at.py", TOO_LARGE, 1000, 0), ("below.py", "", 999, 999)]


def test_files_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "link.py").symlink_to("good.py")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder").mkdir()
    names = ("folder", "gone.py", "good.py", "link.py", "pipe.py")
    candidates = list(read_unit(Unit(kind="files", path=tmp_path, names=names), max_bytes=1000))
    assert [candidate.fault for candidate in candidates] == [UNREADABLE, UNREADABLE, "", NOT_A_FILE, NOT_A_FILE]
    assert candidates[2].content == b"x = 1\n"
    assert candidates[2].repository == tmp_path.name
