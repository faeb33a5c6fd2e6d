"""From what is wanted to steps: which, in which order, and when none at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from errno import EBUSY, EINVAL, ENOENT
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgctl.controllers import CONTROLLERS, Core, Cpu, Cpuset, Hugetlb, Memory, Misc, PerfEvent, Pids
from cgctl.errors import CgctlError, SpecError, UnsupportedError
from cgctl.layout import Layout
from cgctl.plan import Mkdir, Place, Plan, Request, Snapshot, Write, needs, plan
from cgctl.plan.order import ordered
from cgctl.plan.settings import held_spec
from cgctl.units import MAX
from tests.unit import CALM
from tests.unit.machine import HUGE, HYBRID, V1, V2, Machine, Refusal, v1, v2
from tests.unit.refusals import says

MIB = 1 << 20


def _v1_files(files: Mapping[str, str], group: str, controller: str) -> dict[str, str]:
    prefix = f"/v1/{controller}/{group}/"
    return {path.removeprefix(prefix): text.strip() for path, text in files.items() if path.startswith(prefix)}


class TestFreshGroup:
    """Everything is still to be made."""

    def test_v1(self) -> None:
        """A directory in each hierarchy, an initial cpuset, then the limits."""
        steps = Machine(V1).make("p1", memory="100M", cpu=0.5, pids=64, cpuset="0-1")

        assert steps == [
            "mkdir /v1/memory/p1",
            "mkdir /v1/cpu,cpuacct/p1",
            "mkdir /v1/pids/p1",
            "mkdir /v1/cpuset/p1",
            "write b'0' to /v1/cpuset/p1/cpuset.mems",
            "write b'0-1' to /v1/cpuset/p1/cpuset.cpus",
            "write b'50000' to /v1/cpu,cpuacct/p1/cpu.cfs_quota_us",
            "write b'104857600' to /v1/memory/p1/memory.limit_in_bytes",
            "write b'104857600' to /v1/memory/p1/memory.memsw.limit_in_bytes",
            "write b'64' to /v1/pids/p1/pids.max",
        ]

    def test_v2(self) -> None:
        """Controllers first, in the group above; then the directory, then the limits."""
        steps = Machine(V2).make("p1", memory="100M", cpu=0.5, pids=64)

        assert steps == [
            "write b'+cpu +memory +pids' to /v2/cgroup.subtree_control",
            "mkdir /v2/p1",
            "write b'50000 100000' to /v2/p1/cpu.max",
            "write b'104857600' to /v2/p1/memory.max",
            "write b'0' to /v2/p1/memory.swap.max",
            "write b'64' to /v2/p1/pids.max",
        ]

    def test_hybrid(self) -> None:
        """The limits are v1's; in the v2 tree a directory is all."""
        steps = Machine(HYBRID).make("p1", memory="100M")

        assert steps == [
            "mkdir /v1/memory/p1",
            "mkdir /v2/p1",
            "write b'104857600' to /v1/memory/p1/memory.limit_in_bytes",
            "write b'104857600' to /v1/memory/p1/memory.memsw.limit_in_bytes",
        ]

    def test_without_limits(self) -> None:
        """A group of no controller is a directory; processes of the group above are in nobody's way."""
        machine = Machine(V2)
        machine.make("own")
        machine.enter("/v2/own", 7)

        assert machine.steps("p1", base="/own") == ["mkdir /v2/own/p1"]

    def test_a_controller_without_a_setting(self) -> None:
        """An empty spec asks for the controller alone."""
        assert Machine(V2).make("p1", memory=Memory()) == [
            "write b'+memory' to /v2/cgroup.subtree_control",
            "mkdir /v2/p1",
        ]

    def test_defaults_are_not_written(self) -> None:
        """What a new group holds by itself needs no write."""
        assert Machine(V2).make("p1", memory=MAX, pids=MAX, cpu=Cpu(weight=100, idle=False)) == [
            "write b'+cpu +memory +pids' to /v2/cgroup.subtree_control",
            "mkdir /v2/p1",
        ]

    def test_parents(self) -> None:
        """Missing parents are made, may be others' by then, and have the controllers from the top down."""
        machine = Machine(V2)
        request = machine.request("a/b/c", memory=Memory(max="1M"))

        steps = machine.plan(request)

        assert [str(step) for step in steps] == [
            "write b'+memory' to /v2/cgroup.subtree_control",
            "mkdir /v2/a",
            "write b'+memory' to /v2/a/cgroup.subtree_control",
            "mkdir /v2/a/b",
            "write b'+memory' to /v2/a/b/cgroup.subtree_control",
            "mkdir /v2/a/b/c",
            "write b'1048576' to /v2/a/b/c/memory.max",
        ]
        assert [step.shared for step in steps if isinstance(step, Mkdir)] == [True, True, False]
        machine.apply(steps)

    def test_steps_carry_their_policy(self) -> None:
        """Enabling is tried again while the group looks busy, and undone where it was not made by us."""
        machine = Machine(V2)

        steps = tuple(machine.plan(machine.request("a/b", pids=1)))

        above, below = steps[0], steps[2]
        assert isinstance(above, Write)
        assert isinstance(below, Write)
        assert (above.undo, below.undo) == (b"-pids", None)
        assert above.retry is not None
        assert above.retry.errno == EBUSY
        assert steps[-1] == Write(
            path="/v2/a/b/pids.max", data=b"1", feature="pids.max", because="pids.max = 1", since=None
        )


class TestSatisfied:
    """What is there already needs no step."""

    @pytest.mark.parametrize("layout", [V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])
    def test_second_time(self, layout: Layout) -> None:
        """The same again is nothing."""
        machine = Machine(layout)
        wanted: dict[str, Any] = {
            "memory": "100M",
            "cpu": Cpu(max=1.5, period_usec=20_000, weight=7),
            "pids": 64,
            "cpuset": "0-1",
        }
        machine.make("a/b", **wanted)

        assert machine.steps("a/b", **wanted) == []

    def test_only_lacking_controllers(self) -> None:
        """What is enabled is not enabled again."""
        machine = Machine(V2)
        machine.make("a/b", memory=MAX)

        assert machine.make("a/b", memory=MAX, pids=5) == [
            "write b'+pids' to /v2/cgroup.subtree_control",
            "write b'+pids' to /v2/a/cgroup.subtree_control",
            "write b'5' to /v2/a/b/pids.max",
        ]

    def test_rounded_values(self) -> None:
        """A size that the kernel rounded is held."""
        machine = Machine(V2)
        machine.make("p1", memory=Memory(max=5_000_001, high=1))

        assert machine.files["/v2/p1/memory.max"] == "4997120\n"
        assert machine.steps("p1", memory=Memory(max=5_000_001, high=1)) == []

    def test_the_own_group(self) -> None:
        """The base itself may be what is changed: nothing is made."""
        machine = Machine(V2)
        machine.make("own", memory=MAX)

        assert machine.steps("", base="/own", memory=Memory(max=4096)) == ["write b'4096' to /v2/own/memory.max"]


def _spec_values(version: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return keywords of all controllers, such as a version can have."""
    size = st.sampled_from([0, 4096, 5_000_001, MIB, 64 * MIB, MAX])
    maybe = st.none() | size
    memory = {"max": maybe, "swap_max": maybe, "low": maybe}
    memory |= {"high": maybe, "oom_group": st.none() | st.booleans()} if version == 2 else {"swappiness": st.just(10)}
    cpu = {
        "max": st.none() | st.sampled_from([0.5, 0.333, 2, 1.5, MAX]),
        "period_usec": st.none() | st.sampled_from([10_000, 100_000, 1_000_000]),
        "burst_usec": st.none() | st.sampled_from([0, 1000, 50_000]),
        "weight": st.none() | st.sampled_from([1, 2, 100, 10_000]),
        "idle": st.none() | st.booleans(),
        "uclamp_max": st.none() | st.sampled_from([0.5, 99.9]),
    }
    cpuset: dict[str, Any] = {"cpus": st.none() | st.just([]) | st.just("0-1,3"), "mems": st.none() | st.just([0])}
    pids = {"max": st.none() | st.sampled_from([0, 64, MAX])}
    specs: dict[str, tuple[type[Any], dict[str, Any]]] = {
        "memory": (Memory, memory),
        "cpu": (Cpu, cpu),
        "cpuset": (Cpuset, cpuset),
        "pids": (Pids, pids),
    }
    return st.fixed_dictionaries({}, optional={name: _built(cls, fields) for name, (cls, fields) in specs.items()})


def _built(cls: type[Any], fields: dict[str, Any]) -> st.SearchStrategy[Any]:
    def build(values: dict[str, Any]) -> Any:
        try:
            return cls(**values)
        except SpecError:
            return cls()

    return st.fixed_dictionaries(fields).map(build)


SPECS = {version: _spec_values(version) for version in (1, 2)}


class TestProperties:
    """What holds for whatever is asked."""

    @pytest.mark.parametrize(("layout", "version"), [(V1, 1), (V2, 2), (HYBRID, 1)], ids=["v1", "v2", "hybrid"])
    @CALM
    @given(st.data())
    def test_a_plan_that_was_done_is_satisfied(self, layout: Layout, version: int, data: st.DataObject) -> None:
        """Three wishes, one after the other: each is taken by the kernel, and is then satisfied."""
        machine = Machine(layout, without=data.draw(st.sampled_from([(), ("memory.memsw.limit_in_bytes",)])))
        for _round in range(3):
            wanted = data.draw(SPECS[version])
            name = data.draw(st.sampled_from(["a", "a/b", "a/b/c"]))
            try:
                steps = machine.plan(machine.request(name, **wanted))
            except CgctlError:
                continue
            machine.apply(steps)

            assert machine.steps(name, **wanted) == []

    @CALM
    @given(st.data())
    def test_v1_bandwidth_never_exceeds_both_ends(self, data: st.DataObject) -> None:
        """Between the writes the ratio is never above both the old one and the new one; burst fits at all times."""
        states = st.tuples(
            st.sampled_from([-1, 1000, 5000, 50_000, 200_000, 1_000_000]),
            st.sampled_from([1000, 10_000, 100_000, 1_000_000]),
            st.sampled_from([0, 1000, 5000, 50_000]),
        ).filter(lambda state: state[0] < 0 or state[2] <= state[0])
        old, new = data.draw(states), data.draw(states)
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us")
        held = dict(zip(names, old, strict=True))
        wanted = {name: str(value) for name, value in zip(names, new, strict=True) if held[name] != value}
        most = max(_ratio(held), _ratio(dict(zip(names, new, strict=True))))

        for name in ordered("cpu", 1, {name: str(value) for name, value in held.items()}, wanted):
            held[name] = int(wanted[name])

            assert _ratio(held) <= most
            assert held["cpu.cfs_quota_us"] < 0 or held["cpu.cfs_burst_us"] <= held["cpu.cfs_quota_us"]
        assert tuple(held.values()) == new

    @CALM
    @given(st.data())
    def test_v1_real_time_budget_fits_its_period(self, data: st.DataObject) -> None:
        """``runtime ≤ period`` at every moment."""
        states = st.tuples(st.sampled_from([0, 100, 5000, 10_000]), st.sampled_from([100, 5000, 10_000]))
        states = states.filter(lambda state: state[0] <= state[1])
        old, new = data.draw(states), data.draw(states)
        names = ("cpu.rt_runtime_us", "cpu.rt_period_us")
        held = dict(zip(names, old, strict=True))
        wanted = {name: str(value) for name, value in zip(names, new, strict=True) if held[name] != value}

        for name in ordered("cpu", 1, {name: str(value) for name, value in held.items()}, wanted):
            held[name] = int(wanted[name])

            assert held["cpu.rt_runtime_us"] <= held["cpu.rt_period_us"]

    @CALM
    @given(st.data())
    def test_v1_limit_never_exceeds_memory_and_swap(self, data: st.DataObject) -> None:
        """``limit ≤ memsw`` at every moment, for every change of one or both."""
        machine = Machine(V1)
        limits = st.sampled_from([0, 4096, 4097, MIB, 2 * MIB, 64 * MIB])
        machine.make("p1", memory=Memory(max=data.draw(limits), swap_max=data.draw(limits)))
        wanted = Memory(max=data.draw(st.none() | limits), swap_max=data.draw(st.none() | limits | st.just(MAX)))

        machine.make("p1", memory=wanted)  # a Refusal is what must not come

        assert machine.steps("p1", memory=wanted) == []


def _ratio(held: Mapping[str, int]) -> float:
    quota = held["cpu.cfs_quota_us"]
    return float("inf") if quota < 0 else quota / held["cpu.cfs_period_us"]


class TestMemoryV1:
    """Limit and memory+swap: two files, one rule."""

    def _group(self, **values: Any) -> Machine:
        machine = Machine(V1)
        machine.make("p1", memory=Memory(**values))
        return machine

    def test_raising(self) -> None:
        """Memory+swap goes first, for the limit must fit below it."""
        assert self._group(max="1M", swap_max=0).steps("p1", memory="2M") == [
            "write b'2097152' to /v1/memory/p1/memory.memsw.limit_in_bytes",
            "write b'2097152' to /v1/memory/p1/memory.limit_in_bytes",
        ]

    def test_lowering(self) -> None:
        """The limit goes first, for memory+swap must not fall below it."""
        assert self._group(max="2M", swap_max=0).steps("p1", memory="1M") == [
            "write b'1048576' to /v1/memory/p1/memory.limit_in_bytes",
            "write b'1048576' to /v1/memory/p1/memory.memsw.limit_in_bytes",
        ]

    def test_from_unlimited(self) -> None:
        """From no limit at all it is the limit first."""
        assert self._group().steps("p1", memory="1M")[0].endswith("memory.limit_in_bytes")

    def test_to_unlimited(self) -> None:
        """To no limit at all it is memory+swap first."""
        assert self._group(max="1M", swap_max=0).steps("p1", memory=MAX) == [
            "write b'-1' to /v1/memory/p1/memory.memsw.limit_in_bytes",
            "write b'-1' to /v1/memory/p1/memory.limit_in_bytes",
        ]

    def test_swap_is_preserved(self) -> None:
        """Changing ``max`` alone moves both, so that the swap allowed stays the same."""
        machine = self._group(max="1M", swap_max="4M")

        machine.make("p1", memory=Memory(max="2M"))

        files = _v1_files(machine.files, "p1", "memory")
        assert (files["memory.limit_in_bytes"], files["memory.memsw.limit_in_bytes"]) == (str(2 * MIB), str(6 * MIB))

    def test_unlimited_swap_is_preserved(self) -> None:
        """Where nothing limits swap, nothing does afterwards."""
        assert self._group(max="1M").steps("p1", memory=Memory(max="2M")) == [
            "write b'2097152' to /v1/memory/p1/memory.limit_in_bytes"
        ]

    def test_swap_alone(self) -> None:
        """A limit of swap is added to what the group holds."""
        assert self._group(max="1M").steps("p1", memory=Memory(swap_max="1M")) == [
            "write b'2097152' to /v1/memory/p1/memory.memsw.limit_in_bytes"
        ]

    def test_swap_without_a_limit_of_memory(self) -> None:
        """Which v1 cannot express, and says what to do."""
        with says(UnsupportedError, "memory.swap_max=4096 without memory.max", "set max too"):
            self._group().steps("p1", memory=Memory(swap_max=4096))

    def test_unlimited_memory_with_limited_swap(self) -> None:
        """Taking the limit of memory away needs a word about swap, and the message says which."""
        with says(UnsupportedError, "memory.swap_max=0 without memory.max", "or swap_max=MAX"):
            self._group(max="1M", swap_max=0).steps("p1", memory=Memory(max=MAX))

    def test_low_and_soft_limit_are_one_file(self) -> None:
        """Two values for it are an error; the same value twice is none."""
        machine = self._group()

        with says(
            SpecError, "memory.soft_limit=8192 with memory.low=4096", "memory.soft_limit_in_bytes", "one of them"
        ):
            machine.steps("p1", memory=Memory(low=4096, soft_limit=8192))
        assert len(machine.steps("p1", memory=Memory(low=4096, soft_limit=4096))) == 1

    def test_use_hierarchy(self) -> None:
        """Before 5.11 the first new group is told to count its children; those below inherit it."""
        machine = Machine(V1, hierarchical=False)

        assert machine.make("a/b", memory=Memory()) == [
            "mkdir /v1/memory/a",
            "write b'1' to /v1/memory/a/memory.use_hierarchy",
            "mkdir /v1/memory/a/b",
        ]


class TestSwapAccounting:
    """Kernels booted without it."""

    WITHOUT = ("memory.memsw.limit_in_bytes", "memory.swap.max")

    @pytest.mark.parametrize("there", [False, True], ids=["fresh", "there"])
    def test_v1_shorthand(self, there: bool) -> None:  # noqa: FBT001 - the case
        """``memory="1M"`` is the limit of memory alone."""
        machine = Machine(V1, without=self.WITHOUT)
        if there:
            machine.make("p1", memory=Memory())

        assert machine.make("p1", memory="1M")[-1] == "write b'1048576' to /v1/memory/p1/memory.limit_in_bytes"

    def test_v2_shorthand(self) -> None:
        """On v2 only trying tells of a new group: the write may be left out."""
        machine = Machine(V2, without=self.WITHOUT)
        steps = machine.plan(machine.request("p1", memory="1M"))

        assert [step.missing_ok for step in steps if isinstance(step, Write)] == [False, False, True]
        machine.apply(steps)
        assert machine.steps("p1", memory="1M") == []

    @pytest.mark.parametrize("layout", [V1, V2], ids=["v1", "v2"])
    def test_asked_for(self, layout: Layout) -> None:
        """A limit of swap that was asked for is an error, with the remedy."""
        machine = Machine(layout, without=self.WITHOUT)
        machine.make("p1", memory=Memory())

        with says(UnsupportedError, "memory.swap_max", "does not account swap", "swapaccount=1"):
            machine.steps("p1", memory=Memory(max="1M", swap_max=0))

    def test_asked_for_in_a_fresh_group(self) -> None:
        """v1's root has the file if the kernel has, so nothing is made first."""
        with says(UnsupportedError, "memory.swap_max", "does not account swap"):
            Machine(V1, without=self.WITHOUT).steps("p1", memory=Memory(max="1M", swap_max=0))


class TestCpu:
    """Quota, period, burst, weight and idle."""

    def _steps(self, layout: Layout, before: Cpu, after: Cpu) -> list[str]:
        machine = Machine(layout)
        machine.make("p1", cpu=before)
        return [step.partition("/p1/")[2] + "=" + step.split("'")[1] for step in machine.make("p1", cpu=after)]

    @pytest.mark.parametrize(
        ("before", "after", "steps"),
        [
            (Cpu(max=1), Cpu(max=0.5), ["cpu.cfs_quota_us=50000"]),
            (Cpu(max=1), Cpu(period_usec=50_000), ["cpu.cfs_quota_us=50000", "cpu.cfs_period_us=50000"]),
            (Cpu(max=1), Cpu(period_usec=200_000), ["cpu.cfs_period_us=200000", "cpu.cfs_quota_us=200000"]),
            (
                Cpu(max=1),
                Cpu(max=2, period_usec=50_000),
                ["cpu.cfs_period_us=50000"],
            ),
            (
                Cpu(max=2),
                Cpu(max=1, period_usec=400_000),
                ["cpu.cfs_period_us=400000", "cpu.cfs_quota_us=400000"],
            ),
            (Cpu(max=1), Cpu(burst_usec=1000), ["cpu.cfs_burst_us=1000"]),
            (
                Cpu(max=1, burst_usec=50_000),
                Cpu(max=0.1, burst_usec=10_000),
                ["cpu.cfs_burst_us=10000", "cpu.cfs_quota_us=10000"],
            ),
            (
                Cpu(max=0.1, burst_usec=10_000),
                Cpu(max=1, burst_usec=50_000),
                ["cpu.cfs_quota_us=100000", "cpu.cfs_burst_us=50000"],
            ),
            (Cpu(idle=True), Cpu(idle=False, weight=50), ["cpu.idle=0", "cpu.shares=411"]),
            (
                Cpu(rt_runtime_usec=500_000),
                Cpu(rt_runtime_usec=50_000, rt_period_usec=100_000),
                ["cpu.rt_runtime_us=50000", "cpu.rt_period_us=100000"],
            ),
        ],
    )
    def test_v1_order(self, before: Cpu, after: Cpu, steps: list[str]) -> None:
        """Each in the order whose middle states are allowed."""
        assert self._steps(V1, before, after) == steps

    @pytest.mark.parametrize(
        ("before", "after", "steps"),
        [
            (Cpu(max=1), Cpu(period_usec=50_000), ["cpu.max=50000 50000"]),
            (Cpu(), Cpu(period_usec=50_000), ["cpu.max=max 50000"]),
            (Cpu(max=0.5, period_usec=50_000), Cpu(max=MAX), ["cpu.max=max 50000"]),
            (Cpu(max=0.5, period_usec=50_000), Cpu(max=1), ["cpu.max=50000 50000"]),
            (Cpu(max=1, burst_usec=50_000), Cpu(max=0.1, burst_usec=0), ["cpu.max.burst=0", "cpu.max=10000 100000"]),
            (Cpu(max=0.1), Cpu(max=1, burst_usec=50_000), ["cpu.max=100000 100000", "cpu.max.burst=50000"]),
            (Cpu(idle=True), Cpu(idle=False, weight=50), ["cpu.idle=0", "cpu.weight=50"]),
            (Cpu(weight=50), Cpu(idle=True), ["cpu.idle=1"]),
            (Cpu(uclamp_max=50), Cpu(uclamp_max=MAX), ["cpu.uclamp.max=max"]),
        ],
    )
    def test_v2_order(self, before: Cpu, after: Cpu, steps: list[str]) -> None:
        """``cpu.max`` is one file: the part that was not asked for is kept, not reset."""
        assert self._steps(V2, before, after) == steps

    @pytest.mark.parametrize(("layout", "weight"), [(V1, 2), (V2, 1), (V2, 100)])
    def test_waking_up_with_the_weight_that_the_file_reads(self, layout: Layout, weight: int) -> None:
        """An idle group's weight file reads something that is not in force, so it is written all the same."""
        machine = Machine(layout)
        machine.make("p1", cpu=Cpu(idle=True))
        path = next(path for path in machine.files if path.endswith(("p1/cpu.weight", "p1/cpu.shares")))
        machine.files[path] = "3\n" if layout is V1 else f"{weight}\n"

        steps = machine.make("p1", cpu=Cpu(idle=False, weight=weight))

        assert len(steps) == 2
        assert steps[1].endswith(("cpu.weight", "cpu.shares"))

    @pytest.mark.parametrize("layout", [V1, V2], ids=["v1", "v2"])
    def test_weight_of_an_idle_group(self, layout: Layout) -> None:
        """It has none, and the message says how to have one."""
        machine = Machine(layout)
        machine.make("p1", cpu=Cpu(idle=True))

        with says(SpecError, "cpu.weight=50: the group is idle", "idle=False with it"):
            machine.steps("p1", cpu=Cpu(weight=50))

    @pytest.mark.parametrize("layout", [V1, V2], ids=["v1", "v2"])
    def test_quota_below_the_burst_held(self, layout: Layout) -> None:
        """The kernel would refuse it; the message says by how much."""
        machine = Machine(layout)
        machine.make("p1", cpu=Cpu(max=1, burst_usec=50_000))

        with says(SpecError, "cpu.burst_usec=50000: more than the quota of 10000 us"):
            machine.steps("p1", cpu=Cpu(max=0.1))

    def test_quota_too_small_for_the_period_held(self) -> None:
        """A share that is fine over a longer period is refused with that remedy."""
        machine = Machine(V2)

        with says(SpecError, "cpu.max=0.005 with period_usec=100000", "500 us a period", "longer period"):
            machine.steps("p1", cpu=0.005)
        assert machine.make("p1", cpu=Cpu(max=0.005, period_usec=1_000_000))[-1] == (
            "write b'5000 1000000' to /v2/p1/cpu.max"
        )


class TestCpusetV1:
    """v1's cpuset starts empty, and takes no process until both lists are set."""

    def test_inherits_what_is_not_asked(self) -> None:
        """Each new group on the way has the lists of the one above; the group's own are what was asked."""
        assert Machine(V1).make("a/b", cpuset="1") == [
            "mkdir /v1/cpuset/a",
            "write b'0-3' to /v1/cpuset/a/cpuset.cpus",
            "write b'0' to /v1/cpuset/a/cpuset.mems",
            "mkdir /v1/cpuset/a/b",
            "write b'0' to /v1/cpuset/a/b/cpuset.mems",
            "write b'1' to /v1/cpuset/a/b/cpuset.cpus",
        ]

    def test_keeps_what_parents_have(self) -> None:
        """A parent that has lists keeps them, and they are what is inherited."""
        machine = Machine(V1)
        machine.make("a", cpuset=Cpuset(cpus="2-3"))

        assert machine.make("a/b", cpuset=Cpuset()) == [
            "mkdir /v1/cpuset/a/b",
            "write b'2-3' to /v1/cpuset/a/b/cpuset.cpus",
            "write b'0' to /v1/cpuset/a/b/cpuset.mems",
        ]

    def test_repairs_an_empty_parent(self) -> None:
        """A group that somebody made and left empty is initialised on the way."""
        machine = Machine(V1)
        machine.make("a", cpuset="1")
        machine.files["/v1/cpuset/a/cpuset.cpus"] = "\n"

        assert machine.make("a/b", cpuset=Cpuset())[0] == "write b'0-3' to /v1/cpuset/a/cpuset.cpus"

    def test_noprefix(self) -> None:
        """The files of a ``noprefix`` mount have other names."""
        machine = Machine(Layout((v1("cpuset", noprefix=True),)))

        assert machine.make("p1", cpuset="1") == [
            "mkdir /v1/cpuset/p1",
            "write b'0' to /v1/cpuset/p1/mems",
            "write b'1' to /v1/cpuset/p1/cpus",
        ]

    def test_v2_inherits_by_itself(self) -> None:
        """v2 needs no initial lists."""
        assert Machine(V2).make("p1", cpuset=Cpuset())[-1] == "mkdir /v2/p1"


class TestCpusetV2:
    """A partition is left before its CPUs change, and made after."""

    def test_made_after(self) -> None:
        """CPUs first, then the partition."""
        assert Machine(V2).make("p1", cpuset=Cpuset(cpus="1", partition="root"))[-2:] == [
            "write b'1' to /v2/p1/cpuset.cpus",
            "write b'root' to /v2/p1/cpuset.cpus.partition",
        ]

    def test_left_before(self) -> None:
        """The partition first, then the CPUs; clearing a list is a newline."""
        machine = Machine(V2)
        machine.make("p1", cpuset=Cpuset(cpus="1", partition="root"))

        assert machine.make("p1", cpuset=Cpuset(cpus="", partition="member")) == [
            "write b'member' to /v2/p1/cpuset.cpus.partition",
            r"write b'\n' to /v2/p1/cpuset.cpus",
        ]

    def test_a_lapsed_partition_is_not_satisfied(self) -> None:
        """What reads ``root invalid`` is asked for again."""
        machine = Machine(V2)
        machine.make("p1", cpuset=Cpuset(cpus="1", partition="root"))
        machine.files["/v2/p1/cpuset.cpus.partition"] = "root invalid (Parent is not a partition root)\n"

        assert machine.steps("p1", cpuset=Cpuset(partition="root")) == ["write b'root' to /v2/p1/cpuset.cpus.partition"]
        # But an update of something else does not fail for it.
        assert machine.steps("p1", cpuset=Cpuset(cpus="2")) == ["write b'2' to /v2/p1/cpuset.cpus"]

    def test_it_is_to_hold(self) -> None:
        """A partition is expected to read what was written; else it and the CPUs are what they were."""
        steps = Machine(V2).plan(Machine(V2).request("p1", cpuset=Cpuset(cpus="1", partition="root"))).steps[-2:]

        assert [(step.undo, step.expect) for step in steps if isinstance(step, Write)] == [
            (b"\n", None),
            (b"member", b"root"),
        ]

    def test_it_is_to_hold_on(self) -> None:
        """With other CPUs a partition that holds is asked for again, and then they are taken back if it does not."""
        machine = Machine(V2)
        machine.make("p1", cpuset=Cpuset(cpus="1", partition="isolated"))
        steps = machine.plan(machine.request("p1", cpuset=Cpuset(cpus="2"))).steps

        assert [(str(step), step.undo, step.expect) for step in steps if isinstance(step, Write)] == [
            ("write b'2' to /v2/p1/cpuset.cpus", b"1", None),
            ("write b'isolated' to /v2/p1/cpuset.cpus.partition", b"isolated", b"isolated"),
        ]


class TestEvacuation:
    """A v2 group with processes cannot enable controllers: the caller and its own move to a leaf."""

    def _machine(self) -> Machine:
        machine = Machine(V2)
        machine.make("own", memory=MAX, pids=MAX)
        return machine

    def test_caller_and_descendants(self) -> None:
        """They move, each by a write of its own, before the controller is enabled."""
        machine = self._machine()
        machine.enter("/v2/own", 100)
        machine.enter("/v2/own", 101, parent=100)
        machine.enter("/v2/own", 102, parent=101)

        assert machine.make("p1", base="/own", memory=MAX) == [
            "mkdir /v2/own/supervisor",
            "write b'100' to /v2/own/supervisor/cgroup.procs",
            "write b'101' to /v2/own/supervisor/cgroup.procs",
            "write b'102' to /v2/own/supervisor/cgroup.procs",
            "write b'+memory' to /v2/own/cgroup.subtree_control",
            "mkdir /v2/own/p1",
        ]
        assert machine.files["/v2/own/cgroup.procs"] == ""

    def test_moves_are_undone(self) -> None:
        """Each move knows its way back, forgives a process that ended, and waits for one that is being forked."""
        machine = self._machine()
        machine.enter("/v2/own", 100)

        move = tuple(machine.plan(machine.request("p1", base="/own", memory=MAX)))[1]

        assert isinstance(move, Write)
        assert (move.undo, move.undo_path, move.gone_ok) == (b"100", "/v2/own/cgroup.procs", True)
        assert move.retry is not None
        assert move.retry.errno == EINVAL

    def test_second_group(self) -> None:
        """Once the group is empty, the next one needs none of that."""
        machine = self._machine()
        machine.enter("/v2/own", 100)
        machine.make("p1", base="/own", memory=MAX)

        assert machine.make("p2", base="/own", memory=MAX) == ["mkdir /v2/own/p2"]

    @pytest.mark.parametrize("keyword", ["memory", "cpu", "pids", "cpuset"])
    def test_never_into_a_populated_group(self, keyword: str) -> None:
        """Not even ``+cpu``, which the kernel would take, and make the group a threaded one."""
        machine = Machine(V2)
        machine.make("own", memory=MAX, cpu=MAX, pids=MAX, cpuset=Cpuset())
        machine.enter("/v2/own", 100)

        steps = machine.make("p1", base="/own", **{keyword: CONTROLLERS[keyword].spec()})

        assert steps[1] == "write b'100' to /v2/own/supervisor/cgroup.procs"
        assert steps[2] == f"write b'+{keyword}' to /v2/own/cgroup.subtree_control"

    def test_a_populated_group_on_the_way(self) -> None:
        """Not only the base may be in the way."""
        machine = self._machine()
        machine.make("mid", base="/own")
        machine.enter("/v2/own/mid", 100)

        assert machine.make("mid/p1", base="/own", pids=3)[:3] == [
            "write b'+pids' to /v2/own/cgroup.subtree_control",
            "mkdir /v2/own/mid/supervisor",
            "write b'100' to /v2/own/mid/supervisor/cgroup.procs",
        ]

    @pytest.mark.parametrize(("pid", "parent"), [(7, 1), (7, 0), (1, 0)])
    def test_somebody_elses(self, pid: int, parent: int) -> None:
        """Others' processes are never moved unasked; the message has their pids and two remedies."""
        machine = self._machine()
        machine.enter("/v2/own", 100)
        machine.enter("/v2/own", pid, parent=parent)

        with says(
            UnsupportedError,
            "controller memory below /v2/own",
            f"not the caller's ({pid})",
            "systemd-run --scope -p Delegate=yes",
            "CGCTL_EVACUATE=1",
        ):
            machine.steps("p1", base="/own", memory=MAX)

    @pytest.mark.parametrize("caller", [100, 0])
    @pytest.mark.parametrize("evacuate", [False, True])
    def test_of_another_pid_namespace(self, caller: int, evacuate: bool) -> None:  # noqa: FBT001 - the case
        """Pid 0 is a foreigner, and cannot be moved at all: ``0`` would be the writer."""
        machine = self._machine()
        machine.enter("/v2/own", 0)
        del machine.files["/proc/0/stat"]

        if evacuate or caller:
            # /proc has no pid 0: the file is never there
            machine.files["/proc/0/stat"] = "0 (x) S 0"
        with says(UnsupportedError, "0 (of another pid namespace)"):
            machine.steps("p1", base="/own", memory=MAX, caller=caller, evacuate=evacuate)

    @pytest.mark.parametrize("parent", [7, 8])
    def test_a_circle_of_parents(self, parent: int) -> None:
        """What was read at several moments may say nonsense; the planner does not go round in it."""
        machine = self._machine()
        machine.enter("/v2/own", 7, parent=parent)
        machine.files["/proc/8/stat"] = "8 (x) S 7 8 8"

        with says(UnsupportedError, "not the caller's (7)"):
            machine.steps("p1", base="/own", memory=MAX)

    def test_a_caller_that_is_init(self) -> None:
        """In a container of its own the caller may be pid 1, and all others its descendants."""
        machine = self._machine()
        machine.enter("/v2/own", 1, parent=0)
        machine.enter("/v2/own", 7)

        assert len(machine.make("p1", base="/own", memory=MAX, caller=1)) == 5

    def test_when_asked_to(self) -> None:
        """With ``CGCTL_EVACUATE=1`` everybody moves."""
        machine = self._machine()
        machine.enter("/v2/own", 7, 8)

        assert machine.make("p1", base="/own", memory=MAX, evacuate=True)[:3] == [
            "mkdir /v2/own/supervisor",
            "write b'7' to /v2/own/supervisor/cgroup.procs",
            "write b'8' to /v2/own/supervisor/cgroup.procs",
        ]

    def test_one_that_ended(self) -> None:
        """Who has no ``/proc`` directory any more needs no move."""
        machine = self._machine()
        machine.enter("/v2/own", 100, 7)
        del machine.files["/proc/7/stat"]

        steps = machine.steps("p1", base="/own", memory=MAX)

        assert "write b'100' to /v2/own/supervisor/cgroup.procs" in steps
        assert "write b'7' to /v2/own/supervisor/cgroup.procs" not in steps

    def test_the_real_root(self) -> None:
        """Told by having no ``cgroup.type``, it may hold processes beside enabled controllers."""
        machine = Machine(V2)
        machine.enter("/v2", 1, 7)
        request = machine.request("p1", memory=MAX)

        assert [str(step) for step in machine.plan(request)] == [
            "write b'+memory' to /v2/cgroup.subtree_control",
            "mkdir /v2/p1",
        ]
        assert not machine.snapshot(request).known("/v2/cgroup.procs")

    @pytest.mark.parametrize("kind", ["threaded", "domain threaded", "domain invalid"])
    def test_threaded(self, kind: str) -> None:
        """No domain controller below a threaded group; the message has the type."""
        machine = self._machine()
        machine.files["/v2/own/cgroup.type"] = f"{kind}\n"

        with says(UnsupportedError, f"the group is '{kind}'", "memory cannot have", "another parent"):
            machine.steps("p1", base="/own", memory=MAX, pids=3)

    def test_threaded_and_populated(self) -> None:
        """Nor can its processes move to a leaf, which would be no domain either."""
        machine = self._machine()
        machine.enter("/v2/own", 100)
        machine.files["/v2/own/cgroup.type"] = "domain threaded\n"

        with says(UnsupportedError, "the group is 'domain threaded'", "pids cannot have"):
            machine.steps("p1", base="/own", pids=3)

    def test_threaded_by_who_joined(self) -> None:
        """Where processes have joined a group beside enabled controllers, groups below it would take none."""
        machine = self._machine()
        machine.files["/v2/own/cgroup.type"] = "domain threaded\n"
        machine.files["/v2/own/cgroup.subtree_control"] = "pids\n"

        with says(UnsupportedError, "/v2/own is 'domain threaded'", "enabled controllers (pids)", "doctor --prune"):
            machine.steps("p1", base="/own", pids=3)

    def test_threaded_controllers(self) -> None:
        """What threads can share may be enabled in a threaded group."""
        machine = self._machine()
        machine.files["/v2/own/cgroup.type"] = "threaded\n"

        assert machine.steps("p1", base="/own", pids=3)[0] == "write b'+pids' to /v2/own/cgroup.subtree_control"


class TestUnsupported:
    """What cannot be had is an error with feature, reason and release."""

    @pytest.mark.parametrize(
        ("layout", "keyword", "spec", "feature", "reason"),
        [
            (V1, "memory", Memory(high=1), "memory.high", "v1 cannot throttle"),
            (V1, "memory", Memory(min=1), "memory.min", "low is the nearest"),
            (V1, "memory", Memory(oom_group=True), "memory.oom_group", "v1 kills one process"),
            (V1, "cpuset", Cpuset(partition="root"), "cpuset.partition", "v1 has no partitions"),
            (V1, "core", Core(max_depth=1), "core.max_depth", "needs a cgroup2 mount"),
            (V2, "memory", Memory(soft_limit=1), "memory.soft_limit", "use low to protect"),
            (V2, "memory", Memory(swappiness=1), "memory.swappiness", "vm.swappiness"),
            (V2, "memory", Memory(oom_kill_disable=True), "memory.oom_kill_disable", "use high"),
            (V2, "cpu", Cpu(rt_runtime_usec=1), "cpu.rt_runtime_usec", "no real-time budgets"),
            (Layout((v2("cpu"),)), "memory", Memory(max=1), "memory.max", "mounted: unified (v2: cpu)"),
            (Layout((v2("cpu"),)), "memory", Memory(), "controller memory", "cgroup_enable=memory"),
            (Layout((v1("freezer"),)), "pids", Pids(max=1), "pids.max", "mounted: freezer (v1: freezer)"),
            (V2, "hugetlb", Hugetlb(max={"2M": 0}), "hugetlb.max.2MB", "is in no mounted hierarchy"),
            (HUGE, "hugetlb", Hugetlb(max={"1G": 0}), "hugetlb.max.1GB", "no huge pages of this size (it has: 2MB)"),
            (V1, "perf_event", PerfEvent(), "controller perf_event", "is in no mounted hierarchy"),
        ],
    )
    def test_on_this_layout(self, layout: Layout, keyword: str, spec: Any, feature: str, reason: str) -> None:
        """The reason is the row's, or what is mounted."""
        with pytest.raises(UnsupportedError) as caught:
            Machine(layout).steps("p1", **{keyword: spec})

        assert caught.value.feature == feature
        assert reason in caught.value.reason

    @pytest.mark.parametrize(
        ("file", "keyword", "spec", "since"),
        [
            ("memory.oom.group", "memory", Memory(oom_group=True), "4.19"),
            ("memory.zswap.max", "memory", Memory(zswap_max=0), "5.19"),
            ("cpu.idle", "cpu", Cpu(idle=True), "5.15"),
            ("cpu.max.burst", "cpu", Cpu(burst_usec=1), "5.14"),
            ("cpuset.cpus.exclusive", "cpuset", Cpuset(exclusive="1"), "6.7"),
            ("cgroup.pressure", "core", Core(pressure=False), "6.1"),
        ],
    )
    def test_on_this_kernel(self, file: str, keyword: str, spec: Any, since: str) -> None:
        """A group that is there shows which files it has; the error has the release that brought this one."""
        machine = Machine(V2, without=[file])
        machine.make("p1", **{keyword: CONTROLLERS[keyword].spec()})

        with pytest.raises(UnsupportedError) as caught:
            machine.steps("p1", **{keyword: spec})

        assert caught.value.since == since
        assert file in caught.value.reason

    def test_not_enabled_above(self) -> None:
        """A controller that the base was not given is refused, with both remedies."""
        machine = Machine(V2)
        machine.make("own", pids=MAX)

        with says(
            UnsupportedError, "'memory' is not enabled in the group above /v2/own (it has: pids)", "Delegate=memory"
        ):
            machine.steps("p1", base="/own", memory=MAX)

    def test_of_the_own_group(self) -> None:
        """The same for what the own group was not given; not that the kernel had no such file."""
        machine = Machine(V2)
        machine.make("own", pids=MAX)

        with says(UnsupportedError, "controller memory below /v2/own", "'memory' is not enabled"):
            machine.steps("", base="/own", memory=MAX)

    def test_of_the_root(self) -> None:
        """The root has no limits, on any kernel."""
        with says(UnsupportedError, "memory.max", "the root group has no memory.max", "make a group below it"):
            Machine(V2).steps("", memory=Memory(max=1))

    def test_a_hierarchy_without_a_place(self) -> None:
        """On a hybrid machine whose v2 tree may not be written, its settings are unsupported, not a crash."""
        machine = Machine(HYBRID)
        request = attrs.evolve(machine.request("p1", core=Core(max_depth=1)), places=())

        with says(UnsupportedError, "a group in hierarchy 'unified'", "/v2 cannot be written"):
            needs(request, Snapshot())


class TestHeld:
    """What the kernel holds, as a spec."""

    @pytest.mark.parametrize("layout", [V1, V2], ids=["v1", "v2"])
    def test_round_trip(self, layout: Layout) -> None:
        """What was set is what is read."""
        machine = Machine(layout)
        wanted: dict[str, Any] = {
            "memory": Memory(max=MIB, swap_max=0),
            "cpu": Cpu(max=0.5, weight=7),
            "pids": Pids(max=3),
        }
        machine.make("p1", **wanted)

        for name, spec in wanted.items():
            request = machine.request("p1", **{name: CONTROLLERS[name].spec(**attrs.asdict(spec))})
            snapshot = Snapshot({path: text.encode() for path, text in machine.files.items()})
            held = held_spec(CONTROLLERS[name], layout, snapshot, request.find)

            asked = {key: value for key, value in attrs.asdict(spec).items() if value not in (None, frozenset())}
            assert asked == {key: getattr(held, key) for key in asked}

    def test_absent_files(self) -> None:
        """A setting that this kernel has not is ``None``."""
        machine = Machine(V2, without=["cpu.idle", "cpu.uclamp.min"])
        machine.make("p1", cpu=Cpu())
        request = machine.request("p1", cpu=Cpu())
        snapshot = Snapshot({path: text.encode() for path, text in machine.files.items()})

        held = held_spec(CONTROLLERS["cpu"], V2, snapshot, request.find)

        assert held == Cpu(max=MAX, period_usec=100_000, burst_usec=0, weight=100, uclamp_max=MAX)


class TestNeeds:
    """What the planner asks for."""

    def test_nothing_twice(self) -> None:
        """Each round asks for what is not known yet, and there is an end to it."""
        machine = Machine(V2)
        machine.make("own", memory=MAX)
        machine.enter("/v2/own", 100)
        request = machine.request("p1", base="/own", memory="1M")
        rounds: list[frozenset[str]] = []
        snapshot = Snapshot()
        while paths := needs(request, snapshot):
            rounds.append(paths)
            snapshot = snapshot.merged({path: _read(machine, path) for path in paths})

        assert 2 <= len(rounds) <= 6
        assert sum(map(len, rounds)) == len(frozenset[str]().union(*rounds))

    def test_a_satisfied_group_asks_for_little(self) -> None:
        """For one limit of a group that is there: the group's files and those above that matter."""
        machine = Machine(V2)
        machine.make("p1", pids=3)

        assert set(machine.snapshot(machine.request("p1", pids=3)).values) == {
            "/v2/cgroup.controllers",
            "/v2/cgroup.subtree_control",
            "/v2/p1/cgroup.subtree_control",
            "/v2/p1/pids.max",
        }


class TestThreaded:
    """Groups of threads, on v2."""

    def test_the_process_stays_above(self) -> None:
        """Controllers are enabled beside the process, whoever's it is: that is what makes it a threaded domain."""
        machine = Machine(V2)
        machine.make("p1", core=Core())
        machine.enter("/v2/p1", 500)

        assert machine.steps("p1/t", core=Core(type="threaded"), cpu=0.5) == [
            "write b'+cpu' to /v2/cgroup.subtree_control",
            "write b'+cpu' to /v2/p1/cgroup.subtree_control",
            "mkdir /v2/p1/t",
            "write b'threaded' to /v2/p1/t/cgroup.type",
            "write b'50000 100000' to /v2/p1/t/cpu.max",
        ]

    def test_one_that_is_there(self) -> None:
        """A controller is added beside the process too."""
        machine = Machine(V2)
        machine.make("p1/t", core=Core())
        machine.files["/v2/p1/t/cgroup.type"], machine.files["/v2/p1/cgroup.type"] = "threaded\n", "domain threaded\n"
        machine.enter("/v2/p1", 500)

        assert "write b'+pids' to /v2/p1/cgroup.subtree_control" in machine.steps("p1/t", pids=3)

    def test_no_controller_that_counts_by_process(self) -> None:
        """Those that count by process are refused before anything is made."""
        with says(UnsupportedError, "controller memory in a threaded group", "set it on the group above"):
            Machine(V2).steps("p1/t", core=Core(type="threaded"), memory="1M")

    def test_not_below_the_caller(self) -> None:
        """The caller's own cgroup is not turned into a threaded domain; below a group that it made there is one."""
        machine = Machine(V2)
        machine.make("own", core=Core())
        machine.enter("/v2/own", 100)
        with says(UnsupportedError, "directly below the caller's own", "make a group for the process first"):
            machine.steps("t", base="/own", core=Core(type="threaded"))

        machine.make("p1", base="/own", core=Core())
        assert machine.steps("p1/t", base="/own", core=Core(type="threaded"))[0] == "mkdir /v2/own/p1/t"

    def test_held(self) -> None:
        """One that is threaded needs no step."""
        machine = Machine(V2)
        machine.make("p1", core=Core(type="threaded"))

        assert machine.steps("p1", core=Core(type="threaded")) == []


class TestPlace:
    """A group in one hierarchy."""

    def test_chain(self) -> None:
        """The directories from the base down."""
        place = Place(hierarchy=v2(), base="/v2/own", parts=("a", "b"))

        assert place.directory == "/v2/own/a/b"
        assert place.chain == ("/v2/own", "/v2/own/a", "/v2/own/a/b")
        assert place.file("cgroup.procs") == "/v2/own/a/b/cgroup.procs"


class TestSnapshot:
    """What was read."""

    def test_states(self) -> None:
        """Read, absent, gone, refused, and not tried are five."""
        snapshot = Snapshot({"/read": b"a b\n", "/absent": 2, "/gone": 19, "/refused": 13})

        assert (snapshot.text("/read"), snapshot.words("/read")) == ("a b\n", ("a", "b"))
        assert [snapshot.missing(path) for path in ("/read", "/absent", "/gone", "/refused", "/x")] == [
            False,
            True,
            True,
            False,
            False,
        ]
        assert [snapshot.known(path) for path in ("/refused", "/x")] == [True, False]
        assert [snapshot.errno(path) for path in ("/read", "/refused", "/x")] == [None, 13, None]
        assert snapshot.merged({"/x": b""}).text("/x") == ""
        assert not snapshot.known("/x")


class TestMachine:
    """The model of these tests refuses what the kernel refuses, else they would show nothing."""

    @pytest.mark.parametrize(
        "steps",
        [
            [Mkdir(path="/v2/p1")],
            [Mkdir(path="/v2/x/p1")],
            [Write(path="/v2/p1/memory.max", data=b"1")],
            [Write(path="/v2/own/cgroup.subtree_control", data=b"+cpu")],
            [Write(path="/v2/p1/cgroup.subtree_control", data=b"+io")],
        ],
    )
    def test_refusals(self, steps: list[Any]) -> None:
        """An order that the kernel would refuse is refused."""
        machine = Machine(V2)
        machine.make("p1")
        machine.make("own", cpu=MAX)
        machine.enter("/v2/own", 7)

        with pytest.raises(Refusal):
            machine.apply(steps)


def _read(machine: Machine, path: str) -> bytes | int:
    return machine.files[path].encode() if path in machine.files else ENOENT


def _prefixes(steps: Plan) -> Iterator[Plan]:
    for length in range(len(steps) + 1):
        yield Plan(steps.steps[:length])


class TestRepair:
    """A plan that was done in part is finished by planning again."""

    @pytest.mark.parametrize("layout", [V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])
    def test_every_prefix(self, layout: Layout) -> None:
        """Wherever it stopped, the rest is what is lacking."""
        wanted: dict[str, Any] = {"memory": "100M", "cpu": Cpu(max=0.5, period_usec=20_000), "cpuset": "0-1", "pids": 5}
        whole = Machine(layout)
        whole.make("a/b", **wanted)
        steps = Machine(layout).plan(Machine(layout).request("a/b", **wanted))
        for done in _prefixes(steps):
            machine = Machine(layout)
            machine.apply(done)

            machine.make("a/b", **wanted)

            assert machine.files == whole.files


def test_requests_are_values() -> None:
    """A request can be made by hand, of places and specs; it names nobody by default."""
    place = Place(hierarchy=V2.hierarchies[0], base="/v2", parts=("p1",))
    request = Request(layout=V2, places=(place,), specs={})

    assert request.find(V2.hierarchies[0]) is place
    assert [str(step) for step in plan(request, Snapshot({"/v2/p1/cgroup.subtree_control": 2}))] == ["mkdir /v2/p1"]


class TestSizesAndResources:
    """Controllers with a file for each size of pages, and with a line for each resource."""

    def test_a_file_for_each_size(self) -> None:
        """Each size that is named is one file; a group that holds it all needs nothing."""
        machine = Machine(HUGE)

        assert machine.make("p1", hugetlb=Hugetlb(max={"2M": "4M"}, rsvd_max={"2M": "8M"})) == [
            "write b'+hugetlb' to /v2/cgroup.subtree_control",
            "mkdir /v2/p1",
            "write b'4194304' to /v2/p1/hugetlb.2MB.max",
            "write b'8388608' to /v2/p1/hugetlb.2MB.rsvd.max",
        ]
        assert machine.steps("p1", hugetlb={"2M": 4 << 20}) == []

    def test_a_write_for_each_line(self) -> None:
        """The kernel takes one resource a write."""
        writes = Machine(HUGE).steps("p1", misc=Misc(max={"sev": 5, "sev_es": MAX}))[2:]

        assert writes == ["write b'sev 5' to /v2/p1/misc.max", "write b'sev_es max' to /v2/p1/misc.max"]

    def test_nothing_to_enable(self) -> None:
        """What every v2 group has unasked is not enabled."""
        assert Machine(HUGE).steps("p1", perf_event=True) == ["mkdir /v2/p1"]
