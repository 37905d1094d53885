"""Reading, writing and changing files of the host; leaving the directory that is shown."""

from __future__ import annotations

from tests.sandbox.attacks.attack import Attack

ATTACKS = {
    "read_host_files": Attack(
        source="""
def f():
    paths = ['/etc/passwd', '/etc/shadow', '/etc/hostname', '/root/.bashrc', '/proc/version', '/proc/self/environ',
             '/proc/1/environ', '/proc/self/maps', '/proc/self/mem', f'/proc/{DRIVER}/environ', f'/proc/{DRIVER}/mem',
             '/sys/kernel/osrelease', '/dev/mem', '/dev/kmsg', '/etc/hosts', '/proc/cpuinfo', '/proc/net/tcp', OWN_FILE]
    return attempt(*(lambda path=path: open(path, 'rb').read(10) for path in paths))
""",
    ),
    "list_host_directories": Attack(
        source="""
def f():
    paths = ['/', '/root', '/home', '/etc', '/proc', '/proc/self/fd', '/tmp/..', '/usr', '/var', '/dev', '/sys', '/opt',
             os.path.dirname(OWN_FILE)]
    return attempt(*(lambda path=path: os.listdir(path) for path in paths))
""",
    ),
    "read_the_tests_of_the_repository": Attack(
        source="""
def f():
    return attempt(lambda: open(REPOSITORY + '/pyproject.toml').read(), lambda: os.listdir(REPOSITORY + '/tests'),
                   lambda: open(REPOSITORY + '/megatron_codex/sandbox/judge.py').read())
""",
    ),
    "write_host_files": Attack(
        source="""
def f():
    paths = ['/x', '/etc/x', '/usr/lib/x', '/root/x', '/var/tmp/x', '/dev/shm/x', '/home/x', sys.prefix + '/lib/x',
             os.path.dirname(OWN_FILE) + '/x', OWN_FILE]
    return attempt(*(lambda path=path: open(path, 'w') for path in paths),
                   lambda: os.remove(os.__file__), lambda: open(os.__file__, 'a'), lambda: os.mkdir('/usr/lib/x'))
""",
    ),
    "change_a_file_of_the_user": Attack(
        source="""
def f():
    # What Landlock does not guard (times, mode, owner, attributes) and what it does, on a file of the driver's user.
    return attempt(lambda: os.utime(OWN_FILE, (1, 1)), lambda: os.utime(OWN_FILE), lambda: os.chmod(OWN_FILE, 0),
                   lambda: os.truncate(OWN_FILE, 0), lambda: os.chown(OWN_FILE, os.getuid(), os.getgid()),
                   lambda: os.setxattr(OWN_FILE, 'user.x', b'1'), lambda: os.remove(OWN_FILE),
                   lambda: os.rename(OWN_FILE, OWN_FILE + 'x'), lambda: os.link(OWN_FILE, OWN_FILE + 'x'),
                   lambda: os.symlink(OWN_FILE, OWN_FILE + 'x'), lambda: os.utime('/dev/null'),
                   lambda: os.chmod('/dev/null', 0), lambda: os.utime(os.__file__), lambda: os.mkdir(OWN_FILE + 'x'))
""",
    ),
    "escape_by_path": Attack(
        source="""
def f():
    return attempt(lambda: os.chroot('/'), lambda: os.chroot('.'), lambda: os.fchdir(3),
                   lambda: open('../../../../etc/passwd'), lambda: os.symlink('/etc/passwd', 'l') or open('l'),
                   lambda: os.link(os.__file__, 'h'), lambda: os.mknod('d', 0o60600, 0x100), lambda: os.mkfifo('p'))
""",
    ),
    "escape_by_a_directory_descriptor": Attack(
        source="""
def f():
    # O_PATH descriptors can be had of any directory; opening below one is another matter.
    ways = []
    for path in ('/', '..', '/etc', '/proc', os.path.dirname(OWN_FILE)):
        try: directory = os.open(path, os.O_PATH)
        except OSError: continue
        ways += [lambda d=directory, name=name: os.open(name, os.O_RDONLY, dir_fd=d)
                 for name in ('etc/passwd', '../etc/passwd', 'passwd', 'self/environ', os.path.basename(OWN_FILE), '.')]
        ways += [lambda d=directory: os.fchdir(d), lambda d=directory: os.open(f'/proc/self/fd/{d}', os.O_RDONLY)]
    return attempt(*ways)
""",
    ),
    "escape_by_moving_directories": Attack(
        source="""
def f():
    # A process below a directory that is moved up would find more parents than it should.
    try: os.makedirs('a/b/c')
    except OSError: return 'held'
    inner = os.open('a/b/c', os.O_RDONLY)
    try: os.rename('a/b/c', 'c')
    except OSError: pass  # Landlock lets nothing change its directory
    names = ['../' * depth + 'etc/passwd' for depth in range(1, 9)]
    return attempt(*(lambda name=name: os.open(name, os.O_RDONLY, dir_fd=inner) for name in names))
""",
    ),
    "race_of_paths": Attack(
        source="""
import threading
def f():
    # One thread swaps what a name means (directory, file, link) while another opens and unlinks through it.
    try: os.makedirs('d/etc')
    except OSError: return 'held'
    open('d/etc/passwd', 'w').write('mine')
    ended, seen = [], set()
    def swap():
        while not ended:
            for old, new in (('d', 'e'), ('e', 'd')):
                for way in (lambda: os.rename(old, new), lambda: os.symlink('/', 'd'), lambda: os.unlink('d')):
                    try: way()
                    except OSError: pass
    thread = threading.Thread(target=swap)
    thread.start()
    for _ in range(300):
        for name in ('d/etc/passwd', 'd/../../etc/passwd', 'e/../etc/passwd'):
            try: seen.add(open(name).read())
            except OSError: pass
        try: os.unlink('d/../../etc/passwd'); seen.add('removed')
        except OSError: pass
    ended.append(1)
    thread.join()
    return 'held' if seen <= {'mine'} else repr(seen)
""",
    ),
    "lock_and_watch_files_of_others": Attack(
        source="""
import struct
def f():
    library = os.open(os.__file__, os.O_RDONLY)
    lock = struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0)
    return attempt(lambda: fcntl.flock(library, fcntl.LOCK_EX | fcntl.LOCK_NB),
                   lambda: fcntl.fcntl(library, fcntl.F_SETLK, lock),
                   lambda: fcntl.fcntl(library, fcntl.F_SETLEASE, fcntl.F_WRLCK),
                   lambda: call(253, 26), lambda: call(294, 26, 0), lambda: call(300, 262, 0, 0))
""",
    ),
    "terminals_and_devices": Attack(
        source="""
import termios
def f():
    paths = ['/dev/tty', '/dev/console', '/dev/ptmx', '/dev/pts/0', '/dev/fuse', '/dev/kvm', '/dev/net/tun',
             '/dev/userfaultfd', '/dev/fb0', '/dev/loop-control', '/dev/input/event0', '/dev/sda', '/dev/vda']
    return attempt(*(lambda path=path: os.open(path, os.O_RDWR) for path in paths), os.openpty,
                   lambda: fcntl.ioctl(0, termios.TIOCSTI, b'x'), lambda: fcntl.ioctl(0, 0x541D), # TIOCCONS
                   lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 1))
""",
    ),
    "disk_is_small": Attack(
        source="""
def f():
    try:
        for number in range(64):
            with open(f'{number}', 'wb') as handle: handle.write(bytes(1 << 20))
    except OSError as error:
        # Level B gives no file at all.
        return 'held' if error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS) else repr(error)
""",
    ),
    "inodes_are_few": Attack(
        source="""
def f():
    try:
        for number in range(3000): os.close(os.open(f'{number}', os.O_CREAT))
    except OSError as error:
        return 'held' if error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS) else repr(error)
""",
    ),
    "sparse_files_are_small": Attack(
        source="""
def f():
    try: handle = open('sparse', 'wb')
    except OSError: return 'held'
    return attempt(lambda: os.ftruncate(handle.fileno(), 1 << 40), lambda: os.ftruncate(handle.fileno(), 17 << 20),
                   lambda: os.posix_fallocate(handle.fileno(), 0, 17 << 20),
                   lambda: os.pwrite(handle.fileno(), b'x', 1 << 30),
                   lambda: os.copy_file_range(0, handle.fileno(), 1 << 30))
""",
    ),
    "deep_directories": Attack(
        source="""
def f():
    try:
        for depth in range(5000):
            os.mkdir('d'); os.chdir('d')
    except OSError as error:
        return 'held' if error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS) else repr(error)
""",
    ),
}
