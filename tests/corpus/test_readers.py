from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from megatron_codex.config.corpus import CorpusConfig, FilterConfig
from megatron_codex.corpus import tars
from megatron_codex.corpus.candidates import (
    ARCHIVE_TOO_LARGE,
    AVERAGE_LINE_LENGTH,
    BROKEN_NOTEBOOK,
    EMPTY,
    KEPT,
    NOT_A_FILE,
    NOT_PYTHON,
    NUL_BYTES,
    TOO_LARGE,
    UNDECODABLE,
    UNREADABLE,
    Candidate,
)
from megatron_codex.corpus.discover import Unit, find_units, kind_of
from megatron_codex.corpus.filters import examine_one
from megatron_codex.corpus.languages import PYTHON_FILES, selection_of
from megatron_codex.corpus.members import Container
from megatron_codex.corpus.readers import read_unit

FILES = {"pkg/a.py": b"a = 1\n", "pkg/notes.md": b"no", "pkg/sub/b.py": b"b = 2\n" * 500, "../../etc/c.py": b"c = 3\n"}
PYTHON = {"pkg/a.py": "pkg/a.py", "pkg/sub/b.py": "pkg/sub/b.py", "etc/c.py": "../../etc/c.py"}
"""Path under which it is stored: name in the archive."""

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
    assert [candidate.content for candidate in candidates] == [FILES[name] for name in PYTHON.values()]
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
    assert [candidate.content for candidate in candidates] == [FILES[member] for member in PYTHON.values()]
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


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unit_of(path: Path, **changes: Any) -> Unit:
    kind = kind_of(path.name)
    assert kind is not None
    return Unit(kind=kind, path=path, **changes)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_a_bomb_of_a_tar_is_left_at_the_limit(tmp_path: Path, suffix: str) -> None:
    files = {"before.py": b"x = 1\n", "bomb.bin": bytes(5_000_000), "after.py": b"y = 2\n"}
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(COMPRESSIONS[suffix](tar_bytes(files)))
    candidates = list(read_unit(unit_of(path, max_archive_bytes=4_000_000), max_bytes=1_000_000))
    assert named(candidates) == [("before.py", ""), ("", ARCHIVE_TOO_LARGE)]
    assert named(list(read_unit(unit_of(path, max_archive_bytes=6_000_000), max_bytes=1_000_000)))[-1] == (
        "after.py",
        "",
    )


@pytest.mark.parametrize("field", ["size", "longname"])
def test_a_header_that_claims_gigabytes_costs_no_memory(tmp_path: Path, field: str) -> None:
    member = tarfile.TarInfo("huge.py")
    member.size = 50_000_000_000
    if field == "longname":
        member.type = tarfile.GNUTYPE_LONGNAME
    path = tmp_path / "claims.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + b"x" * 2_000)
    tracemalloc.start()
    candidates = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert candidates[-1].fault == UNREADABLE
    assert peak < 20_000_000


def test_a_zip_whose_members_claim_too_much_is_not_read(tmp_path: Path) -> None:
    files = {f"{number}.py": bytes(1_000_000) for number in range(5)}
    path = zip_of(tmp_path / "bomb.zip", {**files, "data.bin": bytes(9_000_000)})
    assert path.stat().st_size < 50_000
    assert named(list(read_unit(unit_of(path, max_archive_bytes=4_999_999), max_bytes=1000))) == [
        ("", ARCHIVE_TOO_LARGE)
    ]
    assert [
        fault for _, fault in named(list(read_unit(unit_of(path, max_archive_bytes=5_000_000), max_bytes=1000)))
    ] == [TOO_LARGE] * 5


def test_a_zip_member_larger_than_it_claims_is_not_loaded(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "liar.zip", {"a.py": b"x" * 3_000_000, "b.py": b"y = 1\n"})
    content = path.read_bytes()
    path.write_bytes(content.replace((3_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    assert named(read(path)) == [("a.py", UNREADABLE), ("b.py", "")]


def test_a_file_that_grew_since_its_size_was_asked_is_not_loaded() -> None:
    container = Container(source="s", repository="r", selection=PYTHON_FILES, max_bytes=1_000)
    assert container.read(io.BytesIO(b"x" * 2_000), "a.py", 10).fault == TOO_LARGE
    assert container.read(io.BytesIO(b"x" * 999), "a.py", 10).size_bytes == 999


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_that_leads_elsewhere_is_stored_as_plain_text(tmp_path: Path, kind: str) -> None:
    files = {"/etc/a.py": b"1", "x/../../b.py": b"2", "C:\\dir\\c.py": b"3", "new\nline.py": b"4"}
    path = tmp_path / f"names.{kind}"
    if kind == "tar":
        path.write_bytes(tar_bytes(files))
    else:
        zip_of(path, files)
    assert [name for name, _ in named(read(path))] == ["etc/a.py", "b.py", "dir/c.py", "new?line.py"]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_equal_names_empty_files_and_archives_inside_are_read_as_they_are(tmp_path: Path, kind: str) -> None:
    inner = zip_of(tmp_path / "inner.zip", {"hidden.py": b"x = 1\n"}).read_bytes()
    path = tmp_path / f"a.{kind}"
    members = [("twice.py", b"x = 1\n"), ("empty.py", b""), ("inner.zip", inner), ("inner.tar", tar_bytes())]
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the equal name
            for name, content in [*members, ("twice.py", b"x = 2\n")]:
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, content in [*members, ("twice.py", b"x = 2\n")]:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    assert [(item.path, item.content) for item in read(path)] == [
        ("twice.py", b"x = 1\n"),
        ("empty.py", b""),
        ("twice.py", b"x = 2\n"),
    ]


METADATA = b"Metadata-Version: 2.4\nName: pkg\nLicense-Expression: MIT OR Apache-2.0\n\nText\n"


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_source_distribution_s_licence_is_on_its_files(tmp_path: Path, place: str) -> None:
    info = {"pkg-1.0/PKG-INFO": METADATA}
    files = {
        "pkg-1.0/a.py": b"a = 1\n",
        "pkg-1.0/src/pkg.egg-info/PKG-INFO": b"License: GPL\n\n",
        "other/b.py": b"b = 1\n",
    }
    path = tmp_path / "pkg-1.0.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes({**info, **files} if place == "first" else {**files, **info})))
    assert [(item.path, item.licence) for item in read(path)] == [
        ("pkg-1.0/a.py", "MIT OR Apache-2.0"),
        ("other/b.py", ""),
    ]


def test_no_more_than_a_bound_waits_for_a_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_HELD_BYTES", 1_000)
    files = {f"pkg-1.0/{number}.py": b"x" * 600 for number in range(5)}
    path = tmp_path / "pkg-1.0.tar"
    path.write_bytes(tar_bytes({**files, "pkg-1.0/PKG-INFO": METADATA, "pkg-1.0/z.py": b"z = 1\n"}))
    assert [item.licence for item in read(path)] == [""] * 5 + ["MIT OR Apache-2.0"]


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("pkg-1.0-py3-none-any.whl", "pkg-1.0.dist-info/METADATA"),
        ("pkg-1.0.zip", "pkg-1.0/PKG-INFO"),
        ("pkg-1.0.egg", "EGG-INFO/PKG-INFO"),
    ],
)
def test_a_zipped_package_s_licence_is_on_its_files(tmp_path: Path, name: str, metadata: str) -> None:
    path = zip_of(tmp_path / name, {"pkg/a.py": b"a = 1\n", metadata: METADATA})
    assert [(item.path, item.licence) for item in read(path)] == [("pkg/a.py", "MIT OR Apache-2.0")]


@pytest.mark.parametrize(
    ("text", "licence"),
    [("Copyright\n# SPDX-License-Identifier: BSD-3-Clause\n", "BSD-3-Clause"), ("MIT License\n\nCopyright ...\n", "")],
)
def test_a_directory_s_licence_is_that_which_its_licence_file_names(tmp_path: Path, text: str, licence: str) -> None:
    (tmp_path / "LICENSE").write_text(text)
    (tmp_path / "a.py").write_text("a = 1\n")
    (item,) = read_unit(Unit(kind="files", path=tmp_path, names=("a.py",)), max_bytes=1000)
    assert item.licence == licence


def test_files_of_the_chosen_languages_are_read_by_their_rules(tmp_path: Path) -> None:
    latin = "// coding: latin-1\nint é;\n".encode("latin-1")
    files = {
        "a.py": b"# coding: latin-1\n# \xe9\n",
        "b.js": b"\xef\xbb\xbflet x = 1;\n",
        "bad.js": latin,
        "c.go": b"package c\n",
        "large.js": b"x" * 2_000,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    selection = selection_of(["Python", "JavaScript"], notebooks=False)
    (unit,) = find_units(CorpusConfig(input=(tmp_path,), output=Path("o"), languages=("Python", "JavaScript")))
    assert unit.selection == selection
    found = [(item.path, item.language, item.fault, item.content) for item in read_unit(unit, max_bytes=1000)]
    assert found == [
        ("a.py", "Python", "", files["a.py"]),
        ("b.js", "JavaScript", "", "let x = 1;\n"),
        ("bad.js", "JavaScript", UNDECODABLE, b""),
        ("large.js", "JavaScript", TOO_LARGE, b""),
    ]


def test_notebooks_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    cell = {"cell_type": "code", "source": ["x = 1"], "outputs": [], "metadata": {}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    kernel = {"language_info": {"name": "R"}}
    files = {
        "a.ipynb": json.dumps(notebook).encode(),
        "broken.ipynb": b"{",
        "latin.ipynb": b'{"\xe9": 1}',
        "r.ipynb": json.dumps({**notebook, "metadata": kernel}).encode(),
    }
    path = tmp_path / "n.tar"
    path.write_bytes(tar_bytes(files))
    assert read(path) == []
    unit = unit_of(path, selection=selection_of(["Python"], notebooks=True))
    assert [(item.path, item.fault, item.content, item.size_bytes) for item in read_unit(unit, max_bytes=1000)] == [
        ("a.ipynb", "", "x = 1\n", 6),
        ("broken.ipynb", BROKEN_NOTEBOOK, b"", 1),
        ("latin.ipynb", BROKEN_NOTEBOOK, b"", 8),
        ("r.ipynb", NOT_PYTHON, b"", len(files["r.ipynb"])),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"#" + b"x" * 999_998 + b"\n", TOO_LARGE, id="exactly-1-MB"),
        pytest.param(b"x" * 999_999, AVERAGE_LINE_LENGTH, id="one-line-below-1-MB"),
        pytest.param(b"x = 1\0\n", NUL_BYTES, id="nul"),
        pytest.param(b"a = 1\r\nb = 2\rc = 3\n", KEPT, id="mixed-line-ends"),
        pytest.param(b"", EMPTY, id="no-bytes"),
    ],
)
def test_border_cases_of_a_file_have_their_reason_whatever_holds_it(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "a.py").write_bytes(content)
    (tmp_path / "a.tar").write_bytes(tar_bytes({"a.py": content}))
    zip_of(tmp_path / "a.zip", {"a.py": content})
    units = [
        Unit(kind="files", path=tmp_path, names=("a.py",)),
        unit_of(tmp_path / "a.tar"),
        unit_of(tmp_path / "a.zip"),
    ]
    for unit in units:
        (candidate,) = read_unit(unit, max_bytes=1_000_000)
        decision, text = examine_one(candidate, FilterConfig())
        assert decision.reason == reason
        if reason == KEPT:
            assert text.encode() == content, "line ends stay as they are"
