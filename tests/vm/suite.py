"""Run in a machine: pytest, in this very process, and its JUnit report behind its output.

Under systemd the command must be the only process of its unit, so nothing but pytest may be there: no shell, no child.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = b"\n<!-- junit -->\n"
"""What stands between pytest's own output and the report."""

_REPORT = Path("/tmp/junit.xml")  # noqa: S108 - the machine is ours alone
_MODULES = ("loop", "bfq")


def main(argv: list[str]) -> int:
    """Run pytest with these arguments and write the report to stdout; return pytest's exit status."""
    for module in _MODULES:  # not for an ordinary user; then the cases that need it are left out
        subprocess.run(["modprobe", "-q", module], check=False, stderr=subprocess.DEVNULL)
    # hypothesis is slow to import, under emulation seven seconds; a test that wants it has it without its plugin too.
    plugins = [word for name in ("cacheprovider", "hypothesispytest") for word in ("-p", f"no:{name}")]
    status = pytest.main([*argv, *plugins, f"--junitxml={_REPORT}", "-o", "junit_family=xunit2"])
    sys.stdout.flush()
    if _REPORT.exists():
        sys.stdout.buffer.write(BEGIN + _REPORT.read_bytes())
        sys.stdout.flush()
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
