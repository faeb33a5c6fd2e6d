"""The command ``cgctl`` itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import cgctl
from cgctl.cli import main
from tests.cli.conftest import CommandLine

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
from cgctl.cli import main
sys.exit(main(["--version"]))
"""


def _python(source: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, "-c", source], env=env, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("module", ["click", "rich"])
def test_without_the_extra(module: str) -> None:
    """One line says what to install."""
    done = _python(BLOCKED.format(module=module))

    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        f"cgctl: the command line needs {module}, which is not installed: pip install 'cgctl[cli]'\n"
    )


def test_another_module_that_is_missing() -> None:
    """What is missing besides is no matter of the extra: the error shows."""
    done = _python(BLOCKED.format(module="click").replace("name=name)", "name='other')"))

    assert "ModuleNotFoundError" in done.stderr


def test_imports_nothing_of_the_extra() -> None:
    """Neither the library nor the module of the entry point imports click or rich."""
    done = _python("import sys, cgctl.cli; print({'click', 'rich'} & set(sys.modules))")

    assert done.stdout == "set()\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """It says which version it is."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cgctl {cgctl.__version__}\n"


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command it explains itself, on stderr."""
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["run", "tree", "ls", "stat", "set", "create", "rm", "kill", "freeze", "thaw", "add", "plan", "doctor"]
)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command explains itself."""
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: cgctl {name} ")


def test_arguments_of_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By default they are the process's own."""
    monkeypatch.setattr(sys, "argv", ["cgctl", "--version"])

    assert main() == 0
    assert capsys.readouterr().out.startswith("cgctl ")


@pytest.mark.host
def test_nobody_reads(command: CommandLine) -> None:
    """A closed output is no reason for a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as output:
        done = command("stat", ".", capture_output=False, stdout=output, stderr=subprocess.PIPE)

    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.host
def test_nowhere_to_write(command: CommandLine) -> None:
    """A full disk is one line."""
    with open("/dev/full", "w", encoding="utf-8") as output:
        done = command("stat", ".", capture_output=False, stdout=output, stderr=subprocess.PIPE)

    assert (done.returncode, done.stderr) == (1, "cgctl: No space left on device\n")


def test_a_bug_of_ours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of run it is 125, so that it is not taken for the command's; elsewhere it is what it is."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("cgctl.cli.app.cli.main", lambda *_, **__: broken())

    assert main(["run", "true"]) == 125
    assert "RuntimeError: broken" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="broken"):
        main(["tree"])
