"""What a project's run finds in its root directory besides the interpreter: a copy of the project, /tmp, /output, /etc.

In: the stage on which the root directory is built, the project's directory. Out: file systems that only the run writes.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from megatron_codex.sandbox import kernel
from megatron_codex.sandbox.places import OUTPUT, PROJECT, SCRATCH, SCRATCH_BYTES, SCRATCH_FILES, SHARED_MEMORY

_MIB = 1 << 20
_PROJECT_BYTES, _PROJECT_FILES = 1024 * _MIB, 100_000
_OUTPUT_BYTES, _OUTPUT_FILES = 256 * _MIB, 4096
DISK_BYTES = _PROJECT_BYTES + 2 * _OUTPUT_BYTES + SCRATCH_BYTES
"""All that a run can write to its file systems, which are memory."""
_ETC = {
    "passwd": "jail:x:1000:1000::/tmp:/bin/sh\n",
    "group": "jail:x:1000:\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def add_project(stage: str, source: str, owner: int | None) -> None:
    """Copy the directory `source` to /project below `stage`, and mount what a test suite writes to. Raises OSError."""
    # A fresh proc mount is only allowed to a user namespace in which one is visible already: this one, until then.
    Path(stage + "/proc").mkdir()
    kernel.mount("proc", stage + "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    # /tmp is a mount of its own already here, so that paths to show may lie below it. Suites write programs there and
    # run them, as they may run those of /project.
    kernel.mount_tmpfs(stage + SCRATCH, size_bytes=_OUTPUT_BYTES, num_files=_PROJECT_FILES, executable=True)
    for path, size_bytes, num_files in (
        (OUTPUT, _OUTPUT_BYTES, _OUTPUT_FILES),
        (SHARED_MEMORY, SCRATCH_BYTES, SCRATCH_FILES),
        (PROJECT, _PROJECT_BYTES, _PROJECT_FILES),
    ):
        Path(stage + path).mkdir(parents=True)
        kernel.mount_tmpfs(stage + path, size_bytes=size_bytes, num_files=num_files, executable=path == PROJECT)
    Path(stage + "/etc").mkdir()
    for name, text in _ETC.items():
        Path(stage, "etc", name).write_text(text)
    shutil.copytree(source + "/.", stage + PROJECT, symlinks=True, ignore=_special_files, dirs_exist_ok=True)
    if owner is not None:
        for directory, _, files in os.walk(stage + PROJECT):
            for path in (directory, *(os.path.join(directory, name) for name in files)):  # noqa: PTH118 - a hot loop
                os.chown(path, owner, owner, follow_symlinks=False)


def _special_files(directory: str, names: list[str]) -> list[str]:
    """Names that are neither a file, a directory nor a symlink: reading a fifo would block for ever."""
    kinds = {name: (Path(directory) / name).lstat().st_mode for name in names}
    return [
        name for name, mode in kinds.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    ]
