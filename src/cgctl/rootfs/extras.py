"""What programs use without saying so in their files, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

__all__ = ["EXTRAS", "Extra"]


@attrs.frozen(kw_only=True)
class Extra:
    """A set of files.

    Attributes:
        paths: files and directories; those that are there are taken, and one at least must be.
        libraries: libraries that glibc loads by name (``dlopen``); those that are there.
    """

    paths: tuple[str, ...]
    libraries: tuple[str, ...] = ()


EXTRAS: Final[Mapping[str, Extra]] = MappingProxyType(
    {
        # Passwords (/etc/shadow) are nobody's business in there.
        "nss": Extra(
            paths=(
                "/etc/nsswitch.conf",
                "/etc/passwd",
                "/etc/group",
                "/etc/hosts",
                "/etc/host.conf",
                "/etc/resolv.conf",
                "/etc/services",
                "/etc/protocols",
            ),
            libraries=("libnss_files.so.2", "libnss_dns.so.2"),
        ),
        "terminfo": Extra(paths=("/lib/terminfo", "/usr/share/terminfo", "/etc/terminfo")),
        "ca-certificates": Extra(
            paths=("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted")
        ),
        "tzdata": Extra(paths=("/usr/share/zoneinfo", "/etc/localtime", "/etc/timezone")),
    }
)
