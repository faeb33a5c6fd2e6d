"""Doing what a page says: a shell that stays for the whole page, and a fresh interpreter for each program."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import cgctl

TIMEOUT_SEC = 120.0
_END = "--- the end of a command ---"
_SHIM = '#!/bin/sh\nexec "{python}" {arguments}"$@"\n'


class Session:
    """A shell in a directory of its own, in which ``cgctl`` and ``python3`` are those of the tests.

    Args:
        directory: where the commands start.
        tools: a directory for those two.
    """

    def __init__(self, directory: Path, tools: Path) -> None:
        self._directory = directory
        for name, arguments in (("cgctl", "-m cgctl "), ("python3", "")):
            shim = tools / name
            shim.write_text(_SHIM.format(python=sys.executable, arguments=arguments))
            shim.chmod(0o755)
        source = str(Path(cgctl.__file__).parents[1])
        inherited = os.environ.get("PYTHONPATH")
        # A reader's Python does as it does by itself, such as keeping what is printed back until the end.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHON"))}
        self._env = environment | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": f"{source}:{inherited}" if inherited else source,
            "PYTHONWARNINGS": "error",
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
        }
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=directory,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the shell, and what it has left running."""
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        for pipe in (self._shell.stdin, self._shell.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def shell(self, command: str) -> str:
        """Run a command, and return all that it writes."""
        stdin = self._shell.stdin
        assert stdin is not None
        stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n%s\\n' '{_END}'\n".encode())
        stdin.flush()
        return _as_typed(self._until_end(command))

    def python(self, program: str) -> str:
        """Run a program, and return all that it writes."""
        done = subprocess.run(
            [sys.executable, "-c", program],
            check=False,
            cwd=self._directory,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SEC,
        )
        ended = f"(exit status {done.returncode})" if done.returncode else ""
        return (done.stdout + ended).rstrip("\n")

    def _until_end(self, command: str) -> str:
        stdout = self._shell.stdout
        assert stdout is not None
        deadline = time.monotonic() + TIMEOUT_SEC
        text = b""
        while not text.endswith(f"\n{_END}\n".encode()):
            if not select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"{command!r} takes longer than {TIMEOUT_SEC} s; so far: {text.decode()}")
            read = os.read(stdout.fileno(), 65536)
            if not read:
                raise EOFError(f"{command!r} ended the shell: {text.decode()}")
            text += read
        return text.decode().removesuffix(f"\n{_END}\n")


def _as_typed(output: str) -> str:
    """Take out what bash says more where nobody types: its name and the line, and which command was killed."""
    output = re.sub(r"^bash: line \d+: +\d+ (Killed) .*", r"\1", output, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^bash: line \d+: ", "bash: ", output, flags=re.MULTILINE).rstrip("\n")
