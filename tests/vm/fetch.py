"""Packages from Debian's archive, by an apt configuration of our own; the machine's is only read."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.vm import catalog
from tests.vm.cache import Cache
from tests.vm.errors import MachineError

QEMU = "qemu-system-x86_64"
_TOOLS = (
    *("apt-get", "busybox", "depmod", "dpkg-deb", "lz4", "mke2fs", "mmdebstrap", "modprobe", "qemu-img", QEMU),
    *("setpriv", "tar", "xz", "zstd"),
)
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def mirrors() -> dict[str, str]:
    """Find the base URLs of ``debian`` and ``debian-security`` that this machine's apt uses.

    ``CGCTL_VM_MIRROR`` names a directory that holds both, for machines whose apt knows no Debian.
    """
    if base := os.environ.get("CGCTL_VM_MIRROR"):
        return {name: f"{base.rstrip('/')}/{name}" for name in catalog.SUITES}
    fields = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    targets = run("apt-get", "indextargets", "--format", fields, "Created-By: Packages").splitlines()
    uris = {label.lower(): uri for origin, label, uri in (line.split("|") for line in targets) if origin == "Debian"}
    if "debian" not in uris:
        raise MachineError("this machine's apt knows no mirror of Debian: apt-get update, or set CGCTL_VM_MIRROR")
    return {"debian-security": f"{uris['debian'].rstrip('/')}-security", **uris}


def sources(suites: dict[str, Sequence[str]]) -> list[str]:
    """Make the lines of a sources.list for *suites*."""
    signed = f" signed-by={_KEYRING}" if _KEYRING.exists() else ""
    uris = mirrors()
    return [f"deb [arch=amd64{signed}] {uris[part]} {suite} main" for part, names in suites.items() for suite in names]


class Archive:
    """Debian's archive, with lists of packages of its own in the cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._home = cache.root / "apt"
        self._config = self._home / "apt.conf"

    def update(self) -> None:
        """Fetch the lists of packages: versions move, and an old list names packages that are gone."""
        for name in ("lists/partial", "cache/archives/partial"):
            (self._home / name).mkdir(parents=True, exist_ok=True)
        lines = sources({part: list(names) for part, names in catalog.SUITES.items()})
        (self._home / "sources.list").write_text("\n".join(lines) + "\n")
        self._config.write_text(
            f'Dir::Etc::sourcelist "{self._home}/sources.list";\nDir::Etc::sourceparts "-";\n'
            f'Dir::State::lists "{self._home}/lists";\nDir::State::status "/dev/null";\n'
            f'Dir::Cache "{self._home}/cache";\n'
            'Acquire::Languages "none";\nAPT::Architecture "amd64";\nAPT::Sandbox::User "root";\n'
        )
        self._apt("apt-get", "-q", "update")

    def newest(self, kernel: catalog.Kernel) -> list[str]:
        """Name the packages of the newest kernel of a series."""
        pattern = rf"^{kernel.packages[0]}-{re.escape(kernel.series)}\.[0-9][^ ]*-cloud-amd64$"
        names = [line.split()[0] for line in self._apt("apt-cache", "search", "--names-only", pattern).splitlines()]
        if not names:
            raise MachineError(f"no package of a {kernel.series} kernel in {self._home}/sources.list")
        release = max(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
        release = release.removeprefix(f"{kernel.packages[0]}-")
        return [f"{stem}-{release}" for stem in kernel.packages]

    def kernel(self, kernel: catalog.Kernel, into: Path) -> list[str]:
        """Download and unpack the newest kernel of a series, checked by apt against the archive's signatures."""
        # apt has one lock for its lists, and gives up where it is held.
        with self._cache.locked("apt", fcntl.LOCK_EX):
            self.update()
            names = self.newest(kernel)
            note(f"fetching {' '.join(names)}")
            self._apt("apt-get", "-q", "download", *names, cwd=into)
        packages = sorted(into.glob("*.deb"))
        for package in packages:
            run("dpkg-deb", "-x", str(package), str(into))
            package.unlink()
        return [package.stem for package in packages]

    def _apt(self, *argv: str, cwd: Path | None = None) -> str:
        return run(*argv, cwd=cwd, env={**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C.UTF-8"})


def run(*argv: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a tool of the host and give back its output.

    Raises:
        MachineError: if it fails; with its last words.
    """
    env = {**(env or os.environ), "PATH": _path()}
    done = subprocess.run(argv, cwd=cwd, env=env, check=False, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise MachineError(f"{' '.join(argv[:4])} … failed with {done.returncode}:\n" + "\n".join(words[-15:]))
    return done.stdout


def check_tools() -> None:
    """Say early, and all at once, what the host lacks.

    Raises:
        MachineError: if it lacks something; with the Debian packages that have it.
    """
    if missing := [tool for tool in _TOOLS if not which(tool)]:
        packages = " ".join((Path(__file__).parent / "host-packages.txt").read_text().split())
        raise MachineError(f"not installed: {' '.join(missing)}; apt-get install --no-install-recommends {packages}")


def which(tool: str) -> str | None:
    """Find a program of the host."""
    return shutil.which(tool, path=_path())


def _path() -> str:
    # mke2fs and depmod are in sbin, which an ordinary user's PATH may lack.
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def note(text: str) -> None:
    """Tell the user on stderr what takes long."""
    sys.stderr.write(f"tests.vm: {text}\n")
    sys.stderr.flush()
