"""A process in a unit that is not delegated gets a scope of its own, and all works as on a bare kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.here import why_not
from tests.kernel import lacks
from tests.require import skip_unless
from tests.systemd.conftest import IS_ROOT, Run, systemctl


@contextlib.contextmanager
def _needs(*controllers: str) -> Iterator[None]:
    """Go on where systemd delegates these to whoever runs the tests: it does so to this process, and to all alike."""
    for controller in controllers:
        skip_unless(controller, why_not(controller))
    yield


@pytest.fixture(autouse=True)
def _delegated() -> None:
    """Skip where systemd delegates nothing: on v1, to an ordinary user."""
    skip_unless("group", why_not("group"))


def test_with(run: Run) -> None:
    """``with Group(memory=…)`` limits what runs inside; afterwards the process is in the scope, alone."""
    with _needs("memory", "pids"):
        facts = run(
            """
            before = where()
            with cgctl.Group(sys.argv[1], memory="32M", pids=20) as group:
                tell(inside=where(), limit=group.limits().memory.max, paths=group.paths())
                tell(status=subprocess.run(payloads.hog(64), capture_output=True).returncode)
            tell(before=before, after=where())
            """
        )

    assert (facts["limit"], facts["status"]) == (32 << 20, -9)
    moved = {path for key, path in facts["after"].items() if path != facts["before"][key]}
    assert len(moved) == 1, (facts["before"], facts["after"])
    assert "/cgctl.slice/cgctl-" in moved.pop()
    assert all("/cgctl.slice/cgctl-" in path for path in facts["paths"].values() if "freezer" not in path)


def test_run(run: Run) -> None:
    """``cgctl.run`` kills what is over its limit, and one scope serves all runs of the process."""
    with _needs("memory"):
        facts = run(
            """
            done = cgctl.run(payloads.hog(64), memory="32M", capture_output=True)
            first = where()
            again = cgctl.run(payloads.say("out", "", 3), memory="64M", capture_output=True, text=True)
            tell(oom=done.oom_killed, status=again.returncode, out=again.stdout, same=first == where())
            """
        )

    assert facts == {"oom": True, "status": 3, "out": "out\n", "same": True}


def test_command_line(run: Run) -> None:
    """``cgctl run`` as well, from a shell that stays where it is."""
    with _needs("memory"):
        facts = run(
            """
            before = where()
            done = subprocess.run(
                ["cgctl", "run", "-m", "32m", "--", *payloads.hog(64)], capture_output=True, text=True
            )
            tell(status=done.returncode, errors=done.stderr, stayed=before == where())
            """
        )

    assert (facts["status"], facts["stayed"]) == (137, True)
    assert facts["errors"].startswith("cgctl: out of memory")


def test_without_controllers(run: Run) -> None:
    """A group without controllers takes a scope too: nothing is written in a unit that is not ours."""
    facts = run(
        """
        group = cgctl.Group(sys.argv[1]).create()
        tell(paths=group.paths())
        group.remove()
        """
    )
    if "unified" not in facts["paths"]:  # v1's freezer, which is not systemd's
        assert [*facts["paths"]] == ["freezer"]
        return

    assert any("/cgctl.slice/cgctl-" in path for path in facts["paths"].values())


def test_reload(run: Run) -> None:
    """``systemctl daemon-reload`` during a run changes no limit, and the scope is there to be seen."""
    with _needs("memory", "cpu", "pids"):
        facts = run(
            """
            whose = ["--user"] if os.geteuid() else []
            with cgctl.Group(sys.argv[1], memory="64M", cpu=0.5, pids=50, join=False) as group:
                with group.popen(payloads.SLEEPER, stdout=subprocess.PIPE) as process:
                    process.stdout.readline()
                    files = lambda: {
                        f"{directory}/{name}": read(f"{directory}/{name}")
                        for top in group.paths().values()
                        for directory, _, names in os.walk(top)
                        for name in names
                        if name in {"memory.max", "cpu.max", "pids.max", "memory.limit_in_bytes", "cpu.cfs_quota_us",
                                    "cgroup.subtree_control"}
                    }
                    before, place = files(), where(process.pid)
                    subprocess.run(["systemctl", *whose, "daemon-reload"], check=True)
                    seen = subprocess.run(["systemd-cgls", "--full"], capture_output=True, text=True).stdout
                    unit = next(path for path in place.values() if "/cgctl-" in path).split("/cgctl.slice/")[1]
                    tell(same=before == files(), stayed=place == where(process.pid), count=len(before))
                    tell(seen=unit.split("/")[0] in seen, listed=str(process.pid) in seen)
                    process.kill()
            """
        )

    assert facts.pop("count") >= 3
    assert facts == {"same": True, "stayed": True, "seen": True, "listed": True}


def test_one_scope_for_all_threads(run: Run) -> None:
    """Threads that make their first groups at once get one scope."""
    facts = run(
        """
        import threading
        groups = [cgctl.Group(f"{sys.argv[1]}-{number}", pids=9) for number in range(6)]
        threads = [threading.Thread(target=group.create) for group in groups]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        tell(parents=list({path.rpartition("/")[0] for group in groups for path in group.paths().values()}))
        for group in groups: group.remove()
        """
    )

    assert len({path.rpartition("/")[2] for path in facts["parents"] if "/cgctl.slice/" in path}) == 1


def test_forked_children_share_it(run: Run) -> None:
    """A forked child makes its groups in the scope in which it is, though its parent is there too."""
    with _needs("memory"):
        facts = run(
            """
            cgctl.Group(sys.argv[1] + "-0", pids=9).create().remove()
            here, outs = where(), []
            for number in range(2):
                out, into = os.pipe()
                if os.fork() == 0:
                    done = cgctl.run(payloads.hog(64), memory="32M", capture_output=True)
                    os.write(into, json.dumps([done.oom_killed, done.stats.memory.peak]).encode())
                    os._exit(0)
                os.close(into)
                outs.append(out)
            tell(done=[json.loads(os.read(out, 4096)) for out in outs])
            for _ in range(2): os.wait()
            tell(same=[a for a in here.values()] == [b for b in where().values()])
            """
        )

    assert facts["done"] == [[True, 32 << 20]] * 2
    assert facts["same"]


def test_children_that_are_not_moved(run: Run) -> None:
    """What the process started before it had the scope stays where it was."""
    facts = run(
        """
        child = start(payloads.SLEEPER)
        before = where(child.pid)
        group = cgctl.Group(sys.argv[1], pids=9).create()
        tell(stayed=before == where(child.pid), moved=before != where())
        group.remove()
        child.kill()
        child.communicate()
        """
    )

    assert facts == {"stayed": True, "moved": True}


def test_many_at_once(run: Run) -> None:
    """Processes that start and end at once, and with them our slice, all get their scopes."""
    script = """
        with cgctl.Group(sys.argv[1] + sys.argv[2], join=False, pids=9) as group:
            tell(paths=list(group.paths().values()))
        """
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: run(script, number), range(4)))

    assert len({path for each in found for path in each["paths"] if "/cgctl.slice/" in path}) >= 4


def test_killed(run: Run) -> None:
    """After a caller was killed, neither group nor scope is there (the fixture looks)."""
    facts = run(
        """
        pid = os.fork()
        if pid == 0:
            with cgctl.Group(sys.argv[1], join=False, pids=9) as group:
                process = group.popen(payloads.SLEEPER)
                os.kill(os.getpid(), signal.SIGKILL)
        tell(status=os.waitpid(pid, 0)[1])
        """
    )

    assert facts == {"status": 9}


def test_slice(run: Run) -> None:
    """``CGCTL_SLICE`` and ``System.detect(slice=…)`` choose the slice."""
    script = """
        system = cgctl.System.detect(slice=sys.argv[2]) if sys.argv[2:] else None
        with cgctl.Group(sys.argv[1], system=system, pids=9) as group:
            tell(paths=list(group.paths().values()))
        """
    chosen = run(script, "cgctlone.slice"), run(script, env={"CGCTL_SLICE": "cgctltwo.slice"})
    systemctl("stop", "cgctlone.slice", "cgctltwo.slice")  # a slice that somebody chose is not ours to end

    assert any("/cgctlone.slice/cgctl-" in path for path in chosen[0]["paths"])
    assert any("/cgctltwo.slice/cgctl-" in path for path in chosen[1]["paths"])


def test_a_delegated_unit_is_used(run: Run) -> None:
    """In a unit that is delegated, nobody is asked: groups are made below it."""
    facts = run(
        """
        with cgctl.Group(sys.argv[1], pids=50) as group:
            tell(paths=list(group.paths().values()))
        """,
        properties=("Delegate=yes",),
        env={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"} if IS_ROOT else {},
    )

    assert any("/run-u" in path for path in facts["paths"])
    assert not any("/cgctl.slice/" in path for path in facts["paths"])


def test_private_socket(run: Run) -> None:
    """Where there is no bus, systemd itself is asked."""
    facts = run(
        """
        from cgctl.systemd import bus
        bus._addresses = lambda user, known=bus._addresses: [each for each in known(user=user) if each[1]]
        with cgctl.Group(sys.argv[1], pids=9) as group:
            tell(paths=list(group.paths().values()))
        """
    )

    assert any("/cgctl.slice/cgctl-" in path for path in facts["paths"])


def test_limits_of_the_scope(run: Run) -> None:
    """The limits of the scope itself are the unit's, so systemd keeps them when it is reloaded."""
    with _needs("memory", "pids"):
        facts = run(
            """
            cgctl.Group(sys.argv[1], pids=5).create().remove()
            held = cgctl.current().update(memory=cgctl.Memory(max="200M"), pids=77)
            whose = ["--user"] if os.geteuid() else []
            subprocess.run(["systemctl", *whose, "daemon-reload"], check=True)
            after = cgctl.current().limits()
            unit = next(path for path in where().values() if "/cgctl-" in path).rpartition("/")[2]
            shown = subprocess.run(
                ["systemctl", *whose, "show", "-P", "MemoryMax", "-P", "TasksMax", unit], capture_output=True, text=True
            )
            tell(held=[held.memory.max, held.pids.max], after=[after.memory.max, after.pids.max], shown=shown.stdout)
            """
        )

    assert facts["held"] == facts["after"] == [200 << 20, 77]
    assert sorted(facts["shown"].split()) == ["209715200", "77"]


@pytest.mark.skipif(not IS_ROOT, reason="a user's systemd has neither cpuset and io nor programs for devices")
def test_every_property_of_the_scope(run: Run) -> None:
    """What systemd has a word for reaches the kernel, and stands when systemd is reloaded."""
    lacks.require("v2", "io")
    facts = run(
        """
        cgctl.Group(sys.argv[1], pids=5).create().remove()
        cgctl.current().update(
            memory=cgctl.Memory(high="150M", low="10M", min="5M", swap_max="50M"),
            cpu=cgctl.Cpu(max=0.5, weight=50),
            cpuset=cgctl.Cpuset(cpus="0", mems="0"),
            io=cgctl.Io(max={"/dev/vdb": cgctl.IoMax(rbps="1M", wbps="2M", riops=100, wiops=200)}),
            devices=cgctl.Devices(allow=["null", "zero r", "urandom"]),
        )
        subprocess.run(["systemctl", "daemon-reload"], check=True, stdin=subprocess.PIPE)
        held = cgctl.current().limits()
        opened = []
        for path, flags in (("null", os.O_RDWR), ("zero", os.O_RDONLY), ("zero", os.O_WRONLY), ("full", os.O_RDONLY)):
            try:
                os.close(os.open(f"/dev/{path}", flags))
                opened.append(True)
            except PermissionError:
                opened.append(False)
        cpus = [held.cpu.max, held.cpu.weight, held.cpuset.cpus, held.cpuset.mems]
        (io,) = held.io.max.values()
        memory = [held.memory.high, held.memory.low, held.memory.min, held.memory.swap_max]
        tell(cpus=cpus, memory=memory, io=[io.rbps, io.wbps, io.riops, io.wiops], opened=opened)
        """
    )

    assert facts["cpus"] == [0.5, 50, [0], [0]]
    assert facts["memory"] == [150 << 20, 10 << 20, 5 << 20, 50 << 20]
    assert facts["io"] == [1 << 20, 2 << 20, 100, 200]
    assert facts["opened"] == [True, True, False, False]


def test_doctor(run: Run) -> None:
    """``cgctl doctor`` says that the unit was not delegated, and that a scope was asked for."""
    with _needs("memory", "pids"):
        facts = run(
            """
            done = subprocess.run(["cgctl", "doctor", "--json"], capture_output=True, text=True)
            found = {one["name"]: one["found"] for one in json.loads(done.stdout)["findings"]}
            tell(status=done.returncode, case=found["case"], systemd=found["place: systemd"])
            """
        )

    assert facts["status"] == 0
    assert facts["case"].startswith("systemd, in a unit ")
    assert "asked for a scope: /sys/fs/cgroup/" in facts["systemd"]
