"""A conversation with a systemd: the machine's, or the user's own. It ends, whatever happens, at its deadline.

jeepney reads and writes the messages; what is done with a socket is all here.
"""

from __future__ import annotations

import os
import pwd
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Self

from cgctl.closing import Closing
from cgctl.errors import SystemdError, UnsupportedError

if TYPE_CHECKING:
    from jeepney import Message

__all__ = ["FEATURE", "MANAGER", "Bus"]

FEATURE: Final = "a scope of systemd's"
MANAGER: Final = "org.freedesktop.systemd1.Manager"
_NAME: Final = "org.freedesktop.systemd1"
_PATH: Final = "/org/freedesktop/systemd1"
_CHUNK: Final = 65536
_TIMEOUT_SEC: Final = 25.0
_ROOT_ONLY: Final = "systemd lets only root do this, or a user in the user's own manager; run as one of them"
_REMEDIES: Final = {"AccessDenied": _ROOT_ONLY, "InteractiveAuthorizationRequired": _ROOT_ONLY}


class Bus(Closing):
    """A connection to one systemd; a context manager, to be used for a few calls and then closed.

    Attributes:
        name: what it is connected to, for messages.
        control_group: the cgroup below which that systemd has its units, without a trailing slash.
    """

    def __init__(self, name: str, connection: socket.socket, *, private: bool, deadline: float) -> None:
        from jeepney import Parser  # noqa: PLC0415 - an extra

        self.name = name
        self.control_group = ""
        self._socket = connection
        self._private = private
        self._deadline = deadline
        self._parser = Parser()
        self._serial = 0
        self._signals: list[Message] = []

    @classmethod
    def open(cls, *, user: bool, timeout: float = _TIMEOUT_SEC) -> Self:
        """Connect to the machine's systemd, or to that of the calling user.

        Args:
            user: whether to the user's.
            timeout: how long all that is asked may take together, in seconds.

        Raises:
            UnsupportedError: jeepney is not installed, or no such systemd can be reached.
        """
        try:
            import jeepney.io.blocking  # noqa: F401, PLC0415 - an extra
        except ImportError as error:
            reason = "systemd is asked by means of the package jeepney, which is missing; pip install 'cgctl[systemd]'"
            raise UnsupportedError(FEATURE, reason) from error
        deadline = time.monotonic() + timeout
        tried = []
        for address, private in _addresses(user=user):
            try:
                return cls._connected(address, private=private, deadline=deadline)
            except (OSError, ValueError, SystemdError) as error:
                tried.append(f"{address}: {_why(error)}")
        raise UnsupportedError(FEATURE, f"{_unreachable(user=user)} ({', '.join(tried)}); {_remedy(user=user)}")

    @classmethod
    def _connected(cls, address: str, *, private: bool, deadline: float) -> Self:
        from jeepney.io.blocking import prep_socket  # noqa: PLC0415 - an extra

        path = f"\0{address[1:]}" if address.startswith("@") else address
        connection = prep_socket(path, timeout=max(0.001, deadline - time.monotonic()))
        bus = cls(address, connection, private=private, deadline=deadline)
        try:
            if not private:
                bus._call_bus("Hello")
            bus.control_group = bus.get(_PATH, MANAGER, "ControlGroup").rstrip("/")
        except BaseException:
            bus.close()
            raise
        return bus

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def manage(self, method: str, signature: str = "", *arguments: Any) -> tuple[Any, ...]:
        """Call a method of the manager.

        Raises:
            SystemdError: it refused, or did not answer in time.
        """
        return self._call(_PATH, MANAGER, method, signature, arguments)

    def get(self, path: str, interface: str, name: str) -> Any:
        """Return a property of an object of systemd's.

        Raises:
            SystemdError: it refused, or did not answer in time.
        """
        properties = "org.freedesktop.DBus.Properties"
        ((_, value),) = self._call(path, properties, "Get", "ss", (interface, name))
        return value

    def get_own(self, name: str) -> Any:
        """Return a property of the manager.

        Raises:
            SystemdError: it refused, or did not answer in time.
        """
        return self.get(_PATH, MANAGER, name)

    def listen(self, signal: str) -> None:
        """Have a signal of the manager's sent from now on.

        Raises:
            SystemdError: it refused, or did not answer in time.
        """
        if self._private:
            return  # where there is no bus between, everything is
        rule = f"type='signal',sender='{_NAME}',path='{_PATH}',interface='{MANAGER}',member='{signal}'"
        self._call_bus("AddMatch", "s", rule)
        self.manage("Subscribe")

    def await_signal(self, signal: str, wanted: Callable[[tuple[Any, ...]], bool]) -> tuple[Any, ...]:
        """Return the content of the first signal that is wanted, of all that came since :meth:`listen`.

        Raises:
            SystemdError: none came in time.
        """
        from jeepney import HeaderFields  # noqa: PLC0415 - an extra

        while True:
            while self._signals:
                message = self._signals.pop(0)
                if message.header.fields.get(HeaderFields.member) == signal and wanted(message.body):
                    return tuple(message.body)
            self._receive(f"wait for {signal}")

    def _call_bus(self, method: str, signature: str = "", *arguments: Any) -> tuple[Any, ...]:
        name = "org.freedesktop.DBus"
        from jeepney import DBusAddress, new_method_call  # noqa: PLC0415 - an extra

        address = DBusAddress("/org/freedesktop/DBus", name, name)
        return self._exchange(method, new_method_call(address, method, signature or None, arguments))

    def _call(
        self, path: str, interface: str, method: str, signature: str, arguments: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        from jeepney import DBusAddress, new_method_call  # noqa: PLC0415 - an extra

        # systemd itself does not mind being called by its name on the bus.
        address = DBusAddress(path, _NAME, interface)
        return self._exchange(method, new_method_call(address, method, signature or None, arguments))

    def _exchange(self, method: str, message: Message) -> tuple[Any, ...]:
        from jeepney import HeaderFields, MessageType  # noqa: PLC0415 - an extra

        self._serial += 1
        serial = self._serial
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(message.serialise(serial=serial))
        except OSError as error:
            raise self._failed(method, error) from error
        while True:
            answer = self._receive(method)
            if answer.header.fields.get(HeaderFields.reply_serial) != serial:
                continue
            if answer.header.message_type is MessageType.error:
                raise _refused(method, str(answer.header.fields.get(HeaderFields.error_name, "")), answer.body)
            return tuple(answer.body)

    def _receive(self, what: str) -> Message:
        """Return the next message; if it is a signal, keep it too."""
        from jeepney import MessageType  # noqa: PLC0415 - an extra

        while True:
            message = self._parser.get_next_message()
            if message is not None:
                if message.header.message_type is MessageType.signal:
                    self._signals.append(message)
                return message
            try:
                self._socket.settimeout(self._left())
                data = self._socket.recv(_CHUNK)
            except OSError as error:
                raise self._failed(what, error) from error
            if not data:
                raise self._failed(what, ConnectionResetError("the connection was closed"))
            self._parser.add_data(data)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _failed(self, what: str, error: OSError) -> SystemdError:
        if isinstance(error, TimeoutError):
            reason = "no answer in time; see whether it is busy or hangs (systemctl list-jobs), and try again"
        else:
            reason = f"{_why(error)}; see whether systemd and its bus run (systemctl status dbus), and try again"
        return SystemdError(FEATURE, f"{what} over {self.name}: {reason}", call=what)


def _refused(method: str, name: str, body: tuple[Any, ...]) -> SystemdError:
    text = str(body[0]).rstrip(".") if body else ""
    remedy = _REMEDIES.get(name.rpartition(".")[2], "see systemd's journal for more (journalctl -b -n 20)")
    return SystemdError(FEATURE, f"{method}: {name} {text}; {remedy}", call=method, name=name)


def _addresses(*, user: bool) -> Iterator[tuple[str, bool]]:
    """Yield where a systemd may be listening, and whether that is systemd itself, with no bus between."""
    if user:
        variable = "DBUS_SESSION_BUS_ADDRESS"
        run = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
        usual = f"{run}/bus"
    else:
        variable, run, usual = "DBUS_SYSTEM_BUS_ADDRESS", "/run", "/run/dbus/system_bus_socket"
    for address in dict.fromkeys((*_parsed(os.environ.get(variable, "")), usual)):
        yield address, False
    yield f"{run}/systemd/private", True


def _parsed(text: str) -> Iterator[str]:
    from jeepney.bus import get_connectable_addresses  # noqa: PLC0415 - an extra

    try:
        for address in get_connectable_addresses(text) if text else ():
            yield address.replace("\0", "@", 1)
    except (RuntimeError, ValueError):  # of a kind, or in a form, that jeepney does not know
        return


def _why(error: Exception) -> str:
    if isinstance(error, SystemdError):
        return error.reason.partition(";")[0]
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _unreachable(*, user: bool) -> str:
    return f"no systemd of user {_user()} can be reached" if user else "systemd cannot be reached"


def _remedy(*, user: bool) -> str:
    if not user:
        return "give this process /run/dbus/system_bus_socket, or start it in a unit with Delegate=yes"
    return (
        "log in as that user (by ssh or at a console; su and sudo -u start no session), or have root keep the user's"
        f" systemd running: loginctl enable-linger {_user()}"
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
