"""The command: started by ourselves or by systemd, as root or as the ordinary user."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

HOME = Path("/run/cgctl-vm")
SYSTEMD = Path("/run/systemd/system").is_dir()
USER = 1000


def environment(user: int | None) -> dict[str, str]:
    """Make the environment of a command, root's or the ordinary user's."""
    name, home = ("root", "/root") if user is None else ("tester", "/home/tester")
    made = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": home,
        "USER": name,
        "LOGNAME": name,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }
    if SYSTEMD and user is not None:
        made["XDG_RUNTIME_DIR"] = f"/run/user/{user}"
        made["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path=/run/user/{user}/bus"
    return made


def protect(*, protected: bool) -> None:
    """Choose whether this process, and what it starts, may be killed when memory runs out."""
    Path("/proc/self/oom_score_adj").write_text("-1000" if protected else "0")


def start(job: dict[str, Any], stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    """Start the command: itself, or the systemd-run that has systemd start it as a unit's only process."""
    user = USER if job["user"] else None
    env = environment(user)
    argv = job["argv"]
    program = shutil.which(argv[0], path=env["PATH"])
    if not program:
        program = shutil.which(argv[0], mode=os.F_OK, path=env["PATH"])
        if program:
            raise PermissionError(errno.EACCES, "not executable")
        raise FileNotFoundError(errno.ENOENT, "not found")
    wanted = env | job["env"]
    argv = [program, *argv[1:]]
    if SYSTEMD:
        argv = _in_unit(job, argv, wanted)
        wanted = env
    else:
        protect(protected=False)
    child = subprocess.Popen(
        argv,
        cwd=job["cwd"],
        env=wanted,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    protect(protected=True)
    return child


def _in_unit(job: dict[str, Any], argv: list[str], env: dict[str, str]) -> list[str]:
    """Make the systemd-run that runs *argv* in a delegated unit and writes to a file how it ended."""
    ended = _ended_file(job)
    ended.parent.mkdir(mode=0o777)
    ended.parent.chmod(0o777)
    # systemd-run's own status cannot tell a signal from an exit. No variable in it: a daemon-reload, which a test may
    # ask for, reads the unit again and has the dollar signs doubled once more.
    report = f'ExecStopPost=/bin/sh -c "env >{ended}"'
    properties = ("Delegate=yes", "OOMPolicy=continue", "TasksMax=infinity", "TimeoutStopSec=2", report)
    return [
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec", "--unit=cgctl-command"),
        *(["--user"] if job["user"] else []),
        f"--working-directory={job['cwd']}",
        *(word for one in properties for word in ("--property", one)),
        *(word for name, value in env.items() for word in ("--setenv", f"{name}={value}")),
        # systemd replaces variables in the words of a command line
        *("--", argv[0], *(word.replace("$", "$$") for word in argv[1:])),
    ]


def _ended_file(job: dict[str, Any]) -> Path:
    """Say where the unit writes how its command ended."""
    return HOME / "ended" / ("user" if job["user"] else "root")


def status_of(job: dict[str, Any], returncode: int) -> int:
    """Make an exit status as a shell has it: 128 + n for signal n."""
    if SYSTEMD:
        if not (ended := _ended_file(job)).exists():
            raise RuntimeError(f"systemd-run failed with {returncode}")
        words = dict(line.partition("=")[::2] for line in ended.read_text().splitlines())
        code, status = words["EXIT_CODE"], words["EXIT_STATUS"]
        return int(status) if code == "exited" else 128 + signal.Signals[f"SIG{status}"]
    return returncode if returncode >= 0 else 128 - returncode
