"""A machine of dicts: the interface files of some groups, and the rules of the kernel that a plan must not break.

Not a fake of the kernel: it knows just what the order of steps is about. What it does not like is a :class:`Refusal`,
which no test expects.
"""

from __future__ import annotations

from collections.abc import Iterable
from errno import ENOENT
from posixpath import basename, dirname
from typing import Any

from cgctl.controllers import CONTROLLERS, CORE, parse_specs
from cgctl.layout import Hierarchy, Layout
from cgctl.plan import Mkdir, Place, Plan, Request, Snapshot, Step, Write, needs, plan

UNLIMITED = "9223372036854771712"
PAGE = 4096
_SIZES = ("_in_bytes", "y.max", "y.high", "y.low", "y.min", "p.max", "p.high")
_OOM_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 0"


class Refusal(AssertionError):
    """The kernel would have refused this step."""


def v1(*controllers: str, **more: Any) -> Hierarchy:
    """Return a v1 hierarchy."""
    return Hierarchy(version=1, controllers=controllers, mount_point=f"/v1/{','.join(controllers)}", **more)


def v2(*controllers: str, **more: Any) -> Hierarchy:
    """Return the v2 hierarchy."""
    return Hierarchy(version=2, controllers=controllers, mount_point="/v2", **more)


V1 = Layout((v1("cpu", "cpuacct"), v1("cpuset"), v1("memory"), v1("pids"), v1("freezer")))
V2 = Layout((v2("cpuset", "cpu", "io", "memory", "pids"),))
HUGE = Layout((v2("hugetlb", "misc", implicit=("perf_event",)),), huge_pages=("2MB",))
HYBRID = Layout((*V1.hierarchies, v2()))


class Machine:
    """Groups of a layout, as path → text.

    Args:
        layout: the hierarchies; each has its root from the start.
        without: names of files that this kernel has not.
        hierarchical: whether v1's memory counts children by itself (5.11 and later).
    """

    def __init__(self, layout: Layout, without: Iterable[str] = (), *, hierarchical: bool = True) -> None:
        self.layout = layout
        self.without = frozenset(without)
        self.hierarchical = hierarchical
        self.files: dict[str, str] = {}
        for hierarchy in layout.hierarchies:
            self._make(hierarchy, hierarchy.mount_point)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if hierarchy.version == 1 and "cpuset" in hierarchy.controllers:
                    self.files[hierarchy.file(hierarchy.mount_point, name)] = (
                        "0-3\n" if name == "cpuset.cpus" else "0\n"
                    )

    def request(self, name: str, base: str = "", caller: int = 100, *, evacuate: bool = False, **specs: Any) -> Request:
        """Return a request for a group in the hierarchies that it needs.

        Args:
            name: the group, below *base*.
            base: below each hierarchy's root.
            caller: the pid that asks.
            evacuate: as in :class:`Request`.
            **specs: controller keywords.
        """
        keys = [key for name in specs for key in (name, *CONTROLLERS[name].v1)]
        homes = {h.label: h for key in (*keys, CORE) if (h := self.layout.locate(key))}
        places = tuple(
            Place(hierarchy=home, base=home.mount_point + base, parts=tuple(name.split("/")) if name else ())
            for home in homes.values()
        )
        parsed = parse_specs(specs)
        return Request(layout=self.layout, places=places, specs=parsed, caller=caller, evacuate=evacuate)

    def plan(self, request: Request) -> Plan:
        """Read what is needed, and plan."""
        return plan(request, self.snapshot(request))

    def snapshot(self, request: Request) -> Snapshot:
        """Read what is needed, in as many rounds as it takes."""
        snapshot = Snapshot()
        while paths := needs(request, snapshot):
            texts = {path: self.files.get(path) for path in paths}
            snapshot = snapshot.merged(
                {path: ENOENT if text is None else text.encode() for path, text in texts.items()}
            )
        return snapshot

    def steps(self, name: str, base: str = "", **more: Any) -> list[str]:
        """Plan, and return the steps as text."""
        return [str(step) for step in self.plan(self.request(name, base, **more))]

    def make(self, name: str, base: str = "", **more: Any) -> list[str]:
        """Plan, do it, and return the steps as text."""
        steps = self.plan(self.request(name, base, **more))
        self.apply(steps)
        return [str(step) for step in steps]

    def apply(self, steps: Iterable[Step]) -> None:
        """Do the steps."""
        for step in steps:
            if isinstance(step, Mkdir):
                self._mkdir(step)
            elif isinstance(step, Write):
                self._write(step)
            else:
                raise Refusal(step)

    def enter(self, directory: str, *pids: int, parent: int = 1) -> None:
        """Put processes into a group."""
        held = self.files[f"{directory}/cgroup.procs"].split()
        self.files[f"{directory}/cgroup.procs"] = "\n".join([*held, *(str(pid) for pid in pids)]) + "\n"
        for pid in pids:
            self.files[f"/proc/{pid}/stat"] = f"{pid} (a (b) c) S {parent} {pid} {pid} 0 -1"

    def _home(self, path: str) -> Hierarchy:
        return next(h for h in self.layout.hierarchies if f"{path}/".startswith(f"{h.mount_point}/"))

    def _make(self, home: Hierarchy, directory: str) -> None:
        root = directory == home.mount_point
        names = {"cgroup.procs": ""}
        if home.version == 1:
            names |= {"notify_on_release": "0\n"} | self._settings(home, home.controllers)
            if "memory" in home.controllers:
                names["memory.use_hierarchy"] = "1\n" if self.hierarchical else "0\n"
        else:
            above = self.files.get(f"{dirname(directory)}/cgroup.subtree_control", "")
            there = home.controllers if root else above.split()
            names |= {"cgroup.controllers": " ".join(there), "cgroup.subtree_control": "", "cgroup.max.depth": "max\n"}
            names |= {} if root else {"cgroup.type": "domain\n", **self._settings(home, there), **self._core()}
        self.files |= {home.file(directory, name): text for name, text in names.items() if name not in self.without}

    def _core(self) -> dict[str, str]:
        rows = (row for controller in CONTROLLERS.values() if controller.everywhere for row in controller.settings)
        return {row.v2.file: f"{row.v2.default}\n" for row in rows if row.v2 and row.v2.controller == CORE}

    def _settings(self, home: Hierarchy, controllers: Iterable[str]) -> dict[str, str]:
        texts = {"memory.swappiness": "60", "memory.oom_control": _OOM_CONTROL}
        sides = [
            side
            for controller in map(self.layout.controller, CONTROLLERS)
            for row in controller.settings
            if (side := row.side(home.version)) and side.controller in controllers
        ]
        return {side.file: f"{texts.get(side.file, side.default)}\n" for side in sides if side.file not in self.without}

    def _mkdir(self, step: Mkdir) -> None:
        home = self._home(step.path)
        marker = "notify_on_release" if home.version == 1 else "cgroup.subtree_control"
        if f"{step.path}/{marker}" in self.files:
            if not step.shared:
                raise Refusal(step, "EEXIST")
            return
        if f"{dirname(step.path)}/{marker}" not in self.files:
            raise Refusal(step, "ENOENT")
        self._make(home, step.path)

    def _write(self, step: Write) -> None:
        group, name, text = dirname(step.path), basename(step.path), step.data.decode()
        if step.path not in self.files:
            if step.missing_ok and f"{group}/cgroup.procs" in self.files:
                return
            raise Refusal(step, "ENOENT")
        if name == "cgroup.procs":
            self._join(step, group, text)
        elif name == "cgroup.subtree_control":
            self._enable(step, group, text)
        else:
            self.files[step.path] = self._rounded(step, group, name, text)
            self._check(step, group)

    def _join(self, step: Write, group: str, text: str) -> None:
        root = group == self._home(group).mount_point
        if not root and self.files.get(f"{group}/cgroup.subtree_control", "").split():
            raise Refusal(step, "EBUSY")
        if self.files.get(f"{group}/cpuset.cpus", "0") == "\n" or self.files.get(f"{group}/cgroup.type") == "threaded":
            raise Refusal(step, "ENOSPC")
        for path, held in self.files.items():
            if basename(path) == "cgroup.procs" and self._home(path) is self._home(group):
                self.files[path] = "".join(f"{pid}\n" for pid in held.split() if pid != text)
        self.files[step.path] += f"{text}\n"

    def _enable(self, step: Write, group: str, text: str) -> None:
        words = text.split()
        there = self.files[f"{group}/cgroup.controllers"].split()
        if any(word[1:] not in there for word in words):
            raise Refusal(step, "ENOENT")
        # The kernel would take "+cpu" here, and turn the group into a threaded one for ever.
        if (
            "cgroup.type" in {basename(path) for path in self.files if dirname(path) == group}
            and self.files[f"{group}/cgroup.procs"]
        ):
            raise Refusal(step, "EBUSY")
        enabled = self.files[step.path].split() + [word[1:] for word in words]
        self.files[step.path] = " ".join(enabled) + "\n"
        below = {dirname(path) for path in self.files if dirname(dirname(path)) == group}
        for directory in below:
            self.files[f"{directory}/cgroup.controllers"] = " ".join(enabled)
            more = self._settings(self._home(group), [word[1:] for word in words])
            self.files |= {f"{directory}/{name}": value for name, value in more.items()}

    def _rounded(self, step: Write, group: str, name: str, text: str) -> str:
        """Return what the file reads after the write."""
        if name == "memory.oom_control":
            return _OOM_CONTROL.replace("oom_kill_disable 0", f"oom_kill_disable {text}") + "\n"
        if name in {"cpu.weight", "cpu.shares"} and self.files.get(f"{group}/cpu.idle", "0\n") == "1\n":
            raise Refusal(step, "EINVAL")
        if name == "cpu.idle" and self.files[step.path] != f"{text}\n":
            for file, idle, awake in (("cpu.weight", "0\n", "100\n"), ("cpu.shares", "3\n", "1024\n")):
                if f"{group}/{file}" in self.files:
                    self.files[f"{group}/{file}"] = idle if text == "1" else awake
        if name.endswith(_SIZES) and text.isdigit():
            number = int(text) - int(text) % PAGE
            limit = UNLIMITED if name.endswith("_in_bytes") else "max"
            return f"{number if number < int(UNLIMITED) else limit}\n"
        if name.endswith("_in_bytes") and text == "-1":
            return f"{UNLIMITED}\n"
        return text if text.endswith("\n") else f"{text}\n"

    def _check(self, step: Write, group: str) -> None:
        """Refuse states that the kernel does not allow, not even in between."""
        held = {basename(path): text.strip() for path, text in self.files.items() if dirname(path) == group}
        limit, both = held.get("memory.limit_in_bytes"), held.get("memory.memsw.limit_in_bytes")
        if limit is not None and both is not None and int(limit) > int(both):
            raise Refusal(step, "EINVAL: limit above memory+swap")
        quota = int(held.get("cpu.cfs_quota_us") or held.get("cpu.max", "-1").split()[0].replace("max", "-1"))
        burst = int(held.get("cpu.cfs_burst_us") or held.get("cpu.max.burst", "0"))
        if 0 <= quota < burst:
            raise Refusal(step, "EINVAL: burst above quota")
        if int(held.get("cpu.rt_runtime_us", 0)) > int(held.get("cpu.rt_period_us", 1)):
            raise Refusal(step, "EINVAL: runtime above period")
