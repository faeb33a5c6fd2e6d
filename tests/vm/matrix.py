"""Which tests run on which kernel and layout, as data."""

from __future__ import annotations

import dataclasses
import sys

# What is run, from little to all. In each of them: the contract, and that every file of the kernel is known.
SPINE = ("tests/contract", "tests/kernel/test_every_file.py::test_every_file_has_its_place")
ROWS = (
    "tests/contract",
    "tests/kernel/test_by_resource.py",
    "tests/kernel/test_core_files.py",
    "tests/kernel/test_events.py",
    "tests/kernel/test_every_file.py",
    "tests/kernel/test_metrics.py",
    "tests/kernel/test_partitions.py",
    "tests/kernel/test_perf_event.py",
    "tests/kernel/test_readings.py",
    "tests/kernel/test_sampling.py",
    "tests/kernel/test_settings.py",
)
NET = ("tests/kernel/test_net.py",)
BESIDE = ("tests/kernel/test_fake_beside.py",)
RUNS = (
    *ROWS,
    "tests/kernel/test_hugetlb.py",
    "tests/kernel/test_lifecycle.py",
    "tests/kernel/test_run.py",
    "tests/kernel/test_plan_shell.py",
)
DEVICES = (
    "tests/kernel/test_attached.py",
    "tests/kernel/test_device_programs.py",
    "tests/kernel/test_devices.py",
)
VERBS = tuple(
    f"tests/kernel/test_{name}.py"
    for name in ("evacuation", "leaks", "paths", "popen", "refusals", "system", "threaded", "with")
)
IO = ("tests/kernel/test_io.py",)
# What limits do, and what each takes some seconds to show.
WORK = (
    *IO,
    *(f"tests/kernel/test_{name}.py" for name in ("cpu", "delegation", "freezing", "memory", "net_rates")),
)
# Whose groups are whose, and what is left when somebody is killed.
OWNERS = tuple(f"tests/kernel/test_{name}.py" for name in ("chaos", "container", "crowd", "owner"))
SANDBOXES = (
    *(f"tests/kernel/test_{name}.py" for name in ("sandbox", "security", "seccomp", "tty", "scenes")),
    "tests/launch/test_rootless.py",
    "tests/launch/test_subids.py",
)
# What is typed otherwise where v2 has the controllers.
TUTORIAL = ("tests/docs/test_pages.py", "-k", "3-cgroups or 4-container or devices or groups.md", "-m", "slow")
SYSTEMD = (*SPINE, "tests/systemd")
_SCOPE = "tests/systemd/test_scope.py"
SCOPES = (*SPINE, *(f"{_SCOPE}::test_{name}" for name in ("with", "run", "reload", "forked_children_share_it")))
DIFFERENTIAL = ("tests/differential/test_differential.py::test_both_answer_and_read_the_same",)
# On the same machines, as they need nothing else: what a user may do, and what the kernel's own tests show.
SAME = ("tests/differential/test_permissions.py",)
SELFTESTS = ("tests/selftests",)
FILES = ("tests/contract/test_filesystem.py",)

_CONTROLLERS = frozenset(("group", "memory", "cpu", "cpuset", "pids", "devices"))
# The machines on which the rows in tests/contract were measured had these: some of them name processors and nodes.
_BIG = ("--cpus", "8", "--nodes", "2")
# What decides on a change is the same each time; other seeds are for who looks for what does not agree yet.
_SEED = "1"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A kernel and a layout, and what is run there.

    Attributes:
        kernel: the series.
        layout: the cgroup layout.
        tests: arguments for pytest.
        user: whether as an ordinary user; under systemd, under that user's own manager.
        big: whether with eight processors in two nodes.
        lacks: the controllers that cannot be had there (``"group"``: nothing at all); everything else must.
        steps: how many the kernel in memory and this one are driven side by side, where that is what is run.
        has: what else must be had there, by its names in ``CGCTL_REQUIRE``.
        part: which of several shares of a machine's tests, where they are too many for one.
    """

    kernel: str
    layout: str
    tests: tuple[str, ...] = SPINE
    user: bool = False
    big: bool = False
    lacks: frozenset[str] = frozenset()
    has: frozenset[str] = frozenset()
    part: str = ""
    steps: int = 0

    def __str__(self) -> str:
        """Name it: ``6.12:systemd:user``."""
        more = (self.part, "user" if self.user else "", "big" if self.big else "")
        return ":".join((self.kernel, self.layout, *filter(None, more)))

    def feature(self) -> str:
        """Name it as ``CGCTL_REQUIRE`` does: ``vm:6.12:v2``, whoever runs there."""
        return f"vm:{self.kernel}:{self.layout}"

    def options(self) -> list[str]:
        """Make the runner's options."""
        made = ["--kernel", self.kernel, "--cgroup", self.layout, *(_BIG if self.big else ())]
        return [*made, *(["--user"] if self.user else [])]

    def environment(self) -> dict[str, str]:
        """Make what else the guest's environment has."""
        return {"CGCTL_DIFFERENTIAL_STEPS": str(self.steps), "CGCTL_DIFFERENTIAL_SEED": _SEED} if self.steps else {}

    def required(self) -> str:
        """Make the ``CGCTL_REQUIRE`` of the guest: what may not be skipped there."""
        whose = {"host"} if not self.user else set()
        systemd = {"systemd"} if self.layout.startswith("systemd") else set()
        return ",".join(sorted((_CONTROLLERS - self.lacks) | self.has | whose | systemd))


def _driven(kernel: str, layout: str, steps: int = 2000) -> Cell:
    """Make the cell in which both kernels are driven side by side."""
    tests = (*DIFFERENTIAL, *SAME, *(SELFTESTS if layout == "v2" else ()))
    return Cell(kernel, layout, tests, lacks=_CONTROLLERS - {"group"}, part="differential", steps=steps)


def _cells() -> tuple[Cell, ...]:
    nothing = _CONTROLLERS
    # Debian compiles v1's memory and cpuset out from 6.12 on; a user's manager has cpu, memory and pids alone, and only
    # root may attach programs.
    compiled_out, not_delegated = frozenset(("memory", "cpuset")), frozenset(("cpuset", "devices"))
    # The longest first, so that those who take turns end together.
    return (
        _driven("6.12", "v2", 12_000),
        _driven("6.1", "v1", 6_000),
        Cell("6.12", "v2", VERBS, part="verbs"),
        Cell("6.12", "v2", OWNERS, part="owners"),
        Cell("6.12", "v2", WORK, part="work"),
        Cell("6.12", "v2", SANDBOXES, has=frozenset(("rootless", "seccomp", "subids")), part="sandboxes"),
        Cell("6.12", "v2", TUTORIAL, part="tutorial"),
        Cell("6.12", "v2", (*RUNS, *DEVICES, *NET, *BESIDE)),
        Cell("6.1", "v1", (*RUNS, *DEVICES)),
        Cell("6.1", "v1", (*WORK, *OWNERS), part="work"),
        Cell("7.3", "v2", (*ROWS, *DEVICES, *IO), big=True),
        Cell("5.10", "v2", (*ROWS, *DEVICES, *IO), big=True),
        Cell("6.12", "hybrid", (*ROWS, *NET)),
        Cell("5.10", "hybrid", NET, part="net"),
        Cell("5.10", "v1-separate", ROWS),
        Cell("6.12", "v1", ROWS, lacks=compiled_out),
        *(_driven(kernel, "v2") for kernel in ("7.3", "6.18", "6.1", "5.10")),
        *(_driven(*each) for each in (("6.12", "v1"), ("6.12", "hybrid"), ("6.1", "hybrid"), ("5.10", "v1-separate"))),
        *(Cell(kernel, "v2", big=True) for kernel in ("6.18", "6.1")),
        Cell("6.1", "hybrid"),
        Cell("6.12", "systemd", SYSTEMD),
        Cell("6.12", "systemd", SCOPES, user=True, lacks=not_delegated),
        Cell("7.3", "systemd", SCOPES),
        Cell("5.10", "systemd"),
        Cell("6.1", "systemd-hybrid", SCOPES),
        Cell("6.1", "systemd-hybrid", user=True, lacks=nothing - {"group"}),
        Cell("6.1", "systemd-v1", SCOPES),
        Cell("6.1", "systemd-v1", user=True, lacks=nothing),
        Cell("6.12", "v2", user=True, lacks=nothing),
        Cell("6.12", "v2", FILES, big=True),
        *(Cell(kernel, "v1", FILES, big=True) for kernel in ("6.1", "5.10")),
    )


CELLS = _cells()


def features() -> str:
    """Make what ``CGCTL_REQUIRE`` says where every cell must run."""
    return ",".join(dict.fromkeys(cell.feature() for cell in CELLS))


if __name__ == "__main__":
    sys.stdout.write(f"{features()}\n")
