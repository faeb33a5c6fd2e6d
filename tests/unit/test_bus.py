"""The conversation with systemd, where it goes wrong."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgctl import SystemdError, UnsupportedError
from cgctl.systemd.bus import Bus, _refused


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's runtime directory, with nothing in it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    return tmp_path


@pytest.fixture
def silent(runtime: Path) -> Iterator[Path]:
    """A bus that lets anybody in, and never says another word."""
    path = runtime / "bus"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


def test_nobody_is_there(runtime: Path) -> None:
    """Each place that was tried is named, and what would have a user's systemd run."""
    with pytest.raises(UnsupportedError, match=r"loginctl enable-linger") as caught:
        Bus.open(user=True)

    assert f"({runtime}/bus: No such file or directory, {runtime}/systemd/private: No such" in caught.value.reason


def test_silence(silent: Path) -> None:
    """A bus that does not answer is waited for no longer than was said."""
    began = time.monotonic()
    with pytest.raises(UnsupportedError) as caught:
        Bus.open(user=True, timeout=0.2)

    assert time.monotonic() - began < 2
    assert f"{silent}: Hello over {silent}: no answer in time" in caught.value.reason


def test_an_address_of_no_kind(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that cannot be understood is passed over."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "nonsense")
    with pytest.raises(UnsupportedError, match=rf"{runtime}/bus"):
        Bus.open(user=True)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "; systemd lets only root do this"),
        ("org.freedesktop.systemd1.UnitExists", "; see systemd's journal"),
    ],
)
def test_refusals(name: str, remedy: str) -> None:
    """A refusal has D-Bus's name for it, systemd's own text, and what to do."""
    error = _refused("StartTransientUnit", name, ("Unit was already there.",))

    assert isinstance(error, SystemdError)
    assert (error.call, error.name) == ("StartTransientUnit", name)
    assert f"StartTransientUnit: {name} Unit was already there{remedy}" in str(error)
