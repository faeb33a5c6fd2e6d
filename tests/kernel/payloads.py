"""Programs for groups to hold: each is an argument list.

Those that stay say ``ready`` once they are what they are, and end by themselves after longer than any test takes.
"""

from __future__ import annotations

import sys


def python(source: str, *arguments: object) -> list[str]:
    """Run Python source, without site-packages, which start slowly."""
    return [sys.executable, "-I", "-S", "-c", source, *map(str, arguments)]


_HOG = """
import sys, time
held = []
for _ in range(int(sys.argv[1])):
    held.append(b"x" * (1 << 20))  # writes to every page
print("ready", flush=True)
time.sleep(float(sys.argv[2]))
"""

_SPINNER = """
import sys, time
print("ready", flush=True)
begun, used = time.monotonic(), time.process_time()
while time.monotonic() - begun < float(sys.argv[1]):
    for _ in range(2000):
        pass
print(time.process_time() - used, time.monotonic() - begun, flush=True)
"""

_FORK_BOMB = """
import json, os, signal, sys
children, error = [], 0
for _ in range(int(sys.argv[1])):
    try:
        pid = os.fork()
    except OSError as refused:
        error = refused.errno
        break
    if pid == 0:
        signal.pause()
    children.append(pid)
print(json.dumps({"forks": len(children), "errno": error}), flush=True)
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""

_SLEEPER = """
import time
print("ready", flush=True)
time.sleep(150)
"""

_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    time.sleep(150)
"""

# A handler would be too late for a signal that comes just before the sleep begins.
_POLITE = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("ready", flush=True)
sys.exit(7 if signal.sigtimedwait([signal.SIGTERM], 150) else 0)
"""

_DAEMONISER = """
import os, sys, time
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writing, b"%d" % os.getpid())
        os.close(writing)
        if sys.argv[1] == "closed":
            for fd in (0, 1, 2):
                os.close(fd)
        time.sleep(150)
    os._exit(0)
os.wait()
print(os.read(reading, 20).decode(), flush=True)
"""

_FAMILY = """
import os, time
for _ in range(2):
    if os.fork() == 0:
        time.sleep(150)
print("ready", flush=True)
time.sleep(150)
"""

_SAY = """
import sys
print(sys.argv[1], flush=True)
print(sys.argv[2], file=sys.stderr, flush=True)
sys.exit(int(sys.argv[3]))
"""

_COPY = """
import sys
sys.stdout.buffer.write(sys.stdin.buffer.read().upper())
"""

_WHERE = """
print(open("/proc/self/cgroup").read(), end="")
"""

# Of each connection the first byte is its name; its rate is what came after that, over the time that it took.
_RECEIVER = """
import json, socket, sys, threading, time
rates = {}
def receive(connection):
    name, size, begun = connection.recv(1).decode(), 0, time.monotonic()
    while data := connection.recv(1 << 16):
        size += len(data)
        rates[name] = size * 8 / (time.monotonic() - begun) / 1e6, size
listener = socket.create_server((sys.argv[1], 5000))
print("ready", flush=True)
threads = []
for _ in range(int(sys.argv[2])):
    threads.append(threading.Thread(target=receive, args=listener.accept()[:1]))
    threads[-1].start()
for thread in threads:
    thread.join()
print(json.dumps(rates), flush=True)
"""

_SENDER = """
import socket, sys, time
connection = socket.socket()
if sys.argv[4] != "":
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, int(sys.argv[4]))
connection.connect((sys.argv[1], 5000))
connection.sendall(sys.argv[2].encode())
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    connection.sendall(bytes(1 << 14))
"""

# Datagrams come back one by one, so that none is lost.
_ECHO = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 5001))
print("ready", flush=True)
while True:
    sock.sendto(*sock.recvfrom(1 << 16))
"""

_TALKER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 5001))
if sys.argv[2] != "":
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, int(sys.argv[2]))
print("ready", flush=True)
for line in sys.stdin:
    number, size = map(int, line.split())
    for _ in range(number):
        sock.send(bytes(size))
        sock.recv(1 << 16)
    print(sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK), flush=True)
"""

SLEEPER = python(_SLEEPER)
"""Sleeps until it is killed."""

STUBBORN = python(_STUBBORN)
"""Sleeps, and does not mind SIGTERM."""

POLITE = python(_POLITE)
"""Sleeps, and exits with status 7 at SIGTERM."""

FAMILY = python(_FAMILY)
"""Sleeps, and so do two children."""

COPY = python(_COPY)
"""Reads all, writes it in capitals."""

WHERE = python(_WHERE)
"""Prints its ``/proc/self/cgroup``."""


def hog(mebibytes: int, hold_sec: float = 0) -> list[str]:
    """Touch so much memory in steps of 1 MiB, say ``ready``, and hold it."""
    return python(_HOG, mebibytes, hold_sec)


def spinner(seconds: float) -> list[str]:
    """Use all the processor time to be had; print the time used and the time passed."""
    return python(_SPINNER, seconds)


def fork_bomb(attempts: int) -> list[str]:
    """Fork until it is refused; print as JSON how often it worked, and the errno."""
    return python(_FORK_BOMB, attempts)


def daemoniser(fds: str = "closed") -> list[str]:
    """Exit, and leave a daemon behind whose pid it prints; the daemon keeps its descriptors if ``"open"``."""
    return python(_DAEMONISER, fds)


def say(stdout: str, stderr: str = "", status: int = 0) -> list[str]:
    """Print to both streams, and exit with a status."""
    return python(_SAY, stdout, stderr, status)


def receiver(address: str, connections: int) -> list[str]:
    """Accept so many connections to port 5000; print as JSON, by their names, the Mbit/s and the bytes of each."""
    return python(_RECEIVER, address, connections)


def sender(address: str, name: str, seconds: float, priority: int | None = None) -> list[str]:
    """Send as much as goes through a connection with a name of one letter; *priority* is the socket's (SO_PRIORITY)."""
    return python(_SENDER, address, name, seconds, "" if priority is None else priority)


def echo(address: str) -> list[str]:
    """Send back each datagram that comes to port 5001."""
    return python(_ECHO, address)


def talker(address: str, priority: int | None = None) -> list[str]:
    """Read lines ``NUMBER SIZE``, and for each send so many datagrams of so many bytes and await them back.

    Then it prints its socket's mark. *priority* is the socket's own (SO_PRIORITY).
    """
    return python(_TALKER, address, "" if priority is None else priority)
