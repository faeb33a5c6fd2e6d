"""A rule that is broken is found."""

from __future__ import annotations

import ast

import pytest

from tests.differential.ground import grounds
from tests.kernel import lacks
from tests.mutations.run import mutated, place, verdict
from tests.mutations.table import MUTATIONS, Mutation

_SEED, _STEPS = 1, 20_000
_HERE = [(mutation, ground) for mutation in MUTATIONS if (ground := place(mutation, grounds()))]


def test_there_are_enough() -> None:
    """At least thirty, each with a name of its own."""
    assert len({(each.name, each.controller) for each in MUTATIONS}) == len(MUTATIONS) >= 30


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: f"{each.controller or 'core'}: {each.name}")
def test_the_rule_is_there(mutation: Mutation) -> None:
    """The text to be replaced stands in the file once, and what takes its place is Python."""
    ast.parse(mutated(mutation))


@pytest.mark.slow
@pytest.mark.host
@pytest.mark.parametrize("number", range(len(_HERE)), ids=lambda number: _HERE[number][0].name)
def test_it_is_found(number: int) -> None:
    """The differential run finds it; that it finds nothing where nothing is broken is another test."""
    lacks.require("host")
    mutation, ground = _HERE[number]

    assert verdict(mutation, ground, _SEED, _STEPS).steps is not None
