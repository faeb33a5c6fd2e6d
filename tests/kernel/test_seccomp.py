"""Filters of system calls, as the kernel applies them to programs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from typing import Any

import pytest

import cgctl
from cgctl.launch.becoming import Profile
from cgctl.launch.seccomp import CALLS, DENIED, LAST
from tests.kernel import payloads
from tests.kernel.pace import DEAD_SEC
from tests.launch.test_helper import in_child, refuse_syscall
from tests.require import skip_unless

pytestmark = pytest.mark.host

_COLUMN = {"x86_64": 0, "aarch64": 2}.get(os.uname().machine)
_OK, _EPERM, _ENOSYS = 0, 1, 38
PROGRAM = """
import ctypes, json, mmap, sys
libc = ctypes.CDLL(None, use_errno=True)
def native(number, *arguments):
    ctypes.set_errno(0)
    found = libc.syscall(number, *map(ctypes.c_long, arguments))
    return ctypes.get_errno() if found == -1 else 0
# push rbx; mov eax, NUMBER; mov ebx, FIRST; xor ecx, ecx; xor edx, edx; int 0x80; pop rbx; ret
def compat(number, first=0):
    page = mmap.mmap(-1, 4096, prot=7)
    numbers = number.to_bytes(4, "little"), first.to_bytes(4, "little")
    page.write(b"S\\xb8" + numbers[0] + b"\\xbb" + numbers[1] + b"1\\xc91\\xd2\\xcd\\x80[\\xc3")
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    found = call()
    return -found if -4096 < found < 0 else 0
"""


def ask(script: str, **keywords: Any) -> Any:
    """Run a script in a sandbox, and read what it says."""
    how = {"namespaces": ["ipc"], **keywords}
    done = cgctl.run(payloads.python(PROGRAM + script), capture_output=True, timeout=DEAD_SEC, **how)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def number(name: str) -> int:
    """Give the number of a call on this machine."""
    assert _COLUMN is not None
    found = CALLS[name][_COLUMN]
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _known() -> None:
    """Skip on machines that the list has no numbers of."""
    skip_unless("seccomp", None if _COLUMN is not None else f"no list for {os.uname().machine}")


class TestDefault:
    """What every sandbox has."""

    def test_each_denied_call(self) -> None:
        """EPERM, whatever the kernel would have said."""
        numbers = {name: numbers[_COLUMN or 0] for name, numbers in CALLS.items() if name in DENIED}
        asked = {name: known for name, known in numbers.items() if known is not None}

        assert ask(f"print(json.dumps({{name: native(n) for name, n in {asked}.items()}}))") == dict.fromkeys(
            asked, _EPERM
        )

    def test_without(self) -> None:
        """The kernel alone refuses these otherwise, or not at all."""
        names = ("add_key", "io_uring_setup", "keyctl", "personality", "sysfs", "ustat")
        asked = {name: number(name) for name in names if CALLS[name][_COLUMN or 0] is not None}
        script = f"print(json.dumps({{name: native(n, 0x40000) for name, n in {asked}.items()}}))"

        assert ask(script) == dict.fromkeys(asked, _EPERM)
        assert _EPERM not in {
            found for name, found in ask(script, seccomp="unconfined").items() if name != "io_uring_setup"
        }

    def test_namespaces(self) -> None:
        """Neither by unshare, nor by clone, nor by clone3, which is as if it were not there; threads and forks are."""
        unshare = number("unshare")
        script = f"print(json.dumps([native({unshare}, flag) for flag in (0x10000000, 0x20000000, 0x80, 0x400)]))"
        clone = f"print(json.dumps([native({number('clone')}, 0x10000011), native({number('clone3')}, 0, 0)]))"

        assert ask(script) == [_EPERM, _EPERM, _EPERM, _OK]
        assert ask(clone) == [_EPERM, _ENOSYS]

    def test_new_calls(self) -> None:
        """What is newer than the list is not there."""
        assert ask(f"print(json.dumps([native({LAST} + each) for each in (1, 2, 1000)]))") == [_ENOSYS] * 3

    @pytest.mark.parametrize("profile", ["default", "unconfined"])
    def test_terminals(self, profile: Profile) -> None:
        """What is pushed into a terminal is refused even in the program's own (TIOCSTI, TIOCLINUX)."""
        asked = f"[native({number('ioctl')}, 0, request, id(b'x')) for request in (0x5412, 0x541c)]"
        script = payloads.python(f"{PROGRAM}print('found', json.dumps({asked}), '.')")
        done = cgctl.run(script, namespaces=["ipc"], tty=True, seccomp=profile, capture_output=True, timeout=DEAD_SEC)
        # Besides, there may be an echo of what was pushed.
        pushed, selected = json.loads(done.stdout.partition(b"found ")[2].partition(b" .")[0])

        if profile == "default":
            assert (pushed, selected) == (_EPERM, _EPERM)
        else:
            assert selected != _EPERM

    def test_sockets(self) -> None:
        """None to the hypervisor; those of the network and of files are there."""
        script = f"print(json.dumps([native({number('socket')}, family, 1, 0) for family in (1, 2, 40)]))"

        assert ask(script) == [_OK, _OK, _EPERM]

    @pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86_64 is called in these ways")
    def test_other_ways_to_call(self) -> None:
        """What is refused is refused to who calls as a 32-bit program does; x32 is not there."""
        probe = "print(json.dumps(compat(20)))"  # getpid
        ended = cgctl.run(payloads.python(PROGRAM + probe), capture_output=True, timeout=DEAD_SEC)
        skip_unless("ia32", None if ended.returncode == 0 else "this kernel runs no 32-bit programs")
        numbers = [CALLS[name][1] for name in ("keyctl", "mount", "userfaultfd", "vm86", "stime")]
        script = f"print(json.dumps([compat(n) for n in {numbers}] + [compat({CALLS['unshare'][1]}, 0x10000000)]))"

        assert ask(probe) == 0
        assert ask(script) == [_EPERM] * 6
        assert ask(f"print(json.dumps([compat({CALLS['socketcall'][1]}), native(0x40000000 | 39)]))") == [_ENOSYS] * 2

    def test_what_a_capability_is_for(self) -> None:
        """Who keeps it is not hindered by the filter."""
        script = f"print(json.dumps([native({number('chroot')}, id(b'/') + 32), native({number('keyctl')})]))"

        assert ask(script) == [_EPERM, _EPERM]
        assert ask(script, capabilities=["SYS_CHROOT"]) == [_OK, _EPERM]

    @pytest.mark.parametrize(
        ("keywords", "mode"),
        [
            ({"namespaces": ["pid", "mnt"]}, 2),
            ({"namespaces": ["pid", "mnt"], "init": True}, 2),
            ({"root": "/"}, 2),
            ({"namespaces": "all", "root": "/"}, 2),
            ({"namespaces": ["pid", "mnt"], "seccomp": "unconfined"}, 0),
            ({"namespaces": ["pid", "mnt"], "seccomp": "unconfined", "init": True}, 0),
            ({"namespaces": ["pid", "mnt"], "no_new_privs": False}, 0),
            ({}, 0),
            ({"seccomp": "default"}, 2),
        ],
    )
    def test_who_has_one(self, keywords: dict[str, Any], mode: int) -> None:
        """With any namespace or a root, and where it was asked for."""
        done = cgctl.run(["cat", "/proc/self/status"], capture_output=True, text=True, **keywords)

        assert f"\nSeccomp:\t{mode}\n" in done.stdout


class TestPrograms:
    """What programs do every day goes on."""

    @pytest.mark.parametrize("profile", ["default", "strict"])
    def test_python(self, profile: str) -> None:
        """Threads, forks, processes, sockets, event loops."""
        script = """
import asyncio, concurrent.futures, os, socket, subprocess, sys, threading
threads = [threading.Thread(target=lambda: None) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
async def talk():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    return (await process.communicate(b"x"))[0]
assert asyncio.run(talk()) == b"x"
assert subprocess.run(["sh", "-c", "echo $((6 * 7)) | cat"], capture_output=True).stdout == b"42\\n"
with concurrent.futures.ThreadPoolExecutor() as pool: assert sum(pool.map(len, ["a", "bb"])) == 3
pid = os.fork()
if pid == 0: os._exit(3)
assert os.waitpid(pid, 0)[1] == 3 << 8
a, b = socket.socketpair()
a.send(b"y"); assert b.recv(1) == b"y"
print(json.dumps("done"))
"""
        assert ask(script, seccomp=profile) == "done"

    def test_what_kills_still_kills(self) -> None:
        """A filter refuses; it does not end anybody."""
        assert cgctl.run(["sh", "-c", "kill -TERM $$"], namespaces=["ipc"]).returncode == -signal.SIGTERM

    @pytest.mark.skipif(shutil.which("unshare") is None, reason="util-linux is not installed")
    def test_a_sandbox_in_a_sandbox(self) -> None:
        """It takes being asked for."""
        argv = ["unshare", "--user", "true"]

        assert cgctl.run(argv, namespaces=["ipc"], stderr=subprocess.DEVNULL).returncode != 0
        assert cgctl.run(argv, namespaces=["ipc"], seccomp="unconfined").returncode == 0


class TestStrict:
    """Programs that see the same files cannot talk by locking them (isolate 2.4 and later)."""

    HOLD = (
        "import fcntl, time\n"
        "file = open('/usr/bin/env')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(600)\n"
    )
    TRY = """
import errno, fcntl
def found(lock):
    try: lock()
    except OSError as error: return errno.errorcode[error.errno]
    return "free"
file = open('/usr/bin/env')
print(json.dumps([
    found(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)),
    found(lambda: fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)),
    found(lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
    found(lambda: fcntl.fcntl(file, fcntl.F_NOTIFY, 0)),
    found(lambda: fcntl.fcntl(file, fcntl.F_GETFD)),
]))
"""

    def test_locks(self) -> None:
        """By default one sandbox sees that another has locked a file; without locks, neither can lock nor see."""
        how: dict[str, Any] = {"root": "/", "namespaces": ["pid"]}
        argv = payloads.python(self.HOLD)
        with cgctl.popen(argv, stdout=subprocess.PIPE, text=True, **how) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == "held\n"

                assert ask(self.TRY, **how)[0] == "EAGAIN"
                assert ask(self.TRY, **how, seccomp="strict") == ["EPERM"] * 4 + ["free"]
            finally:
                holder.kill()
        done = cgctl.run(argv, capture_output=True, text=True, timeout=DEAD_SEC, seccomp="strict", **how)
        assert "PermissionError" in done.stderr


def test_where_it_is_missing() -> None:
    """A kernel that has no filters, or a filter that allows none, is named with the way out."""

    def child() -> None:
        refuse_syscall(317 if os.uname().machine == "x86_64" else 277, errno.ENOSYS)
        with pytest.raises(cgctl.LaunchError, match=r"^seccomp: ENOSYS .*seccomp='unconfined'"):
            cgctl.run(["true"], namespaces=["ipc"])
        assert cgctl.run(["true"], namespaces=["ipc"], seccomp="unconfined").returncode == 0

    in_child(child)
