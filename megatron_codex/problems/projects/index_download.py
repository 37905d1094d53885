"""A source distribution of the package index, by name: downloaded once, kept in the cache.

pip builds the metadata of each sdist that it meets, which runs the sdist's own code. So pip is ended at the moment at
which it starts another Python for that: the download is whole then, and its hash checked.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from megatron_codex.files import atomic_file
from megatron_codex.problems.project import BrokenProjectError
from megatron_codex.problems.projects.pip_command import (
    PackageIndex,
    PipFailedError,
    UnreachableIndexError,
    run_pip,
)

# Started programs of another name (lsb_release, rustc: pip asks them what system this is) are none of the sdist's.
_END_BEFORE_BUILD = """
import os, sys
def _end(event, arguments):
    if event in ("subprocess.Popen", "os.posix_spawn", "os.exec"):
        program = os.fspath(arguments[0]) if arguments[0] else ""
        if os.path.realpath(program) == os.path.realpath(sys.executable) or "python" in os.path.basename(program):
            os._exit(0)
sys.addaudithook(_end)
"""
_FOUND = re.compile(r"Added .* from (\S+?)(?:#\S*)? to build tracker")
_ARCHIVES = ("*.tar.gz", "*.zip", "*.tgz", "*.tar.bz2", "*.tar.xz")


def fetch_sdist(requirement: str, cache: Path, index: PackageIndex) -> Path:
    """The sdist of `name` or `name==version`, in cache/sdists/REQUIREMENT. No code of it is run.

    A name without a version is looked up once: the cache then answers, whatever is released later.
    Raises: BrokenProjectError ("no network", "not in the index").
    """
    folder = cache / "sdists" / requirement
    known = sorted(path for path in folder.glob("*") if not path.name.startswith("."))
    if known:
        return known[0]
    with tempfile.TemporaryDirectory(prefix="megatron_codex_pip_") as directory:
        temporary = Path(directory)
        log = temporary / "pip.log"
        arguments = ["download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--no-cache-dir"]
        arguments += ["--dest", str(temporary / "dest"), "--log", str(log), *index.options, requirement]
        try:
            run_pip(arguments, prelude=_END_BEFORE_BUILD, temporary=temporary)
        except UnreachableIndexError as error:
            raise BrokenProjectError("no network", str(error)) from error
        except PipFailedError as error:
            raise BrokenProjectError("not in the index", f"{requirement}: {error}") from error
        archive = _downloaded(temporary, log)
        if archive is None:
            raise BrokenProjectError("not in the index", f"{requirement}: pip found no source distribution")
        with atomic_file(folder / archive.name) as handle, archive.open("rb") as source:
            shutil.copyfileobj(source, handle)
    return folder / archive.name


def _downloaded(temporary: Path, log: Path) -> Path | None:
    """The archive that pip was about to build: a file of the index's directory, or one that it fetched."""
    found = _FOUND.findall(log.read_text(encoding="utf-8", errors="replace"))
    if found and found[-1].startswith("file:"):
        return Path(unquote(urlsplit(found[-1]).path))
    return next((path for pattern in _ARCHIVES for path in sorted(temporary.glob(f"*/{pattern}"))), None)
