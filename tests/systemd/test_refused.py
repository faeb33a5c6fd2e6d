"""What is refused where systemd writes, and what the error says to do."""

from __future__ import annotations

import pytest

from tests.contract.here import why_not
from tests.require import skip_unless
from tests.systemd.conftest import IS_ROOT, Run

_FAIL = """
def attempt(what):
    before = where()
    try:
        what()
    except cgctl.CgctlError as error:
        tell(kind=type(error).__name__, text=str(error), stayed=before == where())
    else:
        tell(kind="none")
"""


@pytest.fixture(autouse=True)
def _delegated() -> None:
    """Skip where systemd delegates nothing: on v1, to an ordinary user."""
    skip_unless("group", why_not("group"))


def test_limits_are_not_escaped(run: Run) -> None:
    """A limit on the own unit would not hold in a scope, so none is asked for, unless a slice is chosen on purpose."""
    skip_unless("memory", why_not("memory"))
    script = _FAIL + "attempt(lambda: cgctl.Group(sys.argv[1], pids=9).create().remove())"
    facts = run(script, properties=("MemoryMax=200M",))
    chosen = run(script, properties=("MemoryMax=200M",), env={"CGCTL_SLICE": "cgctl.slice"})

    assert facts["kind"] == "UnsupportedError"
    assert "this process would escape" in facts["text"]
    assert "209715200" in facts["text"]
    assert facts["stayed"]
    assert chosen["kind"] == "none"


def test_limits_on_tasks_are_not_escaped(run: Run) -> None:
    """Neither is a limit on tasks, if it is another than every unit has."""
    skip_unless("pids", why_not("pids"))
    script = _FAIL + "attempt(lambda: cgctl.Group(sys.argv[1], pids=9).create().remove())"
    facts = run(script, properties=("TasksMax=37",))

    assert "pids.max = 37" in facts["text"]


@pytest.mark.skipif(not IS_ROOT, reason="an ordinary user may not write there anyway")
@pytest.mark.parametrize("absolute", [True, False])
def test_undelegated_places(absolute: bool, run: Run) -> None:  # noqa: FBT001
    """A group that is asked for in a part of the tree that systemd writes is refused, with the way to have one."""
    slash = "/" if absolute else ""
    facts = run(
        _FAIL + f"attempt(lambda: cgctl.Group('{slash}' + sys.argv[1], pids=5).create())",
        env={} if absolute else {"CGCTL_BASE": "/system.slice"},
    )

    assert facts["kind"] == "UnsupportedError"
    assert "has not delegated it" in facts["text"]
    assert facts["stayed"]


def test_the_own_unit_is_systemds(run: Run) -> None:
    """What systemd has no property for cannot be changed in the unit's own group, nor can its files be written."""
    facts = run(_FAIL + "attempt(lambda: cgctl.current().update(pids=100, cpu=cgctl.Cpu(burst_usec=5)))")
    written = run(_FAIL + "attempt(lambda: cgctl.current().write('pids.max', '100'))")

    assert (facts["kind"], written["kind"]) == ("UnsupportedError", "UnsupportedError")
    assert "cpu.burst_usec" in facts["text"]
    assert "systemctl set-property" in written["text"]


def test_looking_asks_nobody(run: Run) -> None:
    """Reading, and looking for a group, takes no scope."""
    facts = run(
        """
        before = where()
        stats = cgctl.current().stats()
        there = cgctl.Group(sys.argv[1]).exists()
        groups = [group.name for group in cgctl.System.detect().groups()]
        tell(there=there, groups=groups, stayed=before == where())
        """
    )

    assert facts == {"there": False, "groups": [], "stayed": True}


def test_a_plan_asks_nobody(run: Run) -> None:
    """Before there is a scope nobody knows where a group would be; a plan says so, and a plan after that is one."""
    facts = run(
        _FAIL
        + """
attempt(lambda: cgctl.Group(sys.argv[1], pids=9).plan())
group = cgctl.Group(sys.argv[1] + "-a", pids=9).create()
tell(plan=str(cgctl.Group(sys.argv[1], pids=9).plan()))
group.remove()
"""
    )

    assert facts["kind"] == "UnsupportedError"
    assert "systemd-run --scope -p Delegate=yes" in facts["text"]
    assert "/cgctl.slice/cgctl-" in facts["plan"]


def test_no_bus(run: Run) -> None:
    """Where systemd cannot be reached, the error says where it was looked for, and what to do."""
    facts = run(
        """
        from cgctl.systemd import bus
        bus._addresses = lambda user: [("/run/nowhere", False)]
        """
        + _FAIL.replace("\n", "\n        ")
        + """
        attempt(lambda: cgctl.Group(sys.argv[1], pids=9).create().remove())
        """
    )
    if not IS_ROOT:
        # Under the user's own systemd, whose units all belong to the user, the owner has to do.
        assert facts["kind"] == "none"
        return

    assert facts["kind"] == "UnsupportedError"
    assert "/run/nowhere: No such file or directory" in facts["text"]
    assert "Delegate=yes" in facts["text"]


def test_no_jeepney(run: Run) -> None:
    """Without jeepney, the error names the extra."""
    attempt = "attempt(lambda: cgctl.Group(sys.argv[1], pids=9).create().remove())"
    facts = run(f"sys.modules['jeepney'] = None{_FAIL}{attempt}")
    if IS_ROOT:
        assert "pip install 'cgctl[systemd]'" in facts["text"]
    else:
        assert facts["kind"] == "none"


def test_nonsense_slice(run: Run) -> None:
    """What is no slice's name is named in the error."""
    script = _FAIL + "attempt(lambda: cgctl.Group(sys.argv[1], pids=9).create().remove())"
    facts = run(script, env={"CGCTL_SLICE": "../x"})

    assert facts["kind"] == "SpecError"
    assert facts["text"].startswith("CGCTL_SLICE='../x': not the name of a slice")


def test_create(run: Run) -> None:
    """``cgctl create`` makes no group that would be gone with the command."""
    facts = run(
        """
        done = subprocess.run(["cgctl", "create", sys.argv[1], "pids=5"], capture_output=True, text=True)
        tell(status=done.returncode, errors=done.stderr)
        """
    )

    assert facts["status"] == 1
    assert "would be gone with this process" in facts["errors"]
