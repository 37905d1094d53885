"""Where a jailed process may write: paths in its root directory, the same for the code inside and outside of it."""

from __future__ import annotations

SCRATCH = "/tmp"
PROJECT = "/project"
OUTPUT = "/output"
SHARED_MEMORY = "/dev/shm"
WRITABLE_BY_PROJECTS = (SCRATCH, PROJECT, OUTPUT, SHARED_MEMORY)

SCRATCH_BYTES, SCRATCH_FILES = 16 << 20, 1024
"""What a small private file system holds."""
