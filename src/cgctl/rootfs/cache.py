"""``ld.so.cache``: where glibc's loader knows libraries to be.

Its layout is that of ``struct cache_file_new`` in glibc's ``sysdeps/generic/dl-cache.h``.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["parse_cache"]

_OLD_MAGIC: Final = b"ld.so-1.7.0"
_NEW_MAGIC: Final = b"glibc-ld.so.cache1.1"
_OLD_HEADER: Final = struct.Struct("=12sI")
_OLD_ENTRY_SIZE: Final = 12
_HEADER: Final = struct.Struct("=20sII20x")
_ENTRY: Final = struct.Struct("=iIIIQ")


def parse_cache(data: bytes) -> dict[str, list[str]]:
    """Read the paths of each library, those for any processor: the hwcaps variants are left out.

    Args:
        data: the file's bytes; what is not such a file has no libraries.
    """
    found: dict[str, list[str]] = {}
    try:
        if data.startswith(_OLD_MAGIC):
            _, count = _OLD_HEADER.unpack_from(data)
            data = data[(_OLD_HEADER.size + count * _OLD_ENTRY_SIZE + 7) & ~7 :]
        if not data.startswith(_NEW_MAGIC):
            return found
        _, count, _ = _HEADER.unpack_from(data)
        for index in range(count):
            _, key, value, _, hwcap = _ENTRY.unpack_from(data, _HEADER.size + index * _ENTRY.size)
            if not hwcap:
                found.setdefault(_string(data, key), []).append(_string(data, value))
    except (struct.error, ValueError):  # cut off: the loader would not use it either
        found.clear()
    return found


def _string(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode(errors="surrogateescape")
