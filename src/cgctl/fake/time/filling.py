"""Sharing by weights: how fast everybody goes who wants as much as possible (pure).

Everybody's rate rises, in proportion to the weights at each level of a tree, until something is full: then who is bound
by it stays where it is, and the others go on with what is left (progressive filling, which is weighted max-min fairness
at every level).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs

__all__ = ["Bound", "Node", "fill"]

_NOTHING = 1e-12


@attrs.define(eq=False)
class Node:
    """Somebody who wants something, or a group of those.

    Attributes:
        weight: against its siblings.
        children: of a group.
        rate: what it gets.
    """

    weight: float
    children: list[Node] = attrs.field(factory=list)
    rate: float = 0.0
    open: bool = True
    speed: float = 0.0


@attrs.define(eq=False)
class Bound:
    """What some can have together.

    Attributes:
        most: the sum of their rates, each times its factor.
        parts: who is bound, and with which factor.
    """

    most: float
    parts: Sequence[tuple[Node, float]]


def fill(root: Node, bounds: Iterable[Bound]) -> None:
    """Give each leaf below *root* the rate that is its own; every leaf must have a bound."""
    left = {bound: bound.most for bound in bounds}
    while root.children and _spread(root):
        step, speeds = math.inf, {}
        for bound, rest in left.items():
            speed = sum(node.speed * factor for node, factor in bound.parts if node.open)
            if speed > 0:
                speeds[bound] = speed
                step = min(step, max(rest, 0.0) / speed)
        assert step < math.inf, "a leaf without a bound"  # noqa: S101 - the caller's mistake
        _raise(root, step)
        for bound, speed in speeds.items():
            left[bound] -= speed * step
            if left[bound] <= _NOTHING * bound.most:
                for node, _ in bound.parts:
                    node.open = False


def _spread(root: Node) -> bool:
    """Divide a speed of 1 among the leaves that are not bound yet; false if there are none."""
    if not _is_open(root):
        return False
    stack = [(root, 1.0)]
    while stack:
        node, speed = stack.pop()
        node.speed = speed
        open_children = [child for child in node.children if child.open]
        total = sum(child.weight for child in open_children)
        stack.extend((child, speed * child.weight / total) for child in open_children)
    return True


def _is_open(node: Node) -> bool:
    """Close the groups that have nobody left who is not bound."""
    if node.children and node.open:
        # Each is to be asked, not only up to the first that is open.
        node.open = bool(sum(_is_open(child) for child in node.children))
    return node.open


def _raise(node: Node, step: float) -> None:
    for child in node.children:
        if child.open:
            child.rate += child.speed * step
            _raise(child, step)
