"""From a step of a sandbox that failed to the probable cause and the remedy: a table, and pure."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from cgctl.launch.plan import Step
from cgctl.launch.sandbox import Sandbox

__all__ = ["explain"]

_PRIVILEGES: Final = "it takes privileges that this process has not: run as root, or add the user namespace"
_BUILT: Final = "cgctl.Rootfs.build makes the usual ones"

Rule = Callable[[Step, int, str, Sandbox], str | None]


def explain(step: Step, number: int, path: str, sandbox: Sandbox) -> str:
    """Give the probable cause of a failed step, and what to do.

    Args:
        step: of the sandbox's plan.
        number: the errno.
        path: what the step was about when it failed.
        sandbox: what was asked for.
    """
    for rule in (_root, _hidden, _target, _mount, _others):
        if answer := rule(step, number, path, sandbox):
            return answer
    return path


def _root(step: Step, number: int, path: str, sandbox: Sandbox) -> str | None:
    del sandbox
    if step.verb not in {"root_mount", "open_root", "overlay"}:
        return None
    return {
        errno.ENOENT: f"there is no directory {path!r}; make it, or let cgctl.Rootfs.build do it",
        errno.ENOTDIR: f"{path!r} is not a directory; a root is one",
        errno.EACCES: f"this user may not look into {path!r}",
    }.get(number)


def _hidden(step: Step, number: int, path: str, sandbox: Sandbox) -> str | None:
    del path
    kind = step.arguments[0] if step.verb == "mount" else ""
    if kind not in {"proc", "sysfs"} or number not in {errno.EPERM, errno.EBUSY} or "user" not in sandbox.kinds:
        return None
    needed = "pid" if kind == "proc" else "net"
    if needed not in sandbox.kinds:
        return f"in a user namespace, {kind} takes a {needed} namespace too; add it"
    return (
        f"in a user namespace, {kind} can be mounted only if nothing of the one outside is hidden by mounts, as it is"
        f" in most containers; leave out the {needed} namespace or the user namespace"
    )


def _target(step: Step, number: int, path: str, sandbox: Sandbox) -> str | None:
    del sandbox
    if step.verb not in {"mount", "bind", "device", "symlink"}:
        return None
    is_outside = step.verb == "device" or (step.verb == "bind" and path == step.arguments[0])
    a_link = f"{path!r} in the root is a link, or leads through one, to where nothing may be mounted; remove the link"
    absent = f"there is no {path!r} outside" if is_outside else f"the root has no {path!r}; make it ({_BUILT})"
    kinds_differ = f"{path!r}: a directory is mounted on a directory, and a file on a file"
    if step.verb == "bind" and number == errno.EINVAL:
        return kinds_differ
    return {
        errno.ENOENT: absent,
        errno.ELOOP: a_link,
        errno.EXDEV: a_link,
        errno.ENOTDIR: kinds_differ,
    }.get(number)


def _mount(step: Step, number: int, path: str, sandbox: Sandbox) -> str | None:
    del sandbox
    return {
        ("mount", errno.ENODEV): "this kernel has no such file system",
        ("mount", errno.EINVAL): "the kernel does not know the file system, or one of its options",
        ("device", errno.ENODEV): f"{path!r} is not the device of that name",
        (
            "overlay",
            errno.EINVAL,
        ): "an overlay cannot keep changes there: the directory is to be outside of the root, on a"
        " file system with extended attributes, and no overlay itself",
        ("overlay", errno.ENODEV): "this kernel has no overlays (CONFIG_OVERLAY_FS, modprobe overlay)",
        ("pivot", errno.EINVAL): "the root of this process is no mount (it is chrooted, or in an initramfs);"
        " chroot=True needs none",
        ("tty", errno.ENOENT): f"the root has no {path!r}; a mount namespace brings a /dev with terminals",
        ("time", errno.ERANGE): "a clock would be before its start, or too far ahead; give a smaller offset",
    }.get((step.verb, number))


def _others(step: Step, number: int, path: str, sandbox: Sandbox) -> str | None:
    del step, path, sandbox
    return {errno.EPERM: _PRIVILEGES, errno.ENOSYS: "this kernel is too old for it"}.get(number)
