"""The root image: Debian with systemd, an ordinary user, Python and what the project depends on, on an ext4 disk."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

from tests.vm import catalog
from tests.vm.cache import DETAIL, key_of
from tests.vm.errors import MachineError
from tests.vm.fetch import note, run, sources
from tests.vm.project import SITE, WORK, requirements

DISK = "root.ext4"
_SIZE = "1200M"
_UNUSED = ("doc", "man", "locale", "info", "lintian")
_FILES = {
    "etc/hostname": "vm\n",
    "etc/hosts": "127.0.0.1 localhost vm\n",
    "etc/fstab": "",
    # fixed, so that systemd does not take it for the first boot
    "etc/machine-id": "0" * 31 + "1\n",
    "etc/systemd/journald.conf": "[Journal]\nStorage=volatile\n",
    "var/lib/systemd/linger/tester": "",
    f"{SITE}/cgctl-tree.pth": f"{WORK}/src\n",
    "usr/local/bin/cgctl": "#!/usr/bin/python3\nimport sys\nfrom cgctl.cli import main\nsys.exit(main())\n",
    "usr/local/bin/pytest": '#!/bin/sh\nexec python3 -m pytest "$@"\n',
}


def packages() -> list[str]:
    """List the Debian packages in the image."""
    return (Path(__file__).parent / "guest-packages.txt").read_text().split()


def key() -> str:
    """Make the key of the image: all that goes into it, but for the versions of its packages."""
    return key_of(requirements(), packages(), Path(__file__).read_text())


def build(into: Path) -> None:
    """Make the image in the cache entry *into*."""
    if os.geteuid():
        raise MachineError(
            "the root image has root's files in it: have root --prepare a machine in a CGCTL_VM_CACHE you can read"
        )
    note("building the root image (about a minute)")
    archive, root = into / "root.tar", into / "root"
    run(
        *("mmdebstrap", "-q", "--mode=root", "--variant=essential", f"--include={','.join(packages())}"),
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _UNUSED),
        *(catalog.IMAGE_SUITE, str(archive), *sources({"debian": [catalog.IMAGE_SUITE]})),
    )
    root.mkdir()
    run("tar", "-C", str(root), "--exclude=./dev/*", "-xpf", str(archive))
    archive.unlink()
    for name in ("dev", "run", "work", SITE):
        (root / name).mkdir(parents=True, exist_ok=True)
    run("chroot", str(root), "useradd", "-m", "-u", "1000", "-s", "/bin/bash", "tester")
    for name, content in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(content)
        path.chmod(0o755 if content.startswith("#!") else 0o644)
    # The modules come with the kernel, so they lie on a tmpfs (guest/initramfs).
    run("rm", "-rf", str(root / "usr/lib/modules"))
    (root / "usr/lib/modules").symlink_to("/run/cgctl-vm/modules")
    _install(root)
    run("chroot", str(root), "python3", "-m", "compileall", "-q", "/usr/lib/python3", f"/{SITE}")
    run("chroot", str(root), "python3", "-m", "compileall", "-q", f"/usr/lib/python{catalog.IMAGE_PYTHON}")
    # No journal, no checksums: the disk is thrown away after each run.
    features = "^has_journal,^metadata_csum"
    run("mke2fs", "-q", "-t", "ext4", "-O", features, "-m", "0", "-d", str(root), str(into / DISK), _SIZE)
    run("rm", "-rf", str(root))
    # Saved machines remember what they have read of the disk, so one that is built anew is another disk.
    (into / DETAIL).write_text(f"built {dt.datetime.now(dt.UTC).isoformat()}")


def _install(root: Path) -> None:
    """Unpack the wheels of the project's dependencies; pip on the host chooses those for the image's Python."""
    argv = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"),
        *(f"--python-version={catalog.IMAGE_PYTHON}", "--implementation=cp"),
        *(f"--platform=manylinux{version}_x86_64" for version in ("2014", "_2_17", "_2_28")),
        *("--target", str(root / SITE), *requirements()),
    ]
    done = subprocess.run(argv, check=False, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise MachineError(f"pip could not get the image's wheels:\n{done.stderr[-2000:]}")
