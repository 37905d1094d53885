"""Zip archives to the source files in them; and what all archives have in common. Nothing is extracted to disk.

Damage is the world's, not the user's: what cannot be read becomes a Candidate that says so, and reading goes on.
Memory: one file of less than max_bytes, and the zip's directory (about 1 KB a member). Archives inside archives are not
opened.
"""

from __future__ import annotations

import dataclasses
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import zstandard

from megatron_codex.corpus.candidates import ARCHIVE_TOO_LARGE, NOT_A_FILE, UNREADABLE, Candidate
from megatron_codex.corpus.licences import METADATA_BYTES, licence_of_metadata
from megatron_codex.corpus.members import Container

DAMAGE = (
    OSError,
    EOFError,
    ValueError,  # zipfile and tarfile: fields that are no numbers, names that are no text
    RuntimeError,  # zipfile: an encrypted member; NotImplementedError, an unknown compression
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    tarfile.TarError,
    zipfile.BadZipFile,
)
"""What reading a damaged archive raises."""

_WHEEL_METADATA = re.compile(r"[^/]+\.dist-info/METADATA|(?:[^/]+/|EGG-INFO/)PKG-INFO")


def archive_name(path: Path) -> str:
    """The archive's name without its ending; of a wheel, the distribution's name and version."""
    name = path.name
    if name.endswith(".whl"):
        return "-".join(name.split("-")[:2])
    for suffix in (".gz", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".tbz2", ".txz", ".zip", ".egg"):
        name = name.removesuffix(suffix)
    return name


def read_zip(path: Path, container: Container, *, max_archive_bytes: int) -> Iterator[Candidate]:
    """The source files of a zip in its order; a damaged member is counted and the others are read.

    A zip whose source files claim more than max_archive_bytes together is not read at all.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [item for item in archive.infolist() if container.selection.language_of(item.filename)]
            if sum(item.file_size for item in members) > max_archive_bytes:
                yield container.fault("", ARCHIVE_TOO_LARGE)
                return
            container = dataclasses.replace(container, licence=_licence_of_zip(archive))
            for member in members:
                if not member.is_dir():
                    yield _zip_member(archive, member, container)
    except DAMAGE:
        yield container.fault("", UNREADABLE)


def _zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, container: Container) -> Candidate:
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        return container.fault(member.filename, NOT_A_FILE)
    try:
        with archive.open(member) as handle:
            return container.read(handle, member.filename, member.file_size)
    except DAMAGE:
        return container.fault(member.filename, UNREADABLE)


def _licence_of_zip(archive: zipfile.ZipFile) -> str:
    """From the first metadata at the top of a wheel, egg or source distribution; empty when it cannot be read."""
    for member in archive.infolist():
        if _WHEEL_METADATA.fullmatch(member.filename):
            try:
                with archive.open(member) as handle:
                    return licence_of_metadata(handle.read(METADATA_BYTES))
            except DAMAGE:
                return ""
    return ""
