"""ELF files as small as they can be: the headers that a loader reads, and no code."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

X86_64, I386, AARCH64 = (62, 64), (3, 32), (183, 64)
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_NULL, _NEEDED, _STRTAB, _STRSZ, _RPATH, _RUNPATH = 0, 1, 5, 10, 15, 29


def elf(
    *,
    kind: tuple[int, int] = X86_64,
    interpreter: str | None = None,
    needed: Sequence[str] = (),
    rpath: str | None = None,
    runpath: str | None = None,
) -> bytes:
    """Make the bytes of one."""
    machine, bits = kind
    word = "Q" if bits == 64 else "I"
    strings = b"\0"
    tags: list[tuple[int, int]] = []
    for tag, values in ((_NEEDED, needed), (_RPATH, [rpath]), (_RUNPATH, [runpath])):
        for value in values:
            if value is not None:
                tags.append((tag, len(strings)))
                strings += value.encode() + b"\0"
    header_size, program_size = (64, 56) if bits == 64 else (52, 32)
    segments = 2 + (interpreter is not None)
    where = header_size + segments * program_size
    text = b"" if interpreter is None else interpreter.encode() + b"\0"
    strings_at = where + len(text)
    dynamic_at = strings_at + len(strings)
    tags += [(_STRTAB, strings_at), (_STRSZ, len(strings)), (_NULL, 0)]
    dynamic = b"".join(struct.pack(f"<{word}{word}", *tag) for tag in tags)
    size = dynamic_at + len(dynamic)

    def segment(number: int, offset: int, length: int) -> bytes:
        if bits == 64:
            return struct.pack("<IIQQQQQQ", number, 5, offset, offset, offset, length, length, 1)
        return struct.pack("<IIIIIIII", number, offset, offset, offset, length, length, 5, 1)

    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    fields = (3, machine, 1, 0, header_size, 0, 0, header_size, program_size, segments, 0, 0, 0)
    header = ident + struct.pack(f"<HHI{word}{word}{word}IHHHHHH", *fields)
    programs = segment(_PT_LOAD, 0, size) + segment(_PT_DYNAMIC, dynamic_at, len(dynamic))
    if interpreter is not None:
        programs += segment(_PT_INTERP, where, len(text))
    return header + programs + text + strings + dynamic


def put(root: Path, path: str, data: bytes = b"", mode: int = 0o755) -> None:
    """Put a file into a tree."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    place.chmod(mode)


def link(root: Path, path: str, target: str) -> None:
    """Put a link into a tree."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def cache(libraries: Sequence[tuple[str, str, int]]) -> bytes:
    """Make an ``ld.so.cache`` of (name, path, hwcap)."""
    header, entry = 48, 24
    strings, rows = b"", b""
    start = header + entry * len(libraries)
    for name, path, hwcap in libraries:
        key = start + len(strings)
        strings += name.encode() + b"\0"
        value = start + len(strings)
        strings += path.encode() + b"\0"
        rows += struct.pack("=iIIIQ", 0x303, key, value, 0, hwcap)
    return struct.pack("=20sII20x", b"glibc-ld.so.cache1.1", len(libraries), len(strings)) + rows + strings
