"""The child's own view: the steps of `cgctl.launch.plan`, each a function with the verb's name.

Every path is followed from the new root, and never out of it; what is found is held by a descriptor, and mounted upon
by that, so that nobody can exchange it meanwhile. Links in the place of ``/proc`` and ``/dev`` are refused.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import ctypes
import errno
import os
import stat

from cgctl.launch.helper.kernel import (
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    attach,
    call,
    clone_tree,
    make_private,
    new_mount,
    open_beneath,
    pivot,
    restrict,
    set_capabilities,
    write_proc,
)
from cgctl.launch.helper.terminal import give, open_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CLONE_NEWCGROUP = 0x0200_0000
_CLONE_NEWTIME = 0x80
_CLONE_NEWPID = 0x2000_0000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 4, 8, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 38, 47
_PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
_MOST_CAPABILITIES = 64
_CAP_KILL = 5
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
# Made here and not in each child: types and constants are pages of the helper's that it need not copy.
_LOOPBACK_UP = ctypes.create_string_buffer(b"lo".ljust(16, b"\0") + _IFF_UP.to_bytes(2, "little"), 40)


class View:
    """What the steps hand on to each other.

    Attributes:
        base: the caller's directory, as a path: a descriptor of it would be one of the caller's mount namespace.
        root: the new root.
        path: what a step is about, for the message if it fails.
        terminal: the program's own, if it has one.
    """

    def __init__(self, base: bytes, console: int) -> None:
        self.base = base
        self.terminal = -1
        self._console = console
        self.root = -1
        self.path: bytes | None = None
        self._ours: set[int] = set()
        self._empty = -1
        self._dev = -1
        self._null = -1

    # --- namespaces

    def cgroup(self) -> None:
        """Have the groups that were joined for a root."""
        call("unshare", _CLONE_NEWCGROUP)

    def time(self, *offsets: tuple[bytes, int, int]) -> None:
        """Shift the clocks, then enter: unshare alone would let only children in."""
        call("unshare", _CLONE_NEWTIME)
        if offsets:
            self.path = b"/proc/self/timens_offsets"
            write_proc(self.path, b"\n".join(b"%s %d %d" % each for each in offsets))
        fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
        call("setns", fd, _CLONE_NEWTIME)
        os.close(fd)

    def root_inside(self) -> None:
        """Be root where the map has one: files are made as whom one is."""
        for change, path in ((os.setresgid, "/proc/self/gid_map"), (os.setresuid, "/proc/self/uid_map")):
            with open(path, "rb") as ranges:
                if any(line.split()[0] == b"0" for line in ranges):
                    change(0, 0, 0)

    def hostname(self, name: bytes) -> None:
        """Set the host's name."""
        call("sethostname", name, len(name))

    def domainname(self, name: bytes) -> None:
        """Set the NIS domain."""
        call("setdomainname", name, len(name))

    def loopback(self) -> None:
        """Bring the loopback device up."""
        control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        call("ioctl", control.fileno(), _SIOCSIFFLAGS, _LOOPBACK_UP)
        control.close()

    # --- files

    def private(self) -> None:
        """Let nothing that is mounted from now on be seen outside."""
        make_private()

    def open_root(self, path: bytes) -> None:
        """Take a directory for the root, as it is."""
        self.root = self._open_outside(path, _DIRECTORY)

    def root_mount(self, path: bytes, flags: int) -> None:
        """Take a directory for the root, mounted anew with all below."""
        place = self._open_outside(path, _DIRECTORY)
        self.root = clone_tree(place, recursive=True)
        attach(self.root, place)
        os.close(place)
        if flags:
            restrict(self.root, flags, recursive=True)

    def overlay(self, path: bytes, kept: bytes, size: int, flags: int, mapped: int) -> None:
        """Take a directory for the root, and write changes elsewhere."""
        place = self._open_outside(path, _DIRECTORY)
        if kept:
            store = self._open_outside(kept, _DIRECTORY)
        else:
            store = new_mount(b"tmpfs", [(b"size", b"%d" % size), (b"mode", b"755")], NOSUID)
            attach(store, place)
        for name in (b"upper", b"work"):
            try:  # noqa: SIM105 - contextlib is not worth its memory
                os.mkdir(name, 0o755, dir_fd=store)
            except FileExistsError:  # changes of before
                pass
        options: list[tuple[bytes, bytes | None]] = [
            (b"lowerdir", b"/proc/self/fd/%d" % place),
            (b"upperdir", b"/proc/self/fd/%d/upper" % store),
            (b"workdir", b"/proc/self/fd/%d/work" % store),
        ]
        self.root = new_mount(b"overlay", [*options, (b"userxattr", None)] if mapped else options, flags)
        attach(self.root, place)
        os.close(store)
        os.close(place)

    def bind(self, source: bytes, target: bytes, flags: int, recursive: int) -> None:
        """Let something of outside be seen."""
        fd = self._open_outside(source, os.O_PATH | os.O_CLOEXEC)
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        mount = clone_tree(fd, recursive=bool(recursive))
        os.close(fd)
        self._attach(mount, target, directory=is_directory)
        if flags:
            restrict(mount, flags, recursive=bool(recursive))
        os.close(mount)

    def mount(
        self, kind: bytes, target: bytes, flags: int, options: Sequence[tuple[bytes, bytes | None]], strict: int
    ) -> None:
        """Mount a new file system."""
        self.path = target
        mount = new_mount(kind, options, flags)
        self._attach(mount, target, links=not strict)
        self._ours.add(os.fstat(mount).st_dev)
        if target == b"/dev" and strict:
            self._dev = mount  # in which nothing can be but what we make
        else:
            os.close(mount)

    def device(self, name: bytes, major: int, minor: int) -> None:
        """Let a device be seen in our own /dev."""
        mount = self._device(name, os.makedev(major, minor))
        place = os.open(name, _NEW, 0o444, dir_fd=self._dev)
        attach(mount, place)
        os.close(place)
        os.close(mount)

    def symlink(self, target: bytes, name: bytes) -> None:
        """Make a link in our own /dev."""
        self.path = b"/dev/" + name
        os.symlink(target, name, dir_fd=self._dev)

    def read_only(self, path: bytes) -> None:
        """Let a path not be written, if it is there."""
        self.path = path
        fd = self._find(path)
        if fd is not None:
            mount = clone_tree(fd, recursive=True)
            attach(mount, fd)
            restrict(mount, RDONLY, recursive=True)
            os.close(mount)
            os.close(fd)

    def mask(self, path: bytes) -> None:
        """Hide a path, if it is there."""
        self.path = path
        fd = self._find(path)
        if fd is None:
            return
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            if self._empty < 0:
                self._empty = new_mount(b"tmpfs", [(b"size", b"4k")], RDONLY | NOSUID | NODEV | NOEXEC)
                mount = self._empty
            else:
                mount = clone_tree(self._empty, recursive=False)
        elif self._null < 0:
            self._null = mount = self._device(b"null", os.makedev(1, 3))
        else:
            mount = clone_tree(self._null, recursive=False)
        attach(mount, fd)
        os.close(fd)
        if mount not in {self._empty, self._null}:
            os.close(mount)

    def chroot(self) -> None:
        """Change the root, and nothing else."""
        os.fchdir(self.root)
        os.chroot(".")
        os.chdir("/")

    def pivot(self) -> None:
        """Change the root, and let go of the old one."""
        pivot(self.root)

    def tty(self) -> None:
        """Open a terminal for the program, and give its other end away."""
        self.path = b"/dev/ptmx"
        master, self.terminal = open_terminal()
        give(self._console, master)
        os.close(master)

    def close(self) -> None:
        """Hold nothing any more but the terminal."""
        for fd in (self.root, self._dev, self._empty, self._null):
            if fd >= 0:
                os.close(fd)

    # --- how

    def _open_outside(self, path: bytes, flags: int) -> int:
        self.path = path
        return os.open(os.path.join(self.base, path), flags)

    def _device(self, name: bytes, number: int) -> int:
        """Make a mount of one of the host's devices, if it is the one that it is called."""
        fd = self._open_outside(b"/dev/" + name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if not stat.S_ISCHR(status.st_mode) or status.st_rdev != number:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            return clone_tree(fd, recursive=False)
        finally:
            os.close(fd)

    def _find(self, path: bytes) -> int | None:
        try:
            return open_beneath(self.root, path, links=False)
        except FileNotFoundError:
            return None

    def _attach(self, mount: int, target: bytes, *, links: bool = True, directory: bool = True) -> None:
        self.path = target
        try:
            fd = open_beneath(self.root, target, links=links)
        except FileNotFoundError:
            fd = self._make(target, directory=directory)
        attach(mount, fd)
        os.close(fd)

    def _make(self, target: bytes, *, directory: bool) -> int:
        """Make a mount point where nobody but us has mounted what it is in."""
        parent, name = os.path.split(target)
        fd = open_beneath(self.root, parent, links=True)
        try:
            if os.fstat(fd).st_dev not in self._ours:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            if directory:
                os.mkdir(name, 0o755, dir_fd=fd)
            else:
                os.close(os.open(name, _NEW, 0o444, dir_fd=fd))
            return open_beneath(fd, name, links=False)
        finally:
            os.close(fd)


# --- namespaces that are there ------------------------------------------------------------------------------------


def enter(fd: int, kind: int) -> None:
    """Join a namespace."""
    call("setns", fd, kind)


def visit(pids: int, make: Callable[[], tuple[int, int]]) -> tuple[int, int]:
    """Make a child that is born in a pid namespace; only children can be there."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    # Those who are there could look into a child that is still a copy of this process.
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    made = None
    try:
        enter(pids, _CLONE_NEWPID)
        made = make()
        return made
    finally:
        if made is None or made[0]:  # not in the child
            enter(own, _CLONE_NEWPID)
            call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)
            os.close(own)


# --- privileges -----------------------------------------------------------------------------------------------------


def bounding() -> list[int]:
    """Return the capabilities that a program of the future may have."""
    found = []
    for number in range(_MOST_CAPABILITIES):
        try:
            if call("prctl", _PR_CAPBSET_READ, number, 0, 0, 0):
                found.append(number)
        except OSError:  # the kernel knows no more of them
            break
    return found


def drop_bounding(keep: Sequence[int], held: Sequence[int]) -> None:
    """Let no program of the future have more than *keep* of those that are *held* now."""
    for number in held:
        if number not in keep:
            call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
    if keep:
        call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)  # across the change of the user


def drop(keep: Sequence[int]) -> None:
    """Have these capabilities alone; an ordinary user takes them across exec by the ambient set."""
    ambient = bool(keep) and os.geteuid() != 0
    call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    set_capabilities(keep, inheritable=ambient)
    if ambient:
        for number in keep:
            call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)


def no_new_privs() -> None:
    """Gain nothing by exec any more."""
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


# --- PID 1 ----------------------------------------------------------------------------------------------------------


def reap(program: int, status: int) -> None:
    """Be PID 1, with all signals blocked: forward them, collect whoever ends, and tell how the program did."""
    everything = range(1, _signal.NSIG)
    # Whoever is root in there could write into the file that this process runs from.
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    drop_bounding([], bounding())
    call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    set_capabilities([_CAP_KILL], inheritable=False)
    no_new_privs()
    while True:
        number = _signal.sigwaitinfo(everything).si_signo
        if number != _signal.SIGCHLD:
            try:  # noqa: SIM105 - contextlib is not worth its memory
                os.kill(program, number)
            except OSError:  # it has ended
                pass
            continue
        while True:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if pid == program:
                os.write(status, b"%d" % os.waitstatus_to_exitcode(code))
                return
            if pid == 0:
                break
