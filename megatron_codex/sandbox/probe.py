"""What this kernel gives this user, and the level of isolation that follows: A, B or a refusal naming what is missing.

A: user, mount, pid, net, ipc, uts and cgroup namespaces + Landlock + seccomp + rlimits. B (judge only, and only when
asked for): Landlock from ABI 6 + seccomp + rlimits. Anything less is refused. The level stands in every result.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from megatron_codex.errors import WorkError
from megatron_codex.sandbox import kernel, landlock, project_files
from megatron_codex.sandbox.control_group import make_control_group
from megatron_codex.sandbox.jail import JailPlan, Level, Limits, spare_user
from megatron_codex.sandbox.seccomp import ProfileName
from megatron_codex.sandbox.worker import JailRefusedError, Worker, WorkerError

MIN_LANDLOCK_ABI = {"A": 1, "B": 6}
_WORKER_BYTES, _WORKER_PROCESSES = 512 << 20, 32
"""Of a worker itself, its programs' shared pages and scratch files included."""
PACKAGES = ("numpy",)
"""Packages outside the standard library that programs may import (a dependency of this one, so always there)."""


@dataclass(frozen=True, kw_only=True)
class KernelFeatures:
    """What was found. Each missing_* is empty, or says what was refused and how."""

    landlock_abi: int
    missing_namespaces: str = ""
    missing_basics: str = ""
    """No C module, an architecture without a system call table, or no seccomp."""

    control_groups: bool = False
    """Whether this user may bound a worker by a cgroup."""

    def without_namespaces(self) -> KernelFeatures:
        """As on a machine whose kernel, or container, forbids namespaces."""
        return replace(self, missing_namespaces=self.missing_namespaces or "user namespaces are switched off")


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A level that this machine can give, ready to start workers."""

    level: Level
    plan: JailPlan
    import_paths: tuple[str, ...]
    control_groups: bool = False

    @property
    def isolation(self) -> str:
        """As written into every result."""
        namespaces = "namespaces, " if self.level == "A" else "no namespaces, "
        groups = ", cgroups" if self.control_groups else ""
        return f"{self.level}: {namespaces}landlock {self.plan.landlock_abi}, seccomp, rlimits{groups}"

    def start_worker(self, limits: Limits) -> Worker:
        """limits: of each of its programs, two of which may run at a time. Raises: WorkerError."""
        group = None
        if self.control_groups:
            memory_bytes = 2 * limits.memory_bytes + _WORKER_BYTES
            if self.plan.profile == "trace":
                memory_bytes += project_files.DISK_BYTES
            group = make_control_group(
                memory_bytes=memory_bytes, num_processes=2 * limits.num_processes + _WORKER_PROCESSES
            )
            if group is None:
                raise WorkerError("no cgroup could be made, though one could at the start")
        return Worker(self.plan, import_paths=self.import_paths, control_group=group)


@cache
def probe_kernel() -> KernelFeatures:
    """Try it: a worker process enters the jail, or says which call the kernel refused."""
    if importlib.util.find_spec("megatron_codex.sandbox._jail") is None:
        return KernelFeatures(landlock_abi=0, missing_basics="its C module was not built: install with a C compiler")
    try:
        kernel.architecture()
    except OSError as error:
        return KernelFeatures(landlock_abi=0, missing_basics=str(error))
    basics = "" if _has_seccomp() else "seccomp filters (CONFIG_SECCOMP_FILTER) are not in this kernel; use another"
    abi = landlock.abi_version()
    try:
        Worker(JailPlan(level="A", profile="judge", landlock_abi=abi)).close()
    except JailRefusedError as error:
        refused = str(error)
    else:
        refused = ""
    group = make_control_group(memory_bytes=_WORKER_BYTES, num_processes=_WORKER_PROCESSES)
    if group is not None:
        group.remove()
    return KernelFeatures(
        landlock_abi=abi, missing_namespaces=refused, missing_basics=basics, control_groups=group is not None
    )


def choose_sandbox(
    profile: ProfileName,
    *,
    allow_level_b: bool = False,
    features: KernelFeatures | None = None,
    read_only: tuple[str, ...] = (),
    project: str | None = None,
) -> Sandbox:
    """The strongest level on this machine. features: as probed (default), or for tests a weaker machine's.

    Raises: WorkError naming the missing feature, when this machine cannot give level A (or B, where allowed).
    """
    features = features or probe_kernel()
    level = _choose_level(profile, allow_level_b, features)
    paths, folders = package_paths(PACKAGES) if profile == "judge" else ((), ())
    plan = JailPlan(
        level=level,
        profile=profile,
        landlock_abi=features.landlock_abi,
        read_only=(*paths, *read_only),
        list_only=folders,
        project=project,
    )
    return Sandbox(level=level, plan=plan, import_paths=folders, control_groups=features.control_groups)


def package_paths(packages: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Directories to show so that these packages can be imported (with their bundled libraries), and where they lie."""
    paths: list[str] = []
    folders: list[str] = []
    for package in packages:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            continue
        home = Path(found.origin).resolve().parent
        # Wheels put a package's own shared libraries into NAME.libs beside it.
        paths += [str(path) for path in (home, home.with_name(f"{package}.libs")) if path.is_dir()]
        folders.append(str(home.parent))
    return tuple(paths), tuple(dict.fromkeys(folders))


def _choose_level(profile: ProfileName, allow_level_b: bool, features: KernelFeatures) -> Level:
    if features.missing_basics:
        raise WorkError(f"the sandbox cannot run here: {features.missing_basics}")
    if features.landlock_abi < MIN_LANDLOCK_ABI["A"]:
        raise WorkError("the sandbox cannot run here: Landlock is missing (Linux 5.13 or later, in the lsm= list)")
    if not features.missing_namespaces:
        return "A"
    no_a = f"no namespaces ({features.missing_namespaces})"
    if profile == "trace":
        raise WorkError(f"{no_a}: a project's tests run at isolation level A only; allow user namespaces")
    if features.landlock_abi < MIN_LANDLOCK_ABI["B"]:
        raise WorkError(f"{no_a}, and Landlock ABI {features.landlock_abi} is below 6, which level B needs")
    if not allow_level_b:
        raise WorkError(
            f"{no_a}: isolation level A is impossible; allow user namespaces, or accept level B by --allow-level-b"
        )
    if os.geteuid() == 0 and spare_user() is None:
        raise WorkError(f"{no_a}, and root cannot become another user here: run as an ordinary user")
    return "B"


def _has_seccomp() -> bool:
    return any(line.startswith("Seccomp:") for line in Path("/proc/self/status").read_text().splitlines())
