"""What a program or library says of itself, read from its bytes: it is never run, and neither is ``ldd``."""

from __future__ import annotations

from typing import IO, Any, Final

import attrs

from cgctl.errors import SpecError, UnsupportedError

__all__ = ["MAGIC", "Elf", "read_elf"]

MAGIC: Final = b"\x7fELF"


@attrs.frozen(kw_only=True)
class Elf:
    """What the dynamic loader would look at.

    Attributes:
        machine: the architecture as ``elf.h`` has it, without ``EM_``: ``X86_64``, ``386``.
        bits: 32 or 64.
        interpreter: the dynamic loader that it asks for (``PT_INTERP``); ``None`` for libraries and static programs.
        needed: the libraries that it needs (``DT_NEEDED``).
        rpath: ``DT_RPATH``, in order; void where there is a ``DT_RUNPATH``, as for the loader.
        runpath: ``DT_RUNPATH``, in order.
    """

    machine: str
    bits: int
    interpreter: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()

    @property
    def architecture(self) -> tuple[str, int]:
        """What two objects of one process have in common."""
        return self.machine, self.bits

    def __str__(self) -> str:
        return f"{self.bits}-bit {self.machine}"


def read_elf(file: IO[bytes], name: str) -> Elf:
    """Read an ELF file.

    Args:
        file: its bytes.
        name: what it is called in messages.

    Raises:
        SpecError: it is damaged.
        UnsupportedError: pyelftools is not installed.
    """
    try:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - an extra
    except ImportError:
        missing = "pyelftools is not installed; pip install 'cgctl[rootfs]'"
        raise UnsupportedError("reading ELF files", missing) from None
    try:
        return _read(ELFFile(file))
    except Exception as error:  # whatever pyelftools meets in bytes that somebody else wrote
        msg = f"{name} is not an ELF file that can be read: {str(error) or type(error).__name__}"
        raise SpecError(msg) from error


def _read(elf: Any) -> Elf:
    interpreter, needed = None, []
    paths: dict[str, tuple[str, ...]] = {"rpath": (), "runpath": ()}
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_INTERP":
            interpreter = segment.get_interp_name()
        elif segment["p_type"] == "PT_DYNAMIC":
            for tag in segment.iter_tags():
                kind = tag.entry.d_tag
                if kind == "DT_NEEDED":
                    needed.append(tag.needed)
                elif kind in {"DT_RPATH", "DT_RUNPATH"}:
                    key = kind.removeprefix("DT_").lower()
                    paths[key] = tuple(part for part in getattr(tag, key).split(":") if part)
    return Elf(
        machine=str(elf["e_machine"]).removeprefix("EM_"),
        bits=elf.elfclass,
        interpreter=interpreter,
        needed=tuple(needed),
        rpath=() if paths["runpath"] else paths["rpath"],
        runpath=paths["runpath"],
    )
