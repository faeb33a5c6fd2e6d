"""The io controller: devices by path, lines that are written one by one, statistics of disks."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, ERANGE
from pathlib import PurePosixPath
from typing import Any

import attrs
import pytest

from cgctl.controllers import CONTROLLERS, Io, IoCostQos, IoDevice, IoMax, IoStats
from cgctl.controllers.io._codecs import device_lines
from cgctl.controllers.io._disks import looks, resolved, scheduler
from cgctl.controllers.io._stats import named
from cgctl.diagnose import explain
from cgctl.errors import SpecError, StepError, UnsupportedError
from cgctl.layout import Layout
from cgctl.plan import Snapshot, Write
from cgctl.units import MAX
from tests.unit.machine import Machine, v1, v2
from tests.unit.refusals import says

BLKIO = "/v1/blkio/a/blkio.throttle"
MOUNTS = """\
25 1 254:0 / / rw,noatime - ext4 /dev/vda rw
27 25 0:24 / /tmp rw,relatime - tmpfs tmp rw,inode64
40 25 0:45 / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
41 25 0:46 / /volume rw - btrfs /dev/vdb rw,space_cache=v2,subvolid=5,subvol=/
42 25 0:47 / /far rw - nfs4 server:/export rw,vers=4.2
"""
# What a machine with a disk vda, and a disk sda that has a partition, answers.
ANSWERS: dict[str, bytes | int] = {
    "stat:/dev/vda": b"b 254:0 on 0:6 mount 22\n",
    "stat:/dev/sda1": b"b 8:1 on 0:6 mount 22\n",
    "stat:/home/data": b"- on 8:1 mount 26\n",
    "stat:/dev/null": b"c 1:3 on 0:6 mount 22\n",
    "stat:/tmp": b"- on 0:24 mount 27\n",
    "stat:/merged": b"- on 0:45 mount 40\n",
    "stat:/volume": b"- on 0:52 mount 41\n",  # a subvolume's own number, which is in no mountinfo
    "stat:/far": b"- on 0:47 mount 42\n",
    "stat:/lost": b"- on 0:99 mount 99\n",
    "stat:/nope": ENOENT,
    "stat:/secret": EACCES,
    "/proc/self/mountinfo": MOUNTS.encode(),
    "/sys/dev/block/254:0/partition": ENOENT,
    "/sys/dev/block/254:0/queue/scheduler": b"none [bfq] mq-deadline\n",
    "/sys/dev/block/8:0/partition": ENOENT,
    "/sys/dev/block/8:0/queue/scheduler": b"[none] bfq\n",
    "/sys/dev/block/8:1/partition": b"1\n",
    "/sys/dev/block/8:1/../dev": b"8:0\n",
    "/sys/dev/block/99:0/partition": ENOENT,
    "/sys/dev/block/99:0/queue/scheduler": ENOENT,
}


def _resolved(spec: Io) -> tuple[Io, int]:
    """Look, in as many rounds as it takes, until nothing more is wanted."""
    read: dict[str, bytes | int] = {}
    for rounds in range(9):
        wanted = set(looks(spec, read)) - read.keys()
        if not wanted:
            return resolved(spec, read), rounds
        read |= {path: ANSWERS[path] for path in wanted}
    raise AssertionError


class TestDisks:
    """Which disk is meant."""

    @pytest.mark.parametrize(
        ("name", "number", "rounds"),
        [
            ("/dev/vda", "254:0", 2),
            ("254:0", "254:0", 1),
            ("/dev/sda1", "8:0", 3),
            ("8:1", "8:0", 2),
            ("/home/data", "8:0", 3),
            ("99:0", "99:0", 1),
        ],
    )
    def test_names(self, name: str, number: str, rounds: int) -> None:
        """Disks, numbers, partitions and paths on them are the disk's number."""
        assert _resolved(Io(max={name: "1M"})) == (Io(max={number: "1M"}), rounds)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("/dev/null", "it is a character device"),
            ("/nope", "cannot be looked up (ENOENT)"),
            ("/secret", "cannot be looked up (EACCES)"),
            ("/tmp", "tmpfs at /tmp is in memory and has no disk; name a disk"),  # noqa: S108 - only a name
            (
                "/merged",
                "overlay at /merged shows files of other filesystems; name the disk that its upper directory /u",
            ),
            ("/volume", "btrfs at /volume may be on several disks, and does not say which; name the disk (/dev/vdb)"),
            ("/far", "nfs4 at /far (server:/export) is on no block device"),
            ("/lost", "it lies on no block device"),
        ],
    )
    def test_refusals(self, name: str, words: str) -> None:
        """What is on no disk is refused by name, with the reason."""
        with says(UnsupportedError, f"io.latency of {name} is not supported", words):
            _resolved(Io(latency={name: 5}))

    def test_one_disk_twice(self) -> None:
        """Two names of one disk may say the same, or what goes together, and nothing else."""
        parts = {"/dev/sda1": IoMax(rbps=5, wiops=7), "8:0": IoMax(wbps=6, wiops=7)}
        assert _resolved(Io(max=parts))[0] == Io(max={"8:0": IoMax(rbps=5, wbps=6, wiops=7)})
        assert _resolved(Io(max={"/dev/sda1": 5, "8:0": 5}))[0] == Io(max={"8:0": 5})
        with says(SpecError, "'8:0' is on disk 8:0, which was named before otherwise"):
            _resolved(Io(max={"/dev/sda1": 5, "8:0": 6}))
        with says(SpecError, "io.device_weight: '8:0' is on disk 8:0"):
            _resolved(Io(device_weight={"/dev/sda1": 5, "8:0": 6}))

    def test_schedulers(self) -> None:
        """Weights of disks under BFQ are told from the others."""
        spec, _ = _resolved(Io(device_weight={"/dev/vda": 200, "/dev/sda1": 300, "99:0": 7}))

        assert spec.bfq_disks == {"254:0"}
        assert spec.device_weight == {"254:0": 200, "8:0": 300, "99:0": 7}
        assert [scheduler(text) for text in ("none [bfq] x\n", "none\n", "")] == ["bfq", "", ""]

    def test_nothing_to_look_at(self) -> None:
        """A spec without disks needs nothing."""
        assert list(looks(Io(weight=5, prio_class="idle"), {})) == []


class TestSpec:
    """What is nonsense."""

    @pytest.mark.parametrize(
        ("keywords", "words"),
        [
            ({"weight": 0}, "io.weight=0: out of range"),
            ({"weight": 10_001}, "io.weight=10001: out of range"),
            (
                {"device_weight": {"vda": 5}},
                "io.device_weight: 'vda' is not a device; give its path such as '/dev/vda'",
            ),
            ({"device_weight": {"/dev/vda": "none"}}, "io.device_weight of '/dev/vda'='none': not a whole number"),
            ({"max": "/dev/vda"}, "io.max='/dev/vda': '/dev/vda' is not DEVICE:VALUE"),
            ({"max": 5}, "io.max=5: not a mapping of devices"),
            ({"max": {"/dev/vda": None}}, "io.max of '/dev/vda'=None: not a size"),
            ({"max": {"/dev/vda": 0}}, "io.max of '/dev/vda'=0: v1 would read this as no limit"),
            ({"max": {"8:0:1": 5}}, "'8:0:1' is not a device"),
            ({"max": {"a\0b": 5}}, "is not a device"),
            ({"max": {"/a\0b": 5}}, "is not a device"),
            ({"max": {8: 5}}, "io.max: 8 is not a device"),
            ({"max": {"/a": 5, PurePosixPath("/a"): 5}}, "io.max: '/a' is named twice"),
            ({"latency": {"/a": -1}}, "io.latency of '/a'=-1: out of range"),
            ({"prio_class": "rt"}, "io.prio_class='rt': not one of the kernel's words"),
            ({"cost_qos": {"/a": "on"}}, "io.cost_qos of '/a'='on': not a IoCostQos"),
            ({"cost_qos": {"/a": "rpct=101x"}}, "io.cost_qos.rpct='101x': not a percentage"),
            ({"cost_qos": {"/a": "enable=2"}}, "io.cost_qos.enable='2': not a flag"),
            (
                {"cost_qos": {"/a": "ctrl=me"}},
                "io.cost_qos.ctrl='me': not one of the kernel's words; give 'auto' or 'user'",
            ),
            ({"cost_model": {"/a": "rbps=0"}}, "io.cost_model.rbps='0': out of range"),
            ({"cost_model": {"/a": "model=square"}}, "io.cost_model.model='square'"),
        ],
    )
    def test_refused(self, keywords: dict[str, Any], words: str) -> None:
        """Each field names the value, the rule and the remedy."""
        with says(SpecError, words):
            Io(**keywords)

    @pytest.mark.parametrize("key", ["rbps", "wbps", "riops", "wiops"])
    def test_limits(self, key: str) -> None:
        """Zero is no limit, the greatest number is none at all."""
        most = 2**64 - 1 if key.endswith("bps") else 2**32 - 1
        with says(SpecError, f"io.max.{key}=0: v1 would read this as no limit, and v2 refuses it; give at least 1"):
            IoMax(**{key: 0})

        assert IoMax(**{key: most}) == IoMax(**{key: MAX}) == IoMax(**{key: "max"})
        assert getattr(IoMax(**{key: most - 1}), key) == most - 1

    def test_shorthand(self) -> None:
        """A size is bytes read and bytes written, each; a mapping may be in words."""
        both = Io(max={"/dev/vda": IoMax(rbps=10 << 20, wbps=10 << 20)})

        assert CONTROLLERS["io"].parse({"/dev/vda": "10M"}) == both
        assert CONTROLLERS["io"].parse("/dev/vda:10M") == both
        assert CONTROLLERS["io"].parse({PurePosixPath("/dev/vda"): "10M"}) == both
        assert CONTROLLERS["io"].parse("8:0:max, /x:5") == Io(max={"8:0": MAX, "/x": 5})

    def test_there_and_back(self) -> None:
        """A spec is the whole of its rows."""
        controller = CONTROLLERS["io"]
        spec = Io(
            weight=50,
            device_weight={"8:0": 7, "8:16": "default"},
            max={"8:0": IoMax(rbps=1, wiops=MAX), "8:16": IoMax(wbps=5)},
            latency={"8:0": 5},
            cost_qos={"8:0": IoCostQos(enable=True)},
        )

        assert controller.join(controller.split(spec)) == spec
        assert controller.join(controller.split(attrs.evolve(spec, bfq_disks=frozenset({"8:0"})))) == spec
        assert set(controller.split(Io()).values()) == {None}


class TestPlan:
    """Which lines are written."""

    def _machine(self, version: int) -> Machine:
        machine = Machine(Layout((v1("blkio"), v1("freezer"))) if version == 1 else Layout((v2("io"),)))
        machine.files |= {path: value.decode() for path, value in ANSWERS.items() if isinstance(value, bytes)}
        return machine

    def test_v2_writes_four_limits_together(self) -> None:
        """One line a device, all four limits in each, and only of those that change."""
        machine = self._machine(2)
        assert machine.make("a", io={"/dev/vda": "1M"})[-1] == (
            "write b'254:0 rbps=1048576 wbps=1048576 riops=max wiops=max' to /v2/a/io.max"
        )
        machine.files["/v2/a/io.max"] = "254:0 rbps=1048576 wbps=1048576 riops=max wiops=max\n"
        more = Io(max={"/home/data": IoMax(riops=7), "/dev/vda": IoMax(wbps=MAX)})

        assert machine.steps("a", io={"/dev/vda": "1M"}) == []
        assert machine.steps("a", io=more) == [
            "write b'254:0 rbps=1048576 wbps=max riops=max wiops=max' to /v2/a/io.max",
            "write b'8:0 rbps=max wbps=max riops=7 wiops=max' to /v2/a/io.max",
        ]

    def test_v1_writes_each_limit(self) -> None:
        """Each limit has its file; 0 takes one away, and what is not named stays."""
        machine = self._machine(1)
        machine.make("a", io={"/dev/vda": IoMax(rbps="1M", riops=5)})
        machine.files[f"{BLKIO}.write_bps_device"] = "8:0 4096\n"

        assert machine.steps("a", io={"254:0": IoMax(rbps="1M", wbps=MAX)}) == []
        assert machine.steps("a", io={"254:0": IoMax(rbps=MAX, wiops=9), "/dev/sda1": IoMax(wbps=4096)}) == [
            f"write b'254:0 0' to {BLKIO}.read_bps_device",
            f"write b'254:0 9' to {BLKIO}.write_iops_device",
        ]

    def test_weights_go_to_both_files(self) -> None:
        """Whichever of iocost and BFQ has a disk, the weight is there, on its scale."""
        assert self._machine(2).make("a", io=Io(weight=10_000))[-2:] == [
            "write b'default 10000' to /v2/a/io.weight",
            "write b'default 1000' to /v2/a/io.bfq.weight",
        ]
        assert self._machine(1).make("a", io=Io(weight=10_000))[-1] == "write b'1000' to /v1/blkio/a/blkio.bfq.weight"

    @pytest.mark.parametrize("missing", ["io.weight", "io.bfq.weight"])
    def test_one_file_of_weights_is_enough(self, missing: str) -> None:
        """A kernel may have only one of them, which is seen in a group that is there, and else when it is written."""
        machine = self._machine(2)
        steps = machine.plan(machine.request("a", io=Io(weight=50)))
        machine.make("a", io=Io())
        del machine.files[f"/v2/a/{missing}"]
        (other,) = {"io.weight", "io.bfq.weight"} - {missing}

        assert [step.instead for step in steps if isinstance(step, Write) and step.path == f"/v2/a/{missing}"] == [
            f"/v2/a/{other}"
        ]
        assert machine.steps("a", io=Io(weight=50)) == [f"write b'default 50' to /v2/a/{other}"]
        del machine.files[f"/v2/a/{other}"]
        with says(UnsupportedError, "io.weight is not supported here", "neither io.weight", "modprobe bfq"):
            machine.steps("a", io=Io(weight=50))

    def test_weights_of_disks_go_to_their_scheduler(self) -> None:
        """BFQ's disks are in its file, the others in iocost's."""
        steps = self._machine(2).make("a", io=Io(device_weight={"/dev/vda": 200, "/dev/sda1": 200}))

        assert steps[-2:] == ["write b'8:0 200' to /v2/a/io.weight", "write b'254:0 109' to /v2/a/io.bfq.weight"]

    def test_iocost_is_the_root_groups(self) -> None:
        """Elsewhere the kernel has no such file, and the refusal says where it is."""
        machine = self._machine(2)
        machine.make("a", io=Io())
        del machine.files["/v2/a/io.cost.qos"]
        with says(UnsupportedError, "io.cost_qos", "io.cost.qos is in v2's root group alone", "System.detect().root()"):
            machine.steps("a", io=Io(cost_qos={"8:0": "enable=1"}))


class TestTexts:
    """What kernels write."""

    def test_lines(self) -> None:
        """Devices that are silent are left out, also where their lines are not ended."""
        text = "7:7 \n7:6 7:5 254:0 rbytes=1 wbytes=2\n8:0 rbytes=3\n"

        assert device_lines(text) == {"254:0": "rbytes=1 wbytes=2", "8:0": "rbytes=3"}
        assert device_lines("") == device_lines("7:7 7:6\n7:5\n") == {}

    def test_io_stat(self) -> None:
        """Known keys have their attribute, the others are kept."""
        text = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.vrate=99.50 cost.usage=7 use_delay=0\n"

        assert _told(2, {"io.stat": text}) == {
            "8:0": IoDevice(
                rbytes=1,
                wbytes=2,
                rios=3,
                wios=4,
                dbytes=5,
                dios=6,
                cost_vrate=99.5,
                cost_usage_usec=7,
                extra={"use_delay": "0"},
            )
        }

    def test_v1_counters(self) -> None:
        """Of throttle and BFQ, whichever counted more; their sum would count twice."""
        texts = {
            "blkio.throttle.io_service_bytes_recursive": "8:0 Read 5\n8:0 Write 0\n8:0 Sync 5\n8:0 Total 5\nTotal 5\n",
            "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 0\nTotal 1\n",
            "blkio.bfq.io_service_bytes_recursive": "8:0 Read 4\n8:0 Write 9\n8:0 Discard 2\n8:16 Async 1\nTotal 1\n",
        }

        assert _told(1, texts) == {
            "8:0": IoDevice(rbytes=5, wbytes=9, dbytes=2, rios=1, wios=0, extra={"sync_bytes": "5"}),
            "8:16": IoDevice(extra={"async_bytes": "1"}),
        }
        assert _told(1, {"blkio.throttle.io_service_bytes_recursive": "Total 0\n"}) == {}

    def test_names(self) -> None:
        """Names are put beside the numbers, where there are any."""
        stats = IoStats(devices={"8:0": IoDevice(rios=1), "8:16": IoDevice()})

        assert named(stats, {"8:0": "sda"}.get).devices == {"8:0": IoDevice(name="sda", rios=1), "8:16": IoDevice()}
        assert named(IoStats(), str) == IoStats()

    def test_weights_of_v1(self) -> None:
        """v1 prints the default among the disks."""
        row = CONTROLLERS["io"].row("device_weight").v1
        assert row is not None

        assert row.codec.decode("default 100\n8:0 109\n", {}) == {"8:0": 199}
        assert row.codec.same("default 100\n8:0 109\n", "8:0 109", 4096)
        assert row.codec.same("default 100\n", "8:0 default", 4096)
        assert not row.codec.same("default 100\n8:0 5\n", "8:0 default", 4096)


def _told(version: int, texts: dict[str, str]) -> Any:
    side = next(row for row in CONTROLLERS["io"].readings if row.attribute == "devices").side(version)
    assert side is not None
    return side.codec.decode(texts[side.file], texts)


@pytest.mark.parametrize(
    ("path", "data", "errno", "words"),
    [
        ("/v2/a/io.max", b"99:0 rbps=5", ENODEV, ("there is no disk 99:0", "lsblk")),
        (
            "/v2/a/io.max",
            b"8:0 rbps=1 wbps=max",
            EINVAL,
            ("does not take", "before Linux 6.18 io.max takes no limit of 1"),
        ),
        ("/v2/a/io.max", b"8:0 rbps=10", EINVAL, ("does not take 'rbps=10' in io.max; give another",)),
        ("/v2/a/io.weight", b"8:0 50", EOPNOTSUPP, ("iocost does not keep weights on disk 8:0", "io.cost_qos", "BFQ")),
        ("/v2/a/io.bfq.weight", b"8:0 50", EOPNOTSUPP, ("the scheduler of disk 8:0 is not BFQ", "echo bfq >")),
        ("/v1/blkio/a/blkio.bfq.weight_device", b"8:0 50", EOPNOTSUPP, ("/sys/dev/block/8:0/queue/scheduler",)),
        ("/v2/a/io.bfq.weight", b"2000", ERANGE, ("'2000' is out of the range of io.bfq.weight",)),
    ],
)
def test_refusals_are_explained(path: str, data: bytes, errno: int, words: tuple[str, ...]) -> None:
    """Each errno of these files has its cause and remedy."""
    error = explain(Write(path=path, data=data), errno, Snapshot({f"{path.rpartition('/')[0]}/cgroup.procs": b""}))

    assert isinstance(error, StepError)
    assert all(word in str(error) for word in words)
