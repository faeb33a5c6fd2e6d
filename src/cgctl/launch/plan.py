"""From a sandbox to the steps that make it, in their order: pure, and printable.

The order is the law here:

1. all namespaces but two at birth, the user namespace owning the others; its map is written before anything else;
2. the groups are joined, and only then comes the cgroup namespace, whose root is where its maker is then;
3. the time namespace, which nobody may be in before its clocks are shifted;
4. mounts beneath the new root, whose paths are followed from there; what is hidden is hidden before the root changes;
5. the root changes, and the old one is gone; a terminal is one of the new root's;
6. privileges, at the very end: bounding set, groups and user, capabilities, ``no_new_privs``, system calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import Any, Final

import attrs

from cgctl.launch.capabilities import CAPABILITIES, number_of
from cgctl.launch.sandbox import Mount, Sandbox, Veth

__all__ = ["AT_BIRTH", "KINDS", "PRIVILEGES", "Plan", "Step", "plan"]

AT_BIRTH: Final = {
    "mnt": 0x0002_0000,
    "uts": 0x0400_0000,
    "ipc": 0x0800_0000,
    "user": 0x1000_0000,
    "pid": 0x2000_0000,
    "net": 0x4000_0000,
}
"""The flags of clone(2) for those kinds that a child is born in."""

KINDS: Final = AT_BIRTH | {"cgroup": 0x0200_0000, "time": 0x80}
"""The flags of setns(2) for all kinds."""

PRIVILEGES: Final = frozenset(
    {"born", "setns", "map", "veth", "capbset", "capset", "no_new_privs", "seccomp", "setsid"}
)
"""The verbs of steps that are not among those of the new root: they have their place in every launch."""

# As mount(2) and mount_setattr(2) number them.
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_FLAGS: Final = {_RDONLY: "ro", _NOSUID: "nosuid", _NODEV: "nodev", _NOEXEC: "noexec"}

_DEVICES: Final = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS: Final = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
)
_DEV_SIZE: Final = 1 << 16
_SHM_SIZE: Final = 64 << 20


@attrs.frozen
class Step:
    """One step.

    Attributes:
        verb: what is done; the helper has a function for each.
        arguments: plain values.
        line: the same as a person would type it.
    """

    verb: str
    arguments: tuple[Any, ...] = ()
    line: str = ""

    def __str__(self) -> str:
        return self.line or self.verb


@attrs.frozen
class Plan:
    """All steps, in order; printed, one a line.

    Attributes:
        steps: what is done.
    """

    steps: tuple[Step, ...]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))

    def inside(self) -> tuple[Step, ...]:
        """Return those that the child does between joining its groups and going to its directory."""
        return tuple(step for step in self.steps if step.verb not in PRIVILEGES)


def plan(sandbox: Sandbox) -> Plan:
    """Return the steps that make a sandbox."""
    kinds = sandbox.kinds
    return Plan(
        (
            *_birth(sandbox),
            *_views(sandbox),
            *(_files(sandbox) if "mnt" in kinds else _plain_chroot(sandbox)),
            *([Step("tty", (), "exec <>/dev/pts/0 >&0 2>&0  # a new one")] if sandbox.tty else []),
            *_privileges(sandbox),
        )
    )


def _birth(sandbox: Sandbox) -> Iterator[Step]:
    born = [kind for kind in AT_BIRTH if kind in sandbox.kinds]
    if born:
        yield Step(
            "born", (sum(AT_BIRTH[kind] for kind in born),), f"unshare --{' --'.join(map(_option, born))} --fork"
        )
    for kind, what in sandbox.join:
        place = f"/proc/{what}/ns/{kind}" if isinstance(what, int) else what
        yield Step("setns", (kind,), f"nsenter --{_option(kind)}={quote(str(place))}")
    if "user" in sandbox.kinds:
        yield Step("map", (sandbox.uid_map, sandbox.gid_map), _map_line(sandbox))
    if isinstance(sandbox.network, Veth):
        yield Step("veth", (), _veth_line(sandbox.network))


def _veth_line(veth: Veth) -> str:
    host = veth.host_name or "cg$PID"
    words = [f"ip link add {host} type veth peer name {veth.name} netns $PID", f"ip link set {host} up"]
    if veth.bridge is not None:
        words.append(f"ip link set {host} master {veth.bridge}")
    elif veth.gateway is not None:
        words.append(f"ip addr add {veth.gateway}/{veth.prefix} dev {host}")
    inside = [f"ip addr add {veth.address} dev {veth.name}", f"ip link set {veth.name} up"]
    if veth.gateway is not None:
        inside.append(f"ip route add default via {veth.gateway}")
    return "; ".join(words + inside)


def _option(kind: str) -> str:
    return {"mnt": "mount"}.get(kind, kind)


def _map_line(sandbox: Sandbox) -> str:
    if sandbox.uid_map is None or sandbox.gid_map is None:
        return "echo 0 $UID 1 > /proc/$PID/uid_map; echo 0 $GID 1 > /proc/$PID/gid_map"
    texts = ["\\n".join(" ".join(map(str, each)) for each in ranges) for ranges in (sandbox.uid_map, sandbox.gid_map)]
    return f"printf '{texts[0]}' > /proc/$PID/uid_map; printf '{texts[1]}' > /proc/$PID/gid_map"


def _views(sandbox: Sandbox) -> Iterator[Step]:
    if "cgroup" in sandbox.kinds:
        yield Step("cgroup", (), "unshare --cgroup")
    if "time" in sandbox.kinds:
        offsets = tuple((clock, usec // 1_000_000, usec % 1_000_000 * 1000) for clock, usec in sandbox.time_offsets)
        shifts = "".join(f"{clock} {seconds} {nsec}; " for clock, seconds, nsec in offsets)
        yield Step("time", offsets, f"unshare --time  # {shifts or 'not shifted'}".removesuffix("; "))
    if "user" in {*sandbox.kinds, *dict(sandbox.join)}:
        yield Step("root_inside", (), "setpriv --reuid 0 --regid 0")
    if sandbox.hostname is not None:
        yield Step("hostname", (sandbox.hostname,), f"hostname {quote(sandbox.hostname)}")
    if sandbox.domainname is not None:
        yield Step("domainname", (sandbox.domainname,), f"domainname {quote(sandbox.domainname)}")
    if "net" in sandbox.kinds:
        yield Step("loopback", (), "ip link set lo up")


def _plain_chroot(sandbox: Sandbox) -> Iterator[Step]:
    if sandbox.root is not None:
        yield Step("open_root", (sandbox.root,), f"cd {quote(sandbox.root)}")
        yield Step("chroot", (), "chroot .")


# --- files ----------------------------------------------------------------------------------------------------------


def _files(sandbox: Sandbox) -> Iterator[Step]:
    yield Step("private", (), "mount --make-rprivate /")
    yield from _root(sandbox)
    proc = "pid" in sandbox.kinds
    if proc:
        yield _new("proc", "/proc", _NOSUID | _NODEV | _NOEXEC, strict=True)
    if sandbox.root is not None:
        yield from _dev(sandbox)
    for mount in _asked(sandbox):
        yield from _mount(mount)
    fresh = [
        *(["/proc/"] if proc else []),
        *(f"{each.target}/" for each in sandbox.mounts if each.type in {"proc", "sysfs"}),
    ]
    for path in sandbox.read_only_paths:
        if path.startswith(tuple(fresh)):
            yield Step("read_only", (path,), f"[ ! -e {path} ] || mount -o bind,ro {path} {path}")
    for path in sandbox.masked:
        if path.startswith(tuple(fresh)):
            yield Step("mask", (path,), f"[ ! -e {path} ] || mount --bind /dev/null {path}  # or an empty directory")
    if sandbox.root is None:
        return
    if sandbox.chroot:
        yield Step("chroot", (), "chroot .")
    else:
        yield Step("pivot", (), "cd $ROOT; pivot_root . .; umount -l .; cd /")


def _root(sandbox: Sandbox) -> Iterator[Step]:
    if sandbox.root is None:
        yield Step("open_root", ("/",), "ROOT=")
        return
    flags = _RDONLY if sandbox.read_only else 0
    root = quote(sandbox.root)
    if sandbox.overlay:
        yield _overlay(sandbox, sandbox.root, flags)
        return
    remount = f"; mount -o remount,bind,ro {root}" if flags else ""
    yield Step("root_mount", (sandbox.root, flags), f"mount --rbind {root} {root}{remount}; ROOT={root}")


def _overlay(sandbox: Sandbox, root: str, flags: int) -> Step:
    kept = sandbox.overlay if isinstance(sandbox.overlay, str) else ""
    mapped = "user" in sandbox.kinds
    where = quote(kept) if kept else "$SCRATCH"
    options = f"lowerdir={quote(root)},upperdir={where}/upper,workdir={where}/work{',userxattr' if mapped else ''}"
    scratch = "" if kept else f"mount -t tmpfs -o size={sandbox.overlay_size} tmpfs $SCRATCH; "
    line = f"{scratch}mkdir -p {where}/upper {where}/work; mount -t overlay -o {options} overlay {quote(root)}"
    return Step("overlay", (root, kept, sandbox.overlay_size, flags, mapped), f"{line}; ROOT={quote(root)}")


def _asked(sandbox: Sandbox) -> Iterator[Mount]:
    if sandbox.tmp is not None:
        yield Mount("/tmp", type="tmpfs", size=sandbox.tmp)  # noqa: S108 - it is mounted anew
    yield from sandbox.mounts


def _dev(sandbox: Sandbox) -> Iterator[Step]:
    """Make a /dev with nothing in it but what every program expects."""
    yield _new("tmpfs", "/dev", _NOSUID | _NOEXEC, ("mode", "755"), ("size", str(_DEV_SIZE)), strict=True)
    for name, major, minor in _DEVICES:
        yield Step("device", (name, major, minor), f"mount --bind /dev/{name} $ROOT/dev/{name}")
    for target, name in _LINKS:
        yield Step("symlink", (target, name), f"ln -s {target} $ROOT/dev/{name}")
    # Group 5 is tty's, which a map of one id does not have.
    tty = () if "user" in sandbox.kinds else (("gid", "5"),)
    yield _new("devpts", "/dev/pts", _NOSUID | _NOEXEC, ("mode", "620"), ("ptmxmode", "666"), *tty)
    flags = _NOSUID | _NODEV | _NOEXEC
    yield _new("tmpfs", "/dev/shm", flags, ("mode", "1777"), ("size", str(_SHM_SIZE)))  # noqa: S108 - it is mounted anew
    if "ipc" in sandbox.kinds:
        yield _new("mqueue", "/dev/mqueue", flags)


def _mount(mount: Mount) -> Iterator[Step]:
    wanted = ((mount.read_only, _RDONLY), (mount.nosuid, _NOSUID), (mount.nodev, _NODEV), (mount.noexec, _NOEXEC))
    flags = sum(flag for is_wanted, flag in wanted if is_wanted)
    if mount.source is None:
        options = (("mode", f"{mount.mode:o}"), ("size", str(mount.size))) if mount.type == "tmpfs" else ()
        # devices are what devpts is for
        yield _new(mount.type, mount.target, flags & ~_NODEV if mount.type == "devpts" else flags, *options)
        return
    source, target = quote(mount.source), quote(mount.target)
    bind = "rbind" if mount.recursive else "bind"
    line = (
        f"mount --{bind} -o {_shown(flags)} {source} $ROOT{target}"
        if flags
        else f"mount --{bind} {source} $ROOT{target}"
    )
    yield Step("bind", (mount.source, mount.target, flags, mount.recursive), line)


def _new(kind: str, target: str, flags: int, *options: tuple[str, str], strict: bool = False) -> Step:
    shown = ",".join([*([_shown(flags)] if flags else []), *("=".join(each) for each in options)])
    line = f"mount -t {kind} {f'-o {shown} ' if shown else ''}{kind} $ROOT{quote(target)}"
    return Step("mount", (kind, target, flags, options, strict), line)


def _shown(flags: int) -> str:
    return ",".join(name for flag, name in _FLAGS.items() if flags & flag)


# --- privileges -----------------------------------------------------------------------------------------------------


def _privileges(sandbox: Sandbox) -> Iterator[Step]:
    if sandbox.has_own_session:
        yield Step("setsid", (), "setsid")
    keep = sandbox.keep
    if keep is not None:
        numbers = tuple(map(number_of, keep))
        drop = "-all" if len(keep) < len(CAPABILITIES) else ""
        kept = "".join(f",+{name.lower()}" for name in keep) if drop else "+all"
        yield Step("capbset", (numbers,), f"setpriv --bounding-set {drop}{kept}")
        yield Step("capset", (numbers,), f"setpriv --inh-caps {drop}{kept} --ambient-caps {drop}{kept}")
    if sandbox.gains_nothing:
        yield Step("no_new_privs", (), "setpriv --no-new-privs")
    if sandbox.profile != "unconfined":
        line = f"setpriv --seccomp-filter FILE  # cgctl's {sandbox.profile} one"
        yield Step("seccomp", (sandbox.profile, tuple(keep or ())), line)
