"""The flags that say what a command sees and may do, with docker's names, and what they mean to cgctl."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

import cgctl
from cgctl.launch.becoming import PROFILES
from cgctl.launch.sandbox import NAMESPACES

__all__ = ["sandbox_of", "sandbox_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

# docker's flag for one kind of namespace → ours.
_KINDS: Final = {"pid": "pid", "ipc": "ipc", "uts": "uts", "userns": "user", "cgroupns": "cgroup"}
_WHERE: Final = click.Choice(["host", "private"])
_MAP_FIELDS: Final = 3
_VOLUME_FIELDS: Final = 3

_FLAGS: Final = (
    click.option("--rootfs", metavar="DIR", help="The directory that becomes /; see 'cgctl rootfs'."),
    click.option("--chroot", is_flag=True, help="By plain chroot, which is no boundary."),
    click.option("--read-only", is_flag=True, help="Nothing can be changed in the root."),
    click.option("--overlay", is_flag=True, help="Changes in the root are thrown away."),
    click.option("--overlay-dir", metavar="DIR", help="Changes in the root are kept in DIR/upper."),
    click.option(
        "-v",
        "--volume",
        multiple=True,
        metavar="SRC:DST[:OPTIONS]",
        help="A directory or file of outside; options: ro, noexec, suid, dev, norec. Repeatable.",
    ),
    click.option(
        "--tmpfs",
        multiple=True,
        metavar="DST[:OPTIONS]",
        help="A file system in memory; options: size=64m, mode=1777, ro, noexec, exec. Repeatable.",
    ),
    click.option(
        "--namespaces",
        metavar="KINDS",
        help=f"'all', or some of {','.join(NAMESPACES)}. Other flags bring those that they take.",
    ),
    *(
        click.option(f"--{flag}", type=_WHERE, help=f"The {kind} namespace: cgctl's own, or a new one.")
        for flag, kind in _KINDS.items()
    ),
    click.option("--hostname", metavar="NAME", help="The host's name in there."),
    click.option("--domainname", metavar="NAME", help="The NIS domain in there."),
    click.option(
        "--network",
        type=click.Choice(["none", "host", "veth"]),
        help="Just the loopback device, cgctl's network, or an interface of its own (with --ip).",
    ),
    click.option("--ip", metavar="ADDRESS/PREFIX", help="With --network veth: its address."),
    click.option("--gateway", metavar="ADDRESS", help="With --network veth: the address of cgctl's end."),
    click.option("--bridge", metavar="NAME", help="With --network veth: what cgctl's end becomes a port of."),
    click.option(
        "--time-offset",
        multiple=True,
        metavar="CLOCK=OFFSET",
        help="Shift a clock, boottime or monotonic, by such as +7d. Repeatable.",
    ),
    click.option("--uid-map", multiple=True, metavar="INSIDE:OUTSIDE:COUNT", help="Which users are which. Repeatable."),
    click.option("--gid-map", multiple=True, metavar="INSIDE:OUTSIDE:COUNT", help="The same of groups. Repeatable."),
    click.option("-t", "--tty", is_flag=True, help="A terminal of its own; cgctl's is handed through to it."),
    click.option("--init", is_flag=True, help="Have a reaper for PID 1."),
    click.option("--cap-add", multiple=True, metavar="CAP", help="A capability to keep, or ALL. Repeatable."),
    click.option(
        "--security-opt",
        multiple=True,
        metavar="OPTION",
        help=f"seccomp={'|'.join(PROFILES)}, or no-new-privileges[=true|false]. Repeatable.",
    ),
)


def sandbox_options(command: _Function) -> _Function:
    """Give a command the flags that say what it sees and may do."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def sandbox_of(flags: dict[str, Any]) -> cgctl.Sandbox:
    """Take these flags out of a command's parameters, as a sandbox.

    Raises:
        UsageError: a value is nonsense.
        SpecError: the same.
    """
    volumes = [_volume(word) for word in flags.pop("volume")]
    capabilities = flags.pop("cap_add")
    maps = [[_range(flag, word) for word in flags.pop(flag)] for flag in ("uid_map", "gid_map")]
    kinds, hosts = _kinds(flags)
    security = dict(map(_security, flags.pop("security_opt")))
    sandbox = cgctl.Sandbox(
        root=flags.pop("rootfs"),
        chroot=flags.pop("chroot"),
        overlay=_overlay(flags.pop("overlay"), flags.pop("overlay_dir")),
        read_only=flags.pop("read_only"),
        mounts=[*volumes, *(_tmpfs(word) for word in flags.pop("tmpfs"))],
        namespaces=kinds,
        hostname=flags.pop("hostname"),
        domainname=flags.pop("domainname"),
        network=_network(flags),
        time_offsets=dict(_offset(word) for word in flags.pop("time_offset")),
        uid_map=maps[0] or None,
        gid_map=maps[1] or None,
        tty=flags.pop("tty"),
        init=flags.pop("init"),
        capabilities="all" if [each.lower() for each in capabilities] == ["all"] else capabilities or None,
        **security,
    )
    for flag, kind in hosts.items():
        if kind in sandbox.kinds:
            msg = f"--{flag} host: another flag takes a new {kind} namespace; leave one of them out"
            raise click.UsageError(msg)
    return sandbox


def _kinds(flags: dict[str, Any]) -> tuple[frozenset[str], dict[str, str]]:
    """Return the kinds that are to be new, and by which flag others are not to be."""
    named = cgctl.Sandbox(namespaces=flags.pop("namespaces") or ()).namespaces
    where = {flag: flags.pop(flag) for flag in _KINDS}
    private = {_KINDS[flag] for flag, value in where.items() if value == "private"}
    hosts = {flag: _KINDS[flag] for flag, value in where.items() if value == "host"}
    return (named | private) - set(hosts.values()), hosts


def _overlay(thrown_away: bool, kept: str | None) -> bool | str:  # noqa: FBT001 - as click has it
    if thrown_away and kept is not None:
        msg = "--overlay with --overlay-dir: changes are either thrown away or kept; leave one of them out"
        raise click.UsageError(msg)
    return thrown_away if kept is None else kept


def _network(flags: dict[str, Any]) -> Any:
    kind = flags.pop("network")
    given = {name: value for name in ("ip", "gateway", "bridge") if (value := flags.pop(name)) is not None}
    if kind != "veth":
        for name in given:
            msg = f"--{name} takes --network veth"
            raise click.UsageError(msg)
        return kind
    if "ip" not in given:
        msg = "--network veth takes --ip ADDRESS/PREFIX"
        raise click.UsageError(msg)
    return cgctl.Veth(address=given.pop("ip"), **given)


def _volume(word: str) -> cgctl.Mount:
    source, *rest = word.split(":")
    if not rest or len(rest) >= _VOLUME_FIELDS or not source:
        msg = f"--volume {word!r} is not SRC:DST[:OPTIONS]"
        raise click.UsageError(msg)
    options = dict.fromkeys(rest[1].split(","), True) if rest[1:] else {}
    known = {"ro", "rw", "noexec", "suid", "dev", "norec"}
    _refuse(f"--volume {word!r}", options, known)
    return cgctl.Mount(
        rest[0],
        source,
        read_only="ro" in options,
        noexec="noexec" in options,
        nosuid="suid" not in options,
        nodev="dev" not in options,
        recursive="norec" not in options,
    )


def _tmpfs(word: str) -> cgctl.Mount:
    target, _, text = word.partition(":")
    options = dict(option.partition("=")[::2] for option in text.split(",") if option)
    _refuse(f"--tmpfs {word!r}", options, {"size", "mode", "ro", "rw", "exec", "noexec"})
    mode = options.get("mode", "1777")
    if not mode or set(mode) - set("01234567"):
        msg = f"--tmpfs {word!r}: mode={mode!r} is not octal"
        raise click.UsageError(msg)
    return cgctl.Mount(
        target,
        type="tmpfs",
        size=options.get("size"),
        mode=int(mode, 8),
        read_only="ro" in options,
        noexec="noexec" in options,
    )


def _refuse(where: str, options: dict[str, Any], known: set[str]) -> None:
    for option in options:
        if option not in known:
            msg = f"{where}: there is no option {option!r}; they are {', '.join(sorted(known))}"
            raise click.UsageError(msg)


def _security(word: str) -> tuple[str, Any]:
    """Read what docker writes with ``=`` or, as it once did, with a colon."""
    name, _, value = word.replace(":", "=", 1).partition("=")
    if name == "seccomp" and value in PROFILES:
        return "seccomp", value
    if name == "no-new-privileges" and value in {"", "true", "false"}:
        return "no_new_privs", value != "false"
    msg = f"--security-opt {word!r} is neither seccomp={'|'.join(PROFILES)} nor no-new-privileges[=true|false]"
    raise click.UsageError(msg)


def _offset(word: str) -> tuple[str, str]:
    clock, equals, offset = word.partition("=")
    if not equals:
        msg = f"--time-offset {word!r} is not CLOCK=OFFSET"
        raise click.UsageError(msg)
    return clock, offset


def _range(flag: str, word: str) -> tuple[int, ...]:
    numbers = word.split(":")
    if len(numbers) != _MAP_FIELDS or not all(number.isascii() and number.isdigit() for number in numbers):
        msg = f"--{flag.replace('_', '-')} {word!r} is not INSIDE:OUTSIDE:COUNT"
        raise click.UsageError(msg)
    return tuple(map(int, numbers))
