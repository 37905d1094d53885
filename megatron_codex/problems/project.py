"""A project on disk, ready to be traced: an sdist, wheel, zip, directory or git repository as plain files, tests found.

In: a path. Out: a Project below a directory of ours. Archives are other people's: members that are links or devices are
left out, names that lead outside are refused, sizes are bounded. Nothing of a project is imported here.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from megatron_codex.files import sha256_file
from megatron_codex.problems.project_metadata import Metadata, provide_metadata, read_metadata
from megatron_codex.problems.projects.git_files import UnreadableRepositoryError, head_members, repository_of
from megatron_codex.problems.projects.import_roots import find_import_roots
from megatron_codex.problems.projects.test_commands import read_own_commands

_MAX_TOTAL_BYTES = 512 << 20
_MAX_FILES = 50_000
_BLOCK_BYTES = 1 << 20
_SKIPPED_DIRECTORIES = {".git", ".hg", ".tox", ".nox", ".venv", "venv", "node_modules", "__pycache__", ".eggs"}
_TEST_DIRECTORIES = ("tests", "test")
_TEST_FILES = ("test_*.py", "*_test.py", "tests.py", "test.py")
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(NotImplementedError, RuntimeError, UnreadableRepositoryError),
)

Member = tuple[str, IO[bytes]]


class BrokenProjectError(Exception):
    """A project that cannot be used: a short reason (a word or two, counted in the funnel) and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


@dataclass(frozen=True, kw_only=True)
class Project:
    """An unpacked project. tests, import_roots: paths below root, with forward slashes."""

    root: Path
    metadata: Metadata
    tests: tuple[str, ...]
    import_roots: tuple[str, ...]
    """What PYTHONPATH has to name: ".", "src" where there is one, and where else packages lie."""
    sha256: str
    """Of the archive; for a directory, of its sorted "path NUL sha256 of the file NUL" records."""
    source: str
    """The archive's or directory's name."""

    @property
    def name(self) -> str:
        """name-version."""
        return f"{self.metadata.name}-{self.metadata.version}"


def open_project(path: Path, into: Path) -> Project:
    """Unpack (or copy) `path` below the directory `into` and look at it.

    Raises: BrokenProjectError ("broken archive", "too large", "no tests").
    """
    root = into / "project"
    root.mkdir(parents=True)
    try:
        with _members(path) as members:
            write_members(members, root)
    except _BROKEN as error:
        raise BrokenProjectError("broken archive", f"{type(error).__name__}: {error}") from error
    digest = _sha256_tree(root) if path.is_dir() else sha256_file(path)
    root = _descend(root)
    metadata = read_metadata(root, default_name=path.name)
    provide_metadata(root, metadata)
    tests = find_tests(root)
    if not tests and not _names_tests(root):
        raise BrokenProjectError("no tests", "no directory tests/ or test/, no file test_*.py, *_test.py or tests.py")
    return Project(
        root=root,
        metadata=metadata,
        tests=tests,
        import_roots=find_import_roots(root, metadata.name),
        sha256=digest,
        source=path.name,
    )


def find_tests(root: Path) -> tuple[str, ...]:
    """Test directories, outermost only; where there are none, test files."""
    directories = sorted(
        path for name in _TEST_DIRECTORIES for path in root.rglob(name) if path.is_dir() and any(path.rglob("*.py"))
    )
    outermost = [path for path in directories if not any(other in path.parents for other in directories)]
    files = sorted({path for pattern in _TEST_FILES for path in root.rglob(pattern) if path.is_file()})
    # Test files beside the package (test.py, test_x.py) are often all there is.
    loose = [path for path in files if path.parent == root] if outermost else files
    return tuple(path.relative_to(root).as_posix() for path in (*outermost, *loose))


def plain_zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """The files of a zip, links and devices left out."""
    return ((item.filename, archive.open(item)) for item in archive.infolist() if _is_plain_zip(item))


def write_members(members: Iterator[Member], root: Path, *, replace: bool = True) -> None:
    """Write files below root. replace: over those that are there.

    Raises: BrokenProjectError ("broken archive", "too large").
    """
    left = _MAX_TOTAL_BYTES
    for count, (name, content) in enumerate(members):
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0] == "/" or "\0" in name:
            raise BrokenProjectError("broken archive", f"the member {name!r} leads outside")
        target = root.joinpath(*parts)
        if not replace and target.exists():
            content.close()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, target.open("wb") as handle:
            while block := content.read(_BLOCK_BYTES):
                left -= len(block)
                if left < 0 or count >= _MAX_FILES:
                    raise BrokenProjectError("too large", f"more than {_MAX_TOTAL_BYTES} bytes or {_MAX_FILES} files")
                handle.write(block)


def _names_tests(root: Path) -> bool:
    """Whether the project's own command names test files or directories, however they are called."""
    command = read_own_commands(root).command
    return command is not None and any((root / word).exists() and word != "." for word in command.arguments)


@contextmanager
def _members(path: Path) -> Iterator[Iterator[Member]]:
    repository = repository_of(path) if path.is_dir() else None
    if repository is not None:
        yield head_members(repository, max_bytes=_MAX_TOTAL_BYTES)
    elif path.is_dir():
        yield _directory_members(path)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield plain_zip_members(archive)
    else:
        with tarfile.open(path, "r:*") as archive:
            yield _tar_members(archive)


def _directory_members(path: Path) -> Iterator[Member]:
    for directory, subdirectories, names in os.walk(path):
        subdirectories[:] = sorted(name for name in subdirectories if name not in _SKIPPED_DIRECTORIES)
        for file in (Path(directory, name) for name in sorted(names)):
            if file.is_file() and not file.is_symlink():
                yield file.relative_to(path).as_posix(), file.open("rb")


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for item in archive:
        content = archive.extractfile(item) if item.isreg() else None
        if content is not None:
            yield item.name, content


def _is_plain_zip(item: zipfile.ZipInfo) -> bool:
    kind = (item.external_attr >> 16) & 0o170000
    return not item.is_dir() and kind in (0, 0o100000)


def _descend(root: Path) -> Path:
    """An sdist holds one directory, name-version; that is the project."""
    entries = list(root.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not (entries[0] / "__init__.py").exists():
        return entries[0]
    return root


def _sha256_tree(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()}\0{sha256_file(path)}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
