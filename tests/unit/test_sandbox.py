"""Sandboxes as specs, and the steps that make them: no kernel is asked."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest

from cgctl.errors import SpecError
from cgctl.launch.blame import explain
from cgctl.launch.capabilities import CAPABILITIES
from cgctl.launch.obstacles import of_namespaces
from cgctl.launch.plan import AT_BIRTH, PRIVILEGES, Step, plan
from cgctl.launch.sandbox import MASKED, NAMESPACES, READ_ONLY, Mount, Sandbox, Veth

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


class TestSpec:
    """What is asked for, and what that brings."""

    @pytest.mark.parametrize(
        ("keywords", "kinds"),
        [
            ({}, ""),
            ({"namespaces": "all"}, "cgroup ipc mnt net pid time user uts"),
            ({"namespaces": "pid,ipc"}, "ipc pid"),
            ({"namespaces": ["net"]}, "net"),
            ({"hostname": "x"}, "uts"),
            ({"domainname": "x"}, "uts"),
            ({"network": "none"}, "net"),
            ({"network": "host"}, ""),
            ({"namespaces": "all", "network": "host"}, "cgroup ipc mnt pid time user uts"),
            ({"time_offsets": {"boottime": 1}}, "time"),
            ({"root": "x"}, "mnt"),
            ({"root": "x", "chroot": True}, ""),
            ({"mounts": [Mount("/x", type="tmpfs")]}, "mnt"),
            ({"tmp": "1M"}, "mnt"),
            ({"init": True}, "pid"),
            ({"uid_map": (0, 1, 1), "gid_map": (0, 1, 1)}, "user"),
        ],
    )
    def test_kinds(self, keywords: dict[str, Any], kinds: str) -> None:
        """What else is asked for brings the namespaces that it takes."""
        assert sorted(Sandbox(**keywords).kinds) == kinds.split()

    def test_confined(self) -> None:
        """Any namespace or root drops privileges, unless they are asked for."""
        nothing, rooted = Sandbox(), Sandbox(root="x", chroot=True)

        assert (nothing.confined, nothing.keep, nothing.has_own_session) == (False, None, False)
        assert (rooted.confined, rooted.keep, rooted.has_own_session) == (True, (), True)
        assert Sandbox(capabilities="all", hostname="x").keep == CAPABILITIES
        assert Sandbox(capabilities=["cap_net_raw", "CHOWN"]).keep == ("CHOWN", "NET_RAW")

    def test_is_a_value(self) -> None:
        """Equal where the same was said, however; it can be stored and sent."""
        one = Sandbox(namespaces=["pid", "mnt"], time_offsets={"boottime": "+7d"}, tmp="1M")
        other = Sandbox(namespaces="mnt pid", time_offsets={"boottime": 604_800}, tmp=1 << 20)

        assert one == other == pickle.loads(pickle.dumps(one))  # noqa: S301 - our own
        assert hash(one) == hash(other)

    def test_can_be_changed(self) -> None:
        """attrs.evolve leaves the rest as it is."""
        mounts = [Mount("/x", type="tmpfs"), Mount("/y", "z", read_only=True)]
        keywords: dict[str, Any] = {"tmp": "1M", "mounts": mounts, "capabilities": ["CHOWN"], "join": {"net": 7}}
        one = Sandbox(time_offsets={"boottime": "7d"}, uid_map=(0, 5, 1), gid_map=(0, 6, 1), **keywords)

        assert attrs.evolve(one, hostname="x") == attrs.evolve(attrs.evolve(one, hostname="x"), hostname="x")
        assert attrs.evolve(attrs.evolve(one, hostname="x"), hostname=None) == one

    @pytest.mark.parametrize(
        ("offset", "usec"), [("+7d", 604_800_000_000), ("-50ms", -50_000), (-1.5, -1_500_000), (2, 2_000_000), ("0", 0)]
    )
    def test_offsets(self, offset: Any, usec: int) -> None:
        """Forth and back, as durations are given."""
        assert Sandbox(time_offsets={"monotonic": offset}).time_offsets == (("monotonic", usec),)

    def test_rlimits(self) -> None:
        """By name; one number is both limits; a changed sandbox has them still."""
        sandbox = Sandbox(rlimits={"RLIMIT_NOFILE": 64, "cpu": (1, -1)})

        assert attrs.evolve(sandbox, umask=0).rlimits == (("cpu", (1, -1)), ("nofile", (64, 64)))

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"namespaces": ["pdi"]}, r"namespaces: there is none of the kind 'pdi'; they are cgroup, ipc"),
            ({"namespaces": 7}, r"none of the kind 7"),
            ({"network": "bridge"}, r"network='bridge': it is 'none', 'host' or a cgctl.Veth"),
            ({"root": ""}, r"root='': not a path"),
            ({"root": "a\0b"}, r"not a path"),
            ({"root": 7}, r"root=7: not a path"),
            ({"chroot": True}, r"chroot=True without root"),
            ({"read_only": True}, r"read_only=True without root"),
            ({"read_only": True, "chroot": True, "root": "x"}, r"it takes a mount namespace"),
            ({"hostname": ""}, r"a name has 1 to 64 characters"),
            ({"hostname": "x" * 65}, r"a name has 1 to 64"),
            ({"hostname": "a b"}, r"hostname='a b': not a name"),
            ({"domainname": 7}, r"domainname=7: not a name"),
            ({"time_offsets": {"realtime": 1}}, r"there is no clock 'realtime' that can be shifted"),
            ({"time_offsets": {"boottime": "soon"}}, r"not a time span"),
            ({"uid_map": (0, 1, 1)}, r"uid_map and gid_map go together"),
            ({"uid_map": [(0, 1)], "gid_map": (0, 1, 1)}, r"uid_map: \(0, 1\) is not \(first inside"),
            ({"uid_map": [(0, 1, 5), (4, 90, 1)], "gid_map": (0, 1, 1)}, r"the ids inside from 4 on are in two ranges"),
            ({"uid_map": (0, 1, 1), "gid_map": [(0, 7, 5), (9, 11, 1)]}, r"gid_map: the ids outside from 11 on"),
            ({"uid_map": (-1, 1, 1), "gid_map": (0, 1, 1)}, r"leaves the ids from 0"),
            ({"uid_map": (0, 1, 0), "gid_map": (0, 1, 1)}, r"leaves the ids"),
            ({"uid_map": (0, 2**32 - 5, 9), "gid_map": (0, 1, 1)}, r"leaves the ids"),
            ({"uid_map": [], "gid_map": (0, 1, 1)}, r"give 1 to 340 ranges"),
            ({"capabilities": ["FLY"]}, r"there is none of the name 'FLY'"),
            ({"capabilities": 7}, r"capabilities=7: give names"),
            ({"mounts": ["/x"]}, r"'/x' is not a cgctl.Mount"),
            ({"masked": ["proc/x"]}, r"not an absolute path"),
            ({"overlay": True}, r"overlay takes a root"),
            ({"overlay": True, "root": "x", "chroot": True}, r"overlay takes a root that is mounted"),
            ({"overlay": 7, "root": "x"}, r"overlay=7: not a path"),
            ({"join": {"nte": 1}}, r"join: there is none of the kind 'nte'"),
            ({"join": {"net": -1}}, r"join\['net'\]=-1: give a process id, a path"),
            ({"join": {"net": 1}, "network": "none"}, r"cannot be joined and new at once"),
            ({"tmp": 0}, r"tmp=0 is no limit"),
            ({"user": -1}, r"user=-1: give a name or a number"),
            ({"group": ""}, r"group='': give a name"),
            ({"extra_groups": [1.5]}, r"extra_groups=1\.5: give a name"),
            ({"umask": 0o1000}, r"umask=512: give a mode"),
            ({"umask": "077"}, r"umask='077': give a mode"),
            ({"rlimits": {"files": 1}}, r"rlimits: there is none of the name 'files'; they are as, core"),
            ({"rlimits": {7: 1}}, r"there is none of the name 7"),
            ({"rlimits": {"nofile": "many"}}, r"rlimits\['nofile'\]='many': give a number"),
            ({"rlimits": {"nofile": (1, 2, 3)}}, r"rlimits\['nofile'\].*the soft and the hard"),
            ({"tty": True, "new_session": False}, r"tty=True with new_session=False"),
            ({"tmp": "much"}, r"tmp='much': not a size"),
        ],
    )
    def test_nonsense(self, keywords: dict[str, Any], message: str) -> None:
        """Each names the value, the rule and the remedy."""
        with pytest.raises(SpecError, match=message):
            Sandbox(**keywords)


class TestMount:
    """One mount."""

    def test_is_a_bind_mount_by_default(self) -> None:
        """A source makes it one; a tmpfs has a size in any case."""
        assert Mount("/x//y/", "outside").target == "/x/y"
        assert Mount("/x", type="tmpfs").size == 64 << 20

    @pytest.mark.parametrize(
        ("arguments", "keywords", "message"),
        [
            (("x",), {"type": "tmpfs"}, r"target='x': not an absolute path"),
            (("/a/../b",), {"type": "tmpfs"}, r"'\.\.' is not allowed"),
            (("/",), {"type": "tmpfs"}, r"the root is what root= says"),
            ((7,), {"type": "tmpfs"}, r"target=7"),
            (("/x",), {}, r"a bind mount has a source"),
            (("/x",), {"type": "ext4"}, r"type='ext4': not a kind of mount; they are bind, cgroup2"),
            (("/x", "y"), {"type": "tmpfs"}, r"nothing else has one"),
            (("/x", "y"), {"size": "1M"}, r"size is for tmpfs"),
            (("/x",), {"type": "tmpfs", "size": 0}, r"size=0 is no limit"),
        ],
    )
    def test_nonsense(self, arguments: Any, keywords: dict[str, Any], message: str) -> None:
        """Each names what is wrong."""
        with pytest.raises(SpecError, match=message):
            Mount(*arguments, **keywords)


class TestVeth:
    """An interface of its own."""

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"address": "10.0.0.2"}, r"without the length of a prefix"),
            ({"address": "10.0.0/24"}, r"not an address with a prefix"),
            ({"address": "10.0.0.2/24", "gateway": "10.0.1.1"}, r"another address of the network 10.0.0.0/24"),
            ({"address": "10.0.0.2/24", "gateway": "10.0.0.2"}, r"another address"),
            ({"address": "10.0.0.2/24", "gateway": "up"}, r"gateway='up': not an address"),
            ({"address": "10.0.0.2/24", "name": "a/b"}, r"name='a/b': not the name of an interface"),
            ({"address": "10.0.0.2/24", "host_name": "x" * 16}, r"1 to 15 characters"),
        ],
    )
    def test_nonsense(self, keywords: dict[str, Any], message: str) -> None:
        """Each names what is wrong."""
        with pytest.raises(SpecError, match=message):
            Veth(**keywords)

    def test_steps(self) -> None:
        """As a person would type them; it takes a network namespace."""
        sandbox = Sandbox(network=Veth(address="10.0.0.2/24", gateway="10.0.0.1"))
        (step,) = (step for step in plan(sandbox) if step.verb == "veth")

        assert (sorted(sandbox.kinds), sandbox.waits) == (["net"], True)
        assert str(step).split("; ") == [
            "ip link add cg$PID type veth peer name eth0 netns $PID",
            "ip link set cg$PID up",
            "ip addr add 10.0.0.1/24 dev cg$PID",
            "ip addr add 10.0.0.2/24 dev eth0",
            "ip link set eth0 up",
            "ip route add default via 10.0.0.1",
        ]


class TestPlan:
    """The steps, in order."""

    def test_nothing(self) -> None:
        """Nothing is done for nothing."""
        assert len(plan(Sandbox())) == 0

    def test_all(self) -> None:
        """The whole of it, as a person would type it."""
        sandbox = Sandbox(
            namespaces="all",
            root="app",
            read_only=True,
            hostname="test01",
            time_offsets={"boottime": "7d"},
            mounts=[Mount("/data", "/srv/my data", read_only=True)],
            masked=["/proc/kcore", "/sys/firmware"],
            read_only_paths=["/proc/sys"],
            capabilities=["NET_RAW"],
        )

        assert str(plan(sandbox)).splitlines() == [
            "unshare --mount --uts --ipc --user --pid --net --fork",
            "echo 0 $UID 1 > /proc/$PID/uid_map; echo 0 $GID 1 > /proc/$PID/gid_map",
            "unshare --cgroup",
            "unshare --time  # boottime 604800 0",
            "setpriv --reuid 0 --regid 0",
            "hostname test01",
            "ip link set lo up",
            "mount --make-rprivate /",
            "mount --rbind app app; mount -o remount,bind,ro app; ROOT=app",
            "mount -t proc -o nosuid,nodev,noexec proc $ROOT/proc",
            "mount -t tmpfs -o nosuid,noexec,mode=755,size=65536 tmpfs $ROOT/dev",
            *(f"mount --bind /dev/{name} $ROOT/dev/{name}" for name in DEVICES),
            "ln -s /proc/self/fd $ROOT/dev/fd",
            *(f"ln -s /proc/self/fd/{fd} $ROOT/dev/{name}" for fd, name in enumerate(("stdin", "stdout", "stderr"))),
            "ln -s pts/ptmx $ROOT/dev/ptmx",
            "mount -t devpts -o nosuid,noexec,mode=620,ptmxmode=666 devpts $ROOT/dev/pts",
            "mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=67108864 tmpfs $ROOT/dev/shm",
            "mount -t mqueue -o nosuid,nodev,noexec mqueue $ROOT/dev/mqueue",
            "mount --rbind -o ro,nosuid,nodev '/srv/my data' $ROOT/data",
            "[ ! -e /proc/sys ] || mount -o bind,ro /proc/sys /proc/sys",
            "[ ! -e /proc/kcore ] || mount --bind /dev/null /proc/kcore  # or an empty directory",
            "cd $ROOT; pivot_root . .; umount -l .; cd /",
            "setsid",
            "setpriv --bounding-set -all,+net_raw",
            "setpriv --inh-caps -all,+net_raw --ambient-caps -all,+net_raw",
            "setpriv --no-new-privs",
            "setpriv --seccomp-filter FILE  # cgctl's default one",
        ]

    @pytest.mark.parametrize("kind", NAMESPACES)
    def test_one_kind(self, kind: str) -> None:
        """Each has its step, at birth or later; privileges are last."""
        steps = list(plan(Sandbox(namespaces=[kind])))
        born = [step.arguments[0] for step in steps if step.verb == "born"]

        assert born == ([AT_BIRTH[kind]] if kind in AT_BIRTH else [])
        assert [step.verb for step in steps][-5:] == ["setsid", "capbset", "capset", "no_new_privs", "seccomp"]

    def test_what_is_hidden_is_hidden_last(self) -> None:
        """After all mounts, and before the root changes: then nobody can look behind it."""
        verbs = [step.verb for step in plan(Sandbox(namespaces="all", root="x", mounts=[Mount("/sys", type="sysfs")]))]

        assert verbs.index("mask") > max(verbs.index("bind") if "bind" in verbs else 0, verbs.index("mount"))
        assert verbs.index("pivot") == len(verbs) - 1 - verbs[::-1].index("mask") + 1
        assert verbs.count("mask") == len(MASKED)
        assert verbs.count("read_only") == len(READ_ONLY)

    def test_without_a_fresh_proc(self) -> None:
        """What is the caller's own is left as it is."""
        verbs = {step.verb for step in plan(Sandbox(root="x"))}

        assert not {"mask", "read_only"} & verbs

    def test_plain_chroot(self) -> None:
        """No mount, no pivot_root."""
        assert [step.verb for step in plan(Sandbox(root="x", chroot=True)).inside()] == ["open_root", "chroot"]
        assert [step.verb for step in plan(Sandbox(root="x", chroot=True, namespaces=["mnt"]))][-6] == "chroot"

    def test_privileges_have_a_place_of_their_own(self) -> None:
        """They are not among the steps of the view."""
        steps = plan(Sandbox(namespaces="all"))

        assert {step.verb for step in steps} - {step.verb for step in steps.inside()} <= PRIVILEGES


class TestObstacles:
    """What keeps an ordinary user from having namespaces, as the machine's settings say."""

    @pytest.mark.parametrize(
        ("path", "value", "words"),
        [
            ("kernel/unprivileged_userns_clone", "0\n", "set sysctl kernel.unprivileged_userns_clone=1"),
            ("user/max_user_namespaces", "0\n", "raise sysctl user.max_user_namespaces"),
            ("user/max_net_namespaces", "0\n", "raise sysctl user.max_net_namespaces"),
            ("kernel/apparmor_restrict_unprivileged_userns", "1\n", "a 'userns,' profile"),
            ("kernel/apparmor_restrict_unprivileged_userns", "0\n", "a seccomp filter"),
        ],
    )
    def test_settings(self, tmp_path: Path, path: str, value: str, words: str) -> None:
        """The one that is in the way is named, with what to do."""
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(value)

        assert words in of_namespaces({"user", "net"}, str(tmp_path))

    def test_without_a_user_namespace(self, tmp_path: Path) -> None:
        """Then it is just privileges."""
        assert "add the user namespace" in of_namespaces({"net"}, str(tmp_path))


class TestBlame:
    """The probable cause of a step's failure."""

    @pytest.mark.parametrize(
        ("step", "number", "path", "kinds", "words"),
        [
            (Step("root_mount", ("x", 0)), errno.EACCES, "x", "mnt", "may not look into 'x'"),
            (Step("mount", ("proc",)), errno.EPERM, "/proc", "user mnt", "proc takes a pid namespace too"),
            (Step("mount", ("proc",)), errno.EPERM, "/proc", "user mnt pid", "hidden by mounts"),
            (Step("mount", ("proc",)), errno.EPERM, "/proc", "mnt", "run as root, or add the user namespace"),
            (Step("mount", ("tmpfs",)), errno.ELOOP, "/dev", "mnt", "is a link"),
            (Step("mount", ("mqueue",)), errno.ENODEV, "/x", "mnt", "no such file system"),
            (Step("device", ("null",)), errno.ENODEV, "/dev/null", "mnt", "not the device of that name"),
            (Step("pivot"), errno.EINVAL, "", "mnt", "chroot=True needs none"),
            (Step("time"), errno.ENOSYS, "", "time", "too old"),
            (Step("hostname"), errno.EIO, "/x", "uts", "/x"),
        ],
    )
    def test_says_what_to_do(self, step: Step, number: int, path: str, kinds: str, words: str) -> None:
        """Or at least what it was about."""
        assert words in explain(step, number, path, Sandbox(namespaces=kinds))
