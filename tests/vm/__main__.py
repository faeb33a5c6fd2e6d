"""The command line: ``python -m tests.vm --kernel 6.12 --cgroup v2 -- COMMAND``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence

from tests.vm import cache, catalog
from tests.vm.errors import CommandTimeoutError, MachineError
from tests.vm.fetch import note
from tests.vm.job import Job
from tests.vm.machine import Spec
from tests.vm.runner import Runner

# As of timeout(1) and docker: the command's own statuses are below.
TIMED_OUT, NO_MACHINE = 124, 125
_GIB = 1 << 30
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size(text: str) -> int:
    """Read a size such as ``64M``."""
    number, factor = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    return int(number) * factor


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m tests.vm",
        description="Run a command on this tree inside a real kernel, with its output and its exit status given back.",
        epilog=f"Exit status: the command's; {TIMED_OUT} after --timeout; {NO_MACHINE} if there is no machine.",
    )
    made.add_argument("--kernel", choices=catalog.KERNELS, default="6.12", help="a series of Debian's (%(default)s)")
    made.add_argument("--cgroup", choices=catalog.LAYOUTS, default="v2", help="the layout (%(default)s)")
    made.add_argument("--user", action="store_true", help="run as uid 1000; under its own manager with systemd")
    made.add_argument("--timeout", type=float, default=900, metavar="S", help="seconds for the command (%(default)s)")
    made.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]", help="set, or pass on, a variable")
    made.add_argument("--swap", type=size, default=0, metavar="SIZE", help="switch on so much swap, up to 1G")
    made.add_argument("--cpus", type=int, default=2, metavar="N", help="processors (%(default)s)")
    made.add_argument("--nodes", type=int, default=1, metavar="N", help="NUMA nodes (%(default)s)")
    made.add_argument("--memory", type=int, default=1024, metavar="MIB", help="memory (%(default)s)")
    made.add_argument("--append", default="", metavar="WORDS", help="more for the kernel's command line")
    made.add_argument("--time", action="store_true", help="say on stderr how long it took")
    made.add_argument("--prepare", action="store_true", help="have the machine ready in the cache; run nothing")
    made.add_argument("--list", action="store_true", help="list what there is, fetched, saved, and how large")
    made.add_argument("--evict", choices=("all", *cache.KINDS), help="remove from the cache what is not in use")
    made.add_argument("command", nargs="*", metavar="COMMAND", help="behind --; no shell looks at it")
    return made


def listing(store: cache.Cache) -> str:
    """Make the table of ``--list``."""
    items = store.items()
    lines = [f"kernels  {' '.join(catalog.KERNELS)}", f"layouts  {' '.join(catalog.LAYOUTS)}", f"cache    {store.root}"]
    for kind in cache.KINDS:
        mine = sorted((item for item in items if item.kind == kind), key=lambda item: item.name)
        lines += ["", f"{kind} ({sum(item.size for item in mine) >> 20} MB)"]
        for item in mine:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.used))
            lines.append(f"  {item.size >> 20:4} MB  used {used}  {item.path.name}  {item.detail}".rstrip())
    return "\n".join(lines) + "\n"


def evict(store: cache.Cache, kind: str) -> str:
    """Remove the entries of a kind, and say which."""
    gone = [item for item in store.items() if kind in ("all", item.kind) and store.remove(item.path)]
    return "".join(f"evicted {item.kind}/{item.path.name} ({item.size >> 20} MB)\n" for item in gone)


def environment(words: Sequence[str]) -> dict[str, str]:
    """Read ``--env``: a name alone passes on what the variable is here, if it is set."""
    made = {}
    for word in words:
        name, given, value = word.partition("=")
        if given or name in os.environ:
            made[name] = value if given else os.environ[name]
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says, and give the exit status."""
    # Our reader is gone: go too, and QEMU with us.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = parser().parse_args(argv)
    store = cache.Cache(cache.location())
    if options.list or options.evict:
        sys.stdout.write(listing(store) if options.list else evict(store, options.evict))
        return 0
    if not (options.command or options.prepare):
        parser().error("no command: -- COMMAND")
    begun = time.monotonic()
    spec = Spec(
        catalog.KERNELS[options.kernel],
        catalog.LAYOUTS[options.cgroup],
        **{name: getattr(options, name) for name in ("cpus", "nodes", "memory", "append")},
    )
    runner = Runner(store, int(os.environ.get("CGCTL_VM_CACHE_MAX", 10 * _GIB)))
    try:
        if options.prepare:
            runner.prepare(spec)
            return 0
        env = {"CGCTL_VM_KERNEL": options.kernel, "CGCTL_VM_CGROUP": options.cgroup, **environment(options.env)}
        return runner.run(spec, Job(options.command, user=options.user, env=env, swap=options.swap), options.timeout)
    except CommandTimeoutError:
        note(f"timed out after {options.timeout:g} s")
        return TIMED_OUT
    except MachineError as error:
        note(str(error))
        return NO_MACHINE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        if options.time:
            note(f"{time.monotonic() - begun:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
