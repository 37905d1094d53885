"""Landlock: which files a process may open, whatever its user; the second wall behind the new root directory.

In: paths to read, paths to write. Out: a ruleset's descriptor, which csrc/sandbox/jail.c enforces.
Source: Linux Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from megatron_codex.sandbox.kernel import system_call

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY = 1, 2, 4, 8
_REMOVE_DIRECTORY, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIRECTORY, _MAKE_REGULAR, _MAKE_SOCKET, _MAKE_FIFO, _MAKE_SYMLINK = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15

_FIRST_RIGHTS = (1 << 13) - 1
_RIGHTS_ADDED_BY_ABI = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEVICE}
_ALL_NETWORK_RIGHTS = 3  # bind and connect of TCP, from ABI 4
_ALL_SCOPES = 3  # abstract unix sockets and signals stay inside the domain, from ABI 6

_READ = _READ_FILE | _READ_DIRECTORY
_WRITE = _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIRECTORY | _REMOVE_FILE | _MAKE_DIRECTORY | _MAKE_REGULAR
_WRITE_ANY_KIND = _WRITE | _MAKE_SOCKET | _MAKE_FIFO | _MAKE_SYMLINK | _REFER | _EXECUTE
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE


def abi_version() -> int:
    """The kernel's Landlock ABI, 0 where there is none."""
    try:
        return system_call("landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


def build_ruleset(
    abi: int, *, read: Iterable[str], list_only: Iterable[str] = (), write: Iterable[str], processes: bool
) -> int:
    """Descriptor of a ruleset that denies every file access but these.

    Rules name inodes: build it after the mounts it speaks of are in place.
    list_only: directories whose names may be listed, not their files opened. processes: executables may be run from
    `read` and `write`, and every kind of file be made in `write`.
    """
    handled = _FIRST_RIGHTS | sum(right for version, right in _RIGHTS_ADDED_BY_ABI.items() if abi >= version)
    attributes = _RulesetAttributes(
        files=handled, network=_ALL_NETWORK_RIGHTS if abi >= 4 else 0, scoped=_ALL_SCOPES if abi >= 6 else 0
    )
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = system_call("landlock_create_ruleset", ctypes.byref(attributes), size, 0)
    _allow(ruleset, read, handled & (_READ | (_EXECUTE if processes else 0)))
    _allow(ruleset, list_only, _READ_DIRECTORY)
    _allow(ruleset, write, handled & (_WRITE_ANY_KIND if processes else _WRITE))
    return ruleset


def _allow(ruleset: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            rule = _PathBeneath(rights if is_directory else rights & _FILE_RIGHTS, descriptor)
            system_call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(descriptor)
