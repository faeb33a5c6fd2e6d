"""What can go wrong with a machine, as opposed to with the command inside it."""

from __future__ import annotations


class MachineError(Exception):
    """The machine did not come up, or went away; the text is for the user, and ends with the console's tail."""


class CommandTimeoutError(Exception):
    """The command ran for longer than it was given."""
