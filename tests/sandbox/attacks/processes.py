"""Other processes: making, signalling, reading, tracing them; rights, identities, limits."""

from __future__ import annotations

from tests.sandbox.attacks.attack import Attack

ATTACKS = {
    "make_processes": Attack(
        source="""
import subprocess, multiprocessing
def f():
    return attempt(os.fork, lambda: os.posix_spawn('/bin/true', ['true'], {}), lambda: subprocess.run(['/bin/true']),
                   lambda: os.execv('/bin/true', ['true']), lambda: os.execv(sys.executable, ['python', '-c', '0']),
                   lambda: call(435, 435, 0, 0), lambda: call(322, 281, -100, b'/bin/true', 0, 0, 0),
                   lambda: call(56, 220, 17, 0, 0, 0, 0), lambda: call(58, 1000, 0), os.forkpty,
                   lambda: multiprocessing.get_context('fork').Process(target=print).start())
""",
    ),
    "daemons": Attack(
        source="""
def f():
    return attempt(os.setsid, lambda: os.setpgid(0, 0), os.fork, lambda: call(157, 167, 36, 1, 0, 0, 0),
                   lambda: call(56, 220, 0x8000 | 17, 0, 0, 0, 0))  # a subreaper; CLONE_PARENT
""",
    ),
    "other_processes": Attack(
        source="""
def f():
    others = [1, 2, os.getppid(), os.getpid() - 1, os.getpid() + 1, DRIVER]
    size = ctypes.create_string_buffer(64)
    return attempt(*(lambda pid=pid: os.kill(pid, 0) for pid in others),
                   *(lambda pid=pid: call(101, 117, request, pid, 0, 0) for pid in others for request in (16, 0x4206)),
                   *(lambda pid=pid: call(310, 270, pid, size, 1, size, 1, 0) for pid in others),
                   *(lambda pid=pid: call(311, 271, pid, size, 1, size, 1, 0) for pid in others),
                   *(lambda pid=pid: call(434, 434, pid, 0) for pid in others),
                   *(lambda pid=pid: call(129, 138, pid, 0, size) for pid in others),
                   lambda: call(101, 117, 0, 0, 0, 0), lambda: os.kill(-1, 0), lambda: os.killpg(0, 0),
                   lambda: call(438, 438, 3, 3, 0), lambda: call(312, 272, 1, 1, 0, 0, 0),
                   lambda: call(424, 424, 3, 9, 0, 0))
""",
    ),
    "siblings": Attack(
        source="""
def f():
    # tgkill is allowed, for abort(); it must not reach out of the namespace or the Landlock domain: neither the tester
    # of the same judgement nor the program that runs beside it.
    mine = os.getpid()
    near = [pid for pid in (*range(mine - 400, mine + 400), DRIVER, os.getppid()) if pid > 0 and pid != mine]
    return attempt(*(lambda pid=pid: call(234, 131, pid, pid, 0) for pid in near))
""",
    ),
    "signals_through_a_descriptor": Attack(
        source="""
import signal
def f():
    # The kernel signals the owner of a descriptor when it becomes ready: the driver would notice by its death.
    for pid in (DRIVER, os.getppid(), -DRIVER):
        for descriptor in (*channels(), *os.pipe()):
            for way in (lambda: fcntl.fcntl(descriptor, fcntl.F_SETOWN, pid),
                        lambda: fcntl.fcntl(descriptor, 10, signal.SIGKILL),
                        lambda: fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)):
                try: way()
                except OSError: pass
        for descriptor in range(5, 64):
            try: os.write(descriptor, b'x') if descriptor not in channels() else None
            except OSError: pass
    return 'held'
""",
    ),
    "locks_and_signals_of_the_group": Attack(
        source="""
def f():
    return attempt(lambda: os.kill(0, 0), lambda: os.kill(-DRIVER, 0), lambda: os.tcsetpgrp(0, os.getpid()),
                   lambda: os.setpriority(os.PRIO_USER, 0, 19), lambda: os.setpriority(os.PRIO_PGRP, 0, 19),
                   lambda: call(251, 30, 1, 0, 0), lambda: call(144, 119, 0, 0, ctypes.create_string_buffer(8)),
                   lambda: call(314, 274, 0, ctypes.create_string_buffer(64), 0))
""",
    ),
    "raise_its_limits": Attack(
        source="""
import resource
def f():
    kinds = ('AS', 'CPU', 'NPROC', 'FSIZE', 'NOFILE', 'CORE', 'STACK')
    def lift(kind):
        number = getattr(resource, 'RLIMIT_' + kind)
        try:
            resource.setrlimit(number, resource.getrlimit(number))
        except ValueError as error:
            raise OSError(str(error))
    return attempt(*(lambda kind=kind: lift(kind) for kind in kinds), lambda: os.nice(-1), lambda: os.nice(1),
                   lambda: os.sched_setaffinity(0, {0}), lambda: resource.prlimit(DRIVER, resource.RLIMIT_CPU),
                   lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1)))
""",
    ),
    "limits_are_set": Attack(
        source="""
import resource
def f():
    most = {'AS': 1 << 30, 'CPU': 10, 'FSIZE': 1 << 24, 'NOFILE': 64, 'STACK': 1 << 24, 'MEMLOCK': 0, 'MSGQUEUE': 0,
            'CORE': 1}
    above = {kind: resource.getrlimit(getattr(resource, 'RLIMIT_' + kind)) for kind in most}
    above = {kind: found for kind, found in above.items() if not 0 <= found[0] <= found[1] <= most[kind]}
    return repr(above) if above else 'held'
""",
    ),
    "regain_privileges": Attack(
        source="""
def f():
    buffer = ctypes.create_string_buffer(24)
    return attempt(lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setreuid(0, 0),
                   lambda: os.setresgid(0, 0, 0), lambda: os.setgroups([0]), lambda: os.seteuid(os.getuid()),
                   lambda: call(126, 91, buffer, buffer), lambda: call(122, 151, 0), lambda: call(123, 152, 0))
""",
    ),
    "prctl": Attack(
        source="""
def f():
    # PDEATHSIG DUMPABLE KEEPCAPS SECCOMP CAPBSET_DROP TSC SECUREBITS TIMERSLACK MCE_KILL SET_MM SUBREAPER NO_NEW_PRIVS
    # THP_DISABLE CAP_AMBIENT SPECULATION_CTRL IO_FLUSHER SYSCALL_USER_DISPATCH SCHED_CORE MDWE PTRACER
    numbers = [1, 4, 8, 22, 24, 26, 28, 29, 33, 35, 36, 38, 41, 47, 53, 57, 59, 62, 65, 0x59616D61]
    return attempt(*(lambda number=number, value=value: call(157, 167, number, value, 0, 0, 0)
                     for number in numbers for value in (0, 1, 2)),
                   lambda: call(135, 92, 0), lambda: call(135, 92, 0x40000))
""",
    ),
    "no_crash_is_dumped": Attack(
        source="""
import resource
def f():
    # A core_pattern that is a pipe ignores a limit of 0: only an undumpable process leaves nothing to the host.
    dumpable, limits = call(157, 167, 3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)
    return 'held' if dumpable == 0 and max(limits) <= 1 else repr((dumpable, limits))
""",
    ),
    "crash": Attack(source="def f():\n    return ctypes.string_at(0)\n", verdicts=("died",)),
    "abort": Attack(source="def f():\n    os.chdir('/')\n    os.abort()\n", verdicts=("died",)),
    "descriptors_of_the_driver": Attack(
        source="""
def f():
    # 0, 1, 2 are /dev/null, and one socket carries calls and answers: nothing else may be open.
    kinds = {}
    for descriptor in range(1024):
        try: kinds[descriptor] = stat.S_IFMT(os.fstat(descriptor).st_mode)
        except OSError: pass
    sockets = [d for d, kind in kinds.items() if kind == stat.S_IFSOCK]
    files = [d for d, kind in kinds.items() if kind not in (stat.S_IFSOCK, stat.S_IFCHR)]
    return 'held' if len(sockets) == 1 and not files and set(kinds) - set(sockets) == {0, 1, 2} else repr(kinds)
""",
    ),
    "environment_and_arguments": Attack(
        source="""
def f():
    leaked = {name for name in os.environ if name != 'LC_CTYPE'}
    leaked |= {word for word in (*sys.orig_argv, *sys.argv) if 'pytest' in word or SECRET in word}
    return repr(leaked) if leaked else 'held'
""",
    ),
    "real_root": Attack(
        source="""
def f():
    return 'held' if 0 not in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) else repr(os.getuid())
""",
    ),
}
