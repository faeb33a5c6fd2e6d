"""devices, v1: which nodes may be opened and made (security/device_cgroup.c has the functions of these names)."""

from __future__ import annotations

import re
from errno import EINVAL, EPERM
from typing import Final

import attrs

from cgctl.fake.parse import BLANKS, stripped
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group

__all__ = ["READ", "WRITE", "State", "allows", "new"]

_ANY: Final = 0xFFFF_FFFF
_RULE: Final = re.compile(rf"([bc])[{BLANKS}](\*|\d{{1,11}}):(\*|\d{{1,11}})[{BLANKS}](.*)", re.DOTALL)
_MOST_LETTERS: Final = 3


@attrs.define
class _Rule:
    kind: str
    major: int
    minor: int
    access: frozenset[str]

    def same(self, other: _Rule) -> bool:
        return (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)

    def covers(self, other: _Rule) -> bool:
        return (
            self.kind == other.kind
            and self.major in {_ANY, other.major}
            and self.minor in {_ANY, other.minor}
            and other.access <= self.access
        )

    def touches(self, other: _Rule) -> bool:
        return (
            self.kind == other.kind
            and (_ANY in {self.major, other.major} or self.major == other.major)
            and (_ANY in {self.minor, other.minor} or self.minor == other.minor)
            and bool(other.access & self.access)
        )

    def __str__(self) -> str:
        major, minor = ("*" if number == _ANY else number for number in (self.major, self.minor))
        return f"{self.kind} {major}:{minor} {''.join(letter for letter in 'rwm' if letter in self.access)}"


@attrs.define
class State:
    """What one group allows: everything but the exceptions, or the exceptions alone."""

    allow: bool = True
    exceptions: list[_Rule] = attrs.field(factory=list)


def _state(group: Group) -> State:
    states = group.kernel.device_states
    if group not in states:
        states[group] = State()
    return states[group]


def new(group: Group) -> None:
    """Give a new group what the one above has."""
    parent = group.parent
    assert parent is not None  # noqa: S101 - a new group has one
    above = _state(parent)
    group.kernel.device_states[group] = State(above.allow, [attrs.evolve(rule) for rule in above.exceptions])


def _parse(text: str) -> _Rule | None:
    """Read a rule; ``None`` is all devices."""
    text = stripped(text)
    if text.startswith("a"):
        return None
    match = _RULE.match(text)
    if match is None:
        refuse(EINVAL)
    numbers = [_ANY if word == "*" else int(word) for word in match.group(2, 3)]
    if any(number > _ANY for number in numbers):
        refuse(EINVAL)
    letters = match[4].split("\n")[0][:_MOST_LETTERS]
    if not letters or not set(letters) <= set("rwm"):
        refuse(EINVAL)
    return _Rule(match[1], numbers[0], numbers[1], frozenset(letters))


def _parent_permits(group: Group, rule: _Rule) -> bool:
    """Tell whether the group above lets this one allow a rule (``parent_has_perm``)."""
    if group.parent is None:
        return True
    above = _state(group.parent)
    if above.allow:
        return not any(each.touches(rule) for each in above.exceptions)
    return any(each.covers(rule) for each in above.exceptions)


def _add(state: State, rule: _Rule) -> None:
    for each in state.exceptions:
        if each.same(rule):
            each.access |= rule.access
            return
    state.exceptions.append(attrs.evolve(rule))


def _remove(state: State, rule: _Rule) -> None:
    for each in state.exceptions:
        if each.same(rule):
            each.access -= rule.access
    state.exceptions = [each for each in state.exceptions if each.access]


def _allow(group: Group, text: str) -> None:
    rule, state = _parse(text), _state(group)
    if rule is None:
        if group.children:
            refuse(EINVAL)
        above = _state(group.parent) if group.parent else State()
        if not above.allow:
            refuse(EPERM)
        state.allow, state.exceptions = True, [attrs.evolve(each) for each in above.exceptions] if group.parent else []
    elif state.allow:
        # What the group above excepts cannot be taken out of the exceptions here.
        if group.parent and any(each.touches(rule) for each in _state(group.parent).exceptions):
            refuse(EPERM)
        _remove(state, rule)
    else:
        if not _parent_permits(group, rule):
            refuse(EPERM)
        _add(state, rule)


def _deny(group: Group, text: str) -> None:
    rule, state = _parse(text), _state(group)
    if rule is None:
        if group.children:
            refuse(EINVAL)
        state.allow, state.exceptions = False, []
        return
    if state.allow:
        _add(state, rule)
    else:
        _remove(state, rule)
    _propagate(group, rule)


def _propagate(group: Group, rule: _Rule) -> None:
    above = _state(group)
    for child in group.children.values():
        state = _state(child)
        if state.allow and above.allow:
            _add(state, rule)
        else:
            _remove(state, rule)
            state.exceptions = [each for each in state.exceptions if _parent_permits(child, each)]
        _propagate(child, rule)


def _list(group: Group) -> str:
    state = _state(group)
    return "a *:* rwm\n" if state.allow else "".join(f"{rule}\n" for rule in state.exceptions)


def allows(group: Group, kind: str, major: int, minor: int, access: str) -> bool:
    """Tell whether a process in the group may access a device."""
    wanted = _Rule(kind, major, minor, frozenset(access))
    state = _state(group)
    if state.allow:
        return not any(each.touches(wanted) for each in state.exceptions)
    return any(each.covers(wanted) for each in state.exceptions)


READ: Final = {"devices.list": _list}
WRITE: Final = {"devices.allow": _allow, "devices.deny": _deny}
