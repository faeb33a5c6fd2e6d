"""The command line: ``cgctl run``, ``tree``, ``stat``, ``set`` and others. Needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

_FAILED = 125
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status.

    Args:
        arguments: the command and its arguments; by default those of this process.
    """
    try:
        import click  # noqa: F401, PLC0415 - of the extra, which need not be there
        import rich  # noqa: F401, PLC0415 - the same
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.stderr.write(
            f"cgctl: the command line needs {error.name}, which is not installed: pip install 'cgctl[cli]'\n"
        )
        return _FAILED
    try:
        from cgctl.cli.app import execute  # noqa: PLC0415 - imports click

        return execute(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        return _INTERRUPTED
