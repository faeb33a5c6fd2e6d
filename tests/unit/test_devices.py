"""Device rules: what they mean, as a program, as text, and as v1's lists; three ways that must agree."""

from __future__ import annotations

import struct
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cgctl
from cgctl.bpf.assembly import R0, encode, leave, move
from cgctl.bpf.devices import ACCESS, TYPES, compile_rules, read_rules
from cgctl.bpf.machine import run
from cgctl.controllers import CONTROLLERS
from cgctl.controllers._device import NODES, DeviceRule
from cgctl.controllers.devices import DEVICES_DEFAULT, Devices, format_text, parse_text
from cgctl.errors import SpecError, UnsupportedError
from cgctl.plan import Snapshot, plan
from cgctl.units import MAX
from tests.unit import CALM
from tests.unit.machine import V1, V2, Machine
from tests.unit.refusals import says

# Few numbers, so that rules meet each other and the requests.
_MAJOR, _MINOR = st.sampled_from([0, 1, 5, 4095]), st.sampled_from([0, 3, 5, 1_048_575])
_SOME = st.sets(st.sampled_from("rwm"), min_size=1).map("".join)
_RULES = st.lists(
    st.builds(DeviceRule, st.sampled_from("abc"), _MAJOR | st.just("*"), _MINOR | st.just("*"), _SOME), max_size=6
)
_DEVICES = st.one_of(
    st.builds(Devices, allow=_RULES), st.builds(Devices, deny=_RULES), st.builds(Devices, allow=_RULES, deny=_RULES)
)
_REQUEST = st.tuples(st.sampled_from("bc"), _MAJOR, _MINOR, _SOME)


def _ask(code: bytes, type: str, major: int, minor: int, access: str) -> bool:
    word = sum(ACCESS[letter] for letter in access) << 16 | TYPES[type]
    return run(code, bytearray(struct.pack("=III", word, major, minor))) == 1


class TestProgram:
    """What the compiled program decides."""

    @CALM
    @given(_DEVICES, st.lists(_REQUEST, min_size=1, max_size=20))
    @example(Devices(allow=["c 1:3 rw"]), [("c", 1, 3, "r"), ("c", 1, 3, "rm"), ("b", 1, 3, "r"), ("c", 1, 5, "w")])
    @example(Devices(allow=["a"], deny=["c 1:3 w"]), [("c", 1, 3, "rw"), ("c", 1, 3, "r")])
    def test_is_the_rules(self, devices: Devices, requests: list[tuple[str, int, int, str]]) -> None:
        """For any rules and requests, the program answers what the rules say."""
        code = compile_rules(devices)

        assert [_ask(code, *request) for request in requests] == [devices.allows(*request) for request in requests]

    @CALM
    @given(_DEVICES)
    def test_reads_back(self, devices: Devices) -> None:
        """The rules can be read from the program, and are the same."""
        assert read_rules(compile_rules(devices)) == devices

    @pytest.mark.parametrize(
        "code",
        [
            b"",
            bytes(8),
            encode([move(R0, 1), leave()]),
            compile_rules(Devices(allow=["null"]))[:-8],
            compile_rules(Devices(allow=["null"])) + encode([leave()]),
            compile_rules(Devices(allow=["null"])).replace(struct.pack("=i", 3), struct.pack("=i", -3)),
            compile_rules(Devices(allow=["null"], deny=["zero"]))[8 * 6 :],
        ],
    )
    def test_others_are_not_read(self, code: bytes) -> None:
        """A program that is not exactly one of ours is refused, not guessed at."""
        with pytest.raises(ValueError, match=r"no program|whole number|out of range"):
            read_rules(code)


class TestRules:
    """What a rule may be, and what it means."""

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("null", DeviceRule("c", 1, 3)),
            ("urandom r", DeviceRule("c", 1, 9, "r")),
            ("pts", DeviceRule("c", 136, "*", "rwm")),
            ("/dev/nvidia0", DeviceRule(path="/dev/nvidia0")),
            ("/dev/a b  mr", DeviceRule(path="/dev/a b", access="rm")),
            ("c 136:* rw", DeviceRule("c", 136, "*", "rw")),
            ("b *:*", DeviceRule("b")),
            ("b 7:1", DeviceRule("b", 7, 1)),
            ("a", DeviceRule()),
            ("a 1:3 w", DeviceRule("a", 1, 3, "w")),
            (DeviceRule("b"), DeviceRule("b")),
        ],
    )
    def test_words(self, text: Any, rule: DeviceRule) -> None:
        """Names, paths, numbers; what is not said is everything."""
        assert DeviceRule.parse(text) == rule
        assert DeviceRule.parse(str(rule)) == rule

    @pytest.mark.parametrize("name", NODES)
    def test_names(self, name: str) -> None:
        """Each name has fixed numbers."""
        assert DeviceRule.parse(name).path == ""
        assert isinstance(DeviceRule.parse(name).major, int)

    @pytest.mark.parametrize(
        ("rules", "expected"),
        [
            (["a"], ["b *:* rwm", "c *:* rwm"]),
            (["c 1:3 r", "c 1:3 w"], ["c 1:3 rw"]),
            (["c 1:3 r", "c 1:* rw", "null w"], ["c 1:* rw"]),
            (["c 1:3 rwm", "c 1:* r"], ["c 1:* r", "c 1:3 rwm"]),
            (["c 5:1", "b 5:1", "/dev/x r", "c 1:3", "/dev/x w"], ["b 5:1 rwm", "c 1:3 rwm", "c 5:1 rwm", "/dev/x rw"]),
        ],
    )
    def test_canonical(self, rules: list[str], expected: list[str]) -> None:
        """One rule for each pair of numbers, none that another covers, sorted."""
        assert [str(rule) for rule in Devices(allow=rules).allow or ()] == expected

    @CALM
    @given(_RULES, _RULES, _REQUEST)
    def test_canonical_means_the_same(
        self, allow: list[DeviceRule], deny: list[DeviceRule], request_: tuple[str, int, int, str]
    ) -> None:
        """What is merged and left out changes no answer, but that two rules for the same numbers add up."""
        devices = Devices(allow=allow, deny=deny)
        kind, major, minor, access = request_
        about = [rule for rule in allow if rule.denies(kind, major, minor, "rwm")]
        exact = {(rule.major, rule.minor): "" for rule in about}
        for rule in about:
            exact[rule.major, rule.minor] += rule.access
        denied = any(rule.denies(*request_) for rule in deny)

        assert devices.allows(*request_) == (not denied and any({*access} <= {*each} for each in exact.values()))

    def test_default(self) -> None:
        """What is not said follows from what is; nothing said is nothing."""
        assert attrs.astuple(Devices(), recurse=False) == (None, None, None)
        assert Devices(allow=[]) == Devices(default="deny") == Devices(allow=(), deny=[], default="deny")
        assert Devices(deny="") == Devices(default="allow")
        assert Devices(allow=["null"], deny=["null m"]).default == "deny"
        assert Devices(deny="null, zero").deny == Devices(allow=["zero", "null"]).allow

    def test_docker(self) -> None:
        """The default set is that of docker's runtime."""
        assert [str(rule) for rule in DEVICES_DEFAULT] == [
            "b *:* m",
            *("c *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm"),
            *("c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"),
        ]
        assert cgctl.DEVICES_DEFAULT is DEVICES_DEFAULT

    @pytest.mark.parametrize(
        ("keywords", "fragments"),
        [
            ({"allow": "nul"}, ("devices.allow='nul'", "'nul' is no name that cgctl knows (null, ", "/dev/nul")),
            ({"allow": ["c 1:3 x"]}, ("devices.allow=['c 1:3 x']", "is not a rule", "'c 136:* rw'")),
            ({"allow": ["c 1 3"]}, ("is not a rule",)),
            ({"allow": ["d 1:3"]}, ("is not a rule",)),
            ({"allow": ["null\nzero"]}, ("is not a rule",)),
            ({"deny": ["c 4096:1 r"]}, ("devices.deny=", "devices: major='4096': out of range", "0 to 4095")),
            ({"deny": ["c 1:1048576"]}, ("devices: minor='1048576': out of range", "0 to 1048575")),
            ({"deny": ["c 1:3 rrw"]}, ("devices: access='rrw': not an access", "as 'rw'")),
            ({"allow": 7}, ("devices.allow=7: not a list of devices",)),
            ({"allow": DeviceRule("c")}, ("devices.allow=", "not a list of devices")),
            ({"allow": [b"null"]}, ("is not a rule",)),
            ({"default": "maybe"}, ("devices.default='maybe': not a default; give 'allow' or 'deny'",)),
            ({"default": True}, ("devices.default=True",)),
            ({"default": "allow", "allow": ["null"]}, ("c 1:3 rwm: with default='allow' all are allowed",)),
        ],
    )
    def test_nonsense(self, keywords: dict[str, Any], fragments: tuple[str, ...]) -> None:
        """Bad input is named, with the rule and the remedy."""
        with says(SpecError, *fragments):
            Devices(**keywords)

    @pytest.mark.parametrize(
        ("arguments", "fragment"),
        [
            (("x",), "type='x': not a type"),
            ((None,), "type=None"),
            (("c", -1), "major=-1: out of range"),
            (("c", True), "major=True: not a whole number"),
            (("c", 1, 2**20), "minor=1048576: out of range"),
            (("c", 1, None), "minor=None"),
            (("c", 1, 3, ""), "access='': not an access"),
            (("c", 1, 3, "rx"), "access='rx'"),
            (("c", 1, 3, ["r"]), "access=['r']"),
            (("c", 1, 3, "r", "/dev/null"), "path='/dev/null': beside a type or a number"),
            (("a", "*", "*", "r", "dev/null"), "path='dev/null': not an absolute path"),
            (("a", "*", "*", "r", "/dev/n\0"), "not an absolute path"),
            (("a", "*", "*", "r", 7), "path=7"),
        ],
    )
    def test_nonsense_in_a_rule(self, arguments: tuple[Any, ...], fragment: str) -> None:
        """The same for each attribute of a rule."""
        with says(SpecError, fragment):
            DeviceRule(*arguments)


class TestText:
    """The file ``@devices``."""

    @CALM
    @given(_DEVICES)
    def test_there_and_back(self, devices: Devices) -> None:
        """The text has all of the rules, and no others' programs."""
        assert parse_text(format_text(devices)) == devices
        assert parse_text(format_text(devices) + "\nother sd_devices\n") == devices

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "allow c 1:3 rwm",
            "deny a *:* rwm\ndeny a *:* rwm",
            "deny a *:* rwm\nallow /dev/null",
            "deny a *:* rwm\n\nallow c 1:3 r",
            "maybe a *:* rwm",
            "allow a *:* rwm\nallow c 1:3 r",
            "deny a *:* rwm\nallow c 1:3 x",
            "other x",
        ],
    )
    def test_nonsense(self, text: str) -> None:
        """What is no such text is refused."""
        with pytest.raises(SpecError):
            parse_text(text)


class _List:
    """The rules of v1, as security/device_cgroup.c has them."""

    def __init__(self) -> None:
        self.default = "allow"
        self.exceptions: dict[tuple[str, str], set[str]] = {}

    def write(self, file: str, line: str) -> None:
        """Write to devices.allow or devices.deny."""
        verdict = file.removeprefix("devices.")
        kind, numbers, access = line.split(" ")
        if kind == "a":
            self.default, self.exceptions = verdict, {}
        elif verdict == self.default:
            held = self.exceptions.get((kind, numbers), set())
            held -= {*access}
            if not held:
                self.exceptions.pop((kind, numbers), None)
        else:
            self.exceptions.setdefault((kind, numbers), set()).update(access)

    def text(self) -> str:
        """Read devices.list."""
        if self.default == "allow":
            return "a *:* rwm\n"
        return "".join(f"{kind} {numbers} {''.join(held)}\n" for (kind, numbers), held in self.exceptions.items())

    def devices(self) -> Devices:
        """Return what is in force."""
        rules = [f"{kind} {numbers} {''.join(held)}" for (kind, numbers), held in self.exceptions.items()]
        return Devices(deny=rules) if self.default == "allow" else Devices(allow=rules)


_ROW = CONTROLLERS["devices"].row("allow").v1
_LISTS = st.one_of(st.builds(Devices, allow=_RULES), st.builds(Devices, deny=_RULES))


def _change(kernel: _List, wanted: Devices, held: str | None) -> list[str]:
    assert _ROW is not None
    lines = _ROW.codec.pending(held, _ROW.codec.encode(wanted.allow, wanted), 4096)
    for line in lines:
        kernel.write(*_ROW.codec.route(_ROW.file, line))
    return list(lines)


class TestLists:
    """v1: from what devices.list reads to what is wanted."""

    @CALM
    @given(_LISTS, _LISTS)
    def test_ends_at_what_is_wanted(self, before: Devices, after: Devices) -> None:
        """Whatever is held, the lines lead to what is wanted, but for what v1 does not tell is denied."""
        kernel = _List()
        _change(kernel, before, None)
        assert kernel.devices() == before
        _change(kernel, after, kernel.text())

        if before.deny and after.deny:
            assert kernel.devices() == Devices(deny=[*before.deny, *after.deny])
        else:
            assert kernel.devices() == after

    @CALM
    @given(st.builds(Devices, allow=_RULES))
    def test_nothing_to_do(self, devices: Devices) -> None:
        """An allow-list that is held is not written again."""
        kernel = _List()
        _change(kernel, devices, None)

        assert _change(kernel, devices, kernel.text()) == []

    @CALM
    @given(st.builds(Devices, allow=_RULES), st.builds(Devices, allow=_RULES), _REQUEST)
    def test_never_less_than_both_ends(
        self, before: Devices, after: Devices, request_: tuple[str, int, int, str]
    ) -> None:
        """From allow-list to allow-list, a device that may be used before and after may be used at every moment."""
        assert _ROW is not None
        kernel = _List()
        _change(kernel, before, None)
        always = before.allows(*request_) and after.allows(*request_)
        for line in _ROW.codec.pending(kernel.text(), format_text(after), 4096):
            kernel.write(*_ROW.codec.route(_ROW.file, line))

            assert kernel.devices().allows(*request_) or not always

    def test_minimal(self) -> None:
        """Only what differs is written, what is to be allowed first."""
        kernel = _List()
        _change(kernel, Devices(allow=["null", "zero r", "c 5:* rwm"]), None)

        assert _change(kernel, Devices(allow=["null r", "zero rw", "tty"]), kernel.text()) == [
            "allow c 1:5 w",
            "allow c 5:0 rwm",
            "deny c 1:3 wm",
            "deny c 5:* rwm",
        ]

    def test_both_lists(self) -> None:
        """v1 has one kind of exception at a time."""
        machine = Machine(V1_DEVICES)
        with says(UnsupportedError, "devices.deny beside devices.allow", "v1 keeps either", "leave out"):
            machine.steps("p1", devices=Devices(allow=["a"], deny=["null"]))


V1_DEVICES = attrs.evolve(V1, hierarchies=(*V1.hierarchies, attrs.evolve(V1.hierarchies[-1], controllers=("devices",))))


class TestPlan:
    """Devices in a plan."""

    def test_v2(self) -> None:
        """One write of the whole text, and none where it is held already."""
        machine = Machine(V2)

        assert machine.make("p1", devices=["null", "tty rw"]) == [
            "mkdir /v2/p1",
            r"write b'deny a *:* rwm\nallow c 1:3 rwm\nallow c 5:0 rw' to /v2/p1/@devices",
        ]
        assert machine.make("p1", devices=["tty rw", "null"]) == []
        assert machine.make("p1", devices=Devices(default="allow")) == ["write b'allow a *:* rwm' to /v2/p1/@devices"]

    def test_default_of_a_new_group(self) -> None:
        """Nothing is attached to allow everything."""
        assert Machine(V2).make("p1", devices=Devices(default="allow")) == ["mkdir /v2/p1"]

    def test_shell(self) -> None:
        """As shell it is a command with an argument for each line."""
        machine = Machine(V2)
        script = str(machine.plan(machine.request("p1", devices=["null"])))

        assert script.splitlines()[-1] == (
            "python3 -m cgctl.bpf write /v2/p1/@devices 'deny a *:* rwm' 'allow c 1:3 rwm'  # devices.allow = c 1:3 rwm"
        )

    def test_paths_are_looked_up(self) -> None:
        """A path becomes the numbers that it has; one that is no device is refused, and nothing done."""
        machine = Machine(V2)
        machine.files["stat:/dev/x"] = "b 259:3 on 0:6 mount 24\n"
        machine.files["stat:/etc/passwd"] = "- on 259:1 mount 25\n"

        assert machine.steps("p1", devices=["/dev/x r"])[-1].startswith(r"write b'deny a *:* rwm\nallow b 259:3 r' to")
        with says(SpecError, "devices: '/etc/passwd': not a device node"):
            machine.steps("p1", devices=["/etc/passwd"])
        with says(SpecError, "devices: '/dev/y': there is no such file"):
            machine.steps("p1", devices=Devices(deny=["/dev/y"]))

    def test_no_hierarchy(self) -> None:
        """Where there is neither, it says what to mount."""
        with says(UnsupportedError, "devices.default", "in no mounted hierarchy", "mount it, or a v2 hierarchy"):
            Machine(V1).steps("p1", devices=["null"])

    def test_v1_is_where_it_is_asked_for(self) -> None:
        """With both, v1's controller is used: the group's processes need not be in a v2 group."""
        machine = Machine(attrs.evolve(V1_DEVICES, hierarchies=(*V1_DEVICES.hierarchies, *V2.hierarchies)))
        request = machine.request("p1", devices=["null"], pids=MAX)

        assert [str(step) for step in plan(request, Snapshot(machine.snapshot(request).values))][-2:] == [
            f"write b'a *:* rwm' to {V1_DEVICES.hierarchies[-1].mount_point}/p1/devices.deny",
            f"write b'c 1:3 rwm' to {V1_DEVICES.hierarchies[-1].mount_point}/p1/devices.allow",
        ]
