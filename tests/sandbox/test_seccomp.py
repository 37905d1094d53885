"""The filters, run instruction by instruction for both architectures: no machine of the other kind is needed."""

from __future__ import annotations

import errno
import struct

import pytest

from megatron_codex.sandbox.seccomp import JUDGE_CALLS, TRACE_CALLS, ProfileName, program_filter, worker_filter
from megatron_codex.sandbox.syscall_numbers import ARCHITECTURES, Architecture

ALLOW, KILL, DENY = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
NO_SUCH_CALL = 0x00050000 | errno.ENOSYS
X32_BIT = 0x40000000

EVERY = pytest.mark.parametrize("machine", ARCHITECTURES.values(), ids=ARCHITECTURES)
BOTH = pytest.mark.parametrize("profile", ["judge", "trace"])


def run_filter(program: bytes, number: int, arguments: tuple[int, ...] = (), *, audit: int) -> int:
    """What the kernel's BPF machine would answer to a call."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *arguments, *(0,) * (6 - len(arguments)))
    instructions = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
            continue
        holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
        at += if_true if holds else if_false


def run_filters(
    profile: ProfileName, machine: Architecture, number: int, arguments: tuple[int, ...] = (), *, audit: int = 0
) -> int:
    """The strictest answer of all filters that a program of this profile is bound to, as the kernel takes it."""
    filters = [program_filter(profile, machine)]
    if profile == "judge":
        filters.append(worker_filter(machine))
    answers = [run_filter(each, number, arguments, audit=audit or machine.audit) for each in filters]
    return min(answers, key=lambda answer: answer - (1 << 32) if answer & KILL else answer)


def answer(profile: ProfileName, machine: Architecture, name: str, *arguments: int) -> int:
    return run_filters(profile, machine, machine.numbers[name], arguments)


@EVERY
@BOTH
def test_exactly_the_listed_calls_are_allowed(profile: ProfileName, machine: Architecture) -> None:
    listed = set(JUDGE_CALLS) | (set(TRACE_CALLS) if profile == "trace" else set())
    checked = {
        "clone",
        "clone3",
        "openat2",
        "ioctl",
        "prlimit64",
        "prctl",
        *(["socketpair"] if profile == "trace" else []),
    }
    names = {number: name for name, number in machine.numbers.items()}
    for number in range(600):
        name = names.get(number, "")
        if name not in checked:
            expected = ALLOW if name in listed else DENY
            assert run_filters(profile, machine, number) == expected, (number, name)


@EVERY
@BOTH
def test_another_architectures_entry_kills(profile: ProfileName, machine: Architecture) -> None:
    i386 = 0x40000003
    assert run_filters(profile, machine, machine.numbers["read"], audit=i386) == KILL
    assert run_filters(profile, machine, machine.numbers["read"] | X32_BIT) == KILL


@EVERY
def test_clone_makes_threads_only_or_processes_but_never_namespaces(machine: Architecture) -> None:
    thread, process = 0x003D0F00, 17
    assert answer("judge", machine, "clone", thread) == ALLOW
    assert answer("judge", machine, "clone", process) == DENY
    assert answer("trace", machine, "clone", process) == ALLOW
    for bit in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        for profile in ("judge", "trace"):
            assert answer(profile, machine, "clone", thread | bit) == DENY
            assert answer(profile, machine, "clone", process | bit) == DENY
    assert answer("trace", machine, "clone3", 0, 0) == NO_SUCH_CALL


@EVERY
@BOTH
def test_limits_can_be_read_of_oneself_only(profile: ProfileName, machine: Architecture) -> None:
    assert answer(profile, machine, "prlimit64", 0, 7, 0, 0x1000) == ALLOW
    assert answer(profile, machine, "prlimit64", 1, 7, 0, 0x1000) == DENY
    assert answer(profile, machine, "prlimit64", 0, 7, 0x1000, 0) == DENY
    assert answer(profile, machine, "prlimit64", 0, 7, 0x7F00_0000_0000, 0) == DENY


@EVERY
def test_arguments_decide_over_ioctl_prctl_and_socketpair(machine: Architecture) -> None:
    terminal_injection, asks_size = 0x5412, 0x5413
    assert answer("judge", machine, "ioctl", 0, terminal_injection) == DENY
    assert answer("judge", machine, "ioctl", 0, asks_size) == ALLOW
    parent_death_signal, set_name = 1, 15
    assert answer("judge", machine, "prctl", parent_death_signal) == DENY
    assert answer("trace", machine, "prctl", parent_death_signal) == ALLOW
    assert answer("judge", machine, "prctl", set_name) == ALLOW
    local, internet = 1, 2
    assert answer("trace", machine, "socketpair", local) == ALLOW
    assert answer("trace", machine, "socketpair", internet) == DENY
    assert answer("judge", machine, "socketpair", local) == DENY


def test_filters_fit_the_kernels_limit() -> None:
    for machine in ARCHITECTURES.values():
        for program in (program_filter("trace", machine), program_filter("judge", machine), worker_filter(machine)):
            assert len(program) // 8 <= 4096


@EVERY
def test_worker_makes_processes_but_no_namespaces_by_clone_and_no_sockets(machine: Architecture) -> None:
    """What it may do besides its programs is WORKER_CALLS; a flaw in the worker itself opens no more than that."""
    allowed = worker_filter(machine)
    for name, arguments, expected in (
        ("clone", (17,), ALLOW),
        ("clone", (17 | 0x10000000,), DENY),
        ("unshare", (), ALLOW),
        ("socket", (), DENY),
        ("execve", (), DENY),
        ("ptrace", (), DENY),
        ("bpf", (), DENY),
    ):
        assert run_filter(allowed, machine.numbers[name], arguments, audit=machine.audit) == expected, name
