"""What else ``cgctl doctor`` looks at: who runs it, namespaces, users' limits on them, and the kernel's programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cgctl.cli.checks import Bench, Finding

__all__ = ["bpf", "namespaces", "systemd_extra", "user_namespaces", "whoami"]

_KINDS: Final = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_BPF_CAPABILITIES: Final = 1 << 21 | 1 << 39  # CAP_SYS_ADMIN, CAP_BPF: include/uapi/linux/capability.h
_USERNS: Final = {
    "/proc/sys/user/max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=15000"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile for the program that has userns",
    ),
}
"""File → the value that forbids an ordinary user to make user namespaces, and how to change that."""


def whoami(bench: Bench) -> Iterator[Finding]:
    """Tell who runs this, with which capabilities."""
    del bench
    found = f"uid {os.geteuid()}, gid {os.getegid()}, capabilities {_capabilities():#x}"
    yield Finding(name="user", ok=True, found=found)


def systemd_extra(bench: Bench) -> Iterator[Finding]:
    """Tell whether systemd could be asked for something."""
    del bench
    try:
        import jeepney  # noqa: PLC0415 - an extra
    except ImportError:
        reason = "jeepney is not installed, so systemd cannot be asked for a scope"
        yield Finding(name="extra systemd", ok=False, reason=reason, fix="pip install 'cgctl[systemd]'")
    else:
        yield Finding(name="extra systemd", ok=True, found=f"jeepney {jeepney.__version__}")


def namespaces(bench: Bench) -> Iterator[Finding]:
    """Tell which kinds of namespaces the kernel has."""
    del bench
    found = [kind for kind in _KINDS if os.path.exists(f"/proc/self/ns/{kind}")]
    lacking = [kind for kind in _KINDS if kind not in found]
    if lacking:
        reason = f"the kernel has no namespaces of kind {' '.join(lacking)} (time: since Linux 5.6)"
        yield Finding(name="namespaces", ok=False, found=" ".join(found), reason=reason, fix="use a kernel that has")
    else:
        yield Finding(name="namespaces", ok=True, found=" ".join(found))


def user_namespaces(bench: Bench) -> Iterator[Finding]:
    """Tell whether a user namespace can be made, by trying, and what limits them."""
    del bench
    held = {path: _text(path) for path in _USERNS}
    limits = ", ".join(f"{path.rpartition('/')[2]}={value}" for path, value in held.items() if value is not None)
    program = shutil.which("unshare")
    if program is None:
        yield Finding(name="user namespaces", ok=True, found=f"not tried (no unshare): {limits}")
        return
    done = subprocess.run([program, "--user", "true"], check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode == 0:
        yield Finding(name="user namespaces", ok=True, found=f"one was made: {limits}")
        return
    fixes = [fix for path, (forbidden, fix) in _USERNS.items() if held[path] == forbidden]
    reason = f"{done.stderr.strip()} ({limits})"
    fix = ", ".join(fixes) or "in a container, have its seccomp profile allow it (docker run --security-opt seccomp=…)"
    yield Finding(name="user namespaces", ok=False, reason=reason, fix=fix)


def bpf(bench: Bench) -> Iterator[Finding]:
    """Tell whether programs can be attached to groups, which v2 needs for devices and network classes."""
    disabled = _text("/proc/sys/kernel/unprivileged_bpf_disabled")
    name, told = "BPF", f"unprivileged_bpf_disabled={disabled}"
    if bench.system is not None and bench.system.layout.unified is None:
        yield Finding(name=name, ok=False, reason="programs are attached to v2 groups, and no v2 hierarchy is mounted")
    elif disabled is None:
        yield Finding(name=name, ok=False, reason="the kernel has no bpf(2)", fix="build it with CONFIG_CGROUP_BPF")
    elif not _capabilities() & _BPF_CAPABILITIES:
        reason = f"attaching programs takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN ({told})"
        yield Finding(
            name=name, ok=False, reason=reason, fix="run as root where devices or net are to be limited on v2"
        )
    else:
        yield Finding(name=name, ok=True, found=told)


def _capabilities() -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
