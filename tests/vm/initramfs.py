"""A kernel as QEMU wants it: the bare vmlinux, and an initramfs with its modules and our first program."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.vm import catalog
from tests.vm.cache import DETAIL, key_of
from tests.vm.errors import MachineError
from tests.vm.fetch import Archive, run, which

GUEST = Path(__file__).parent / "guest"
VMLINUX, INITRAMFS = "vmlinux", "initramfs.cpio"
# The payload of a bzImage, by its first bytes. The last four of it are its size, which is not the packer's.
_UNPACKERS = {
    b"\x28\xb5\x2f\xfd": ("zstd", "-dcq"),
    b"\x02\x21\x4c\x18": ("lz4", "-dcq"),
    b"\xfd7zXZ\0": ("xz", "-dcq"),
}
_SIGNED = b"~Module signature appended~\n"


def key(kernel: catalog.Kernel) -> str:
    """Make the key of a kernel: all that goes into it, but for its version, which stays until it is evicted."""
    ours = [path.read_text() for path in (Path(__file__), GUEST / "initramfs")]
    return key_of(kernel.packages, catalog.BOOT_MODULES, catalog.MODULES, ours)


def build(kernel: catalog.Kernel, archive: Archive, into: Path) -> None:
    """Fetch a kernel and make it ready, in the cache entry *into*."""
    unpacked = into / "unpacked"
    unpacked.mkdir()
    packages = archive.kernel(kernel, unpacked)
    image = next(path for path in unpacked.rglob("vmlinuz*") if path.is_file())
    (into / VMLINUX).write_bytes(_vmlinux(image.read_bytes()))
    modules = next(path for path in (unpacked / "lib/modules", unpacked / "usr/lib/modules") if path.is_dir())
    release = next(path.name for path in modules.iterdir() if (path / "kernel").is_dir())
    tree = _modules(modules / release, into / "root", release)
    for name in ("bin", "dev", "proc", "sys", "root"):
        (tree / name).mkdir(exist_ok=True)
    shutil.copy(which("busybox") or "busybox", tree / "bin/busybox")
    shutil.copy(GUEST / "initramfs", tree / "init")
    (tree / "init").chmod(0o755)
    (into / INITRAMFS).write_bytes(cpio(_files(tree)))
    (into / DETAIL).write_text(" ".join(packages))
    shutil.rmtree(unpacked)
    shutil.rmtree(tree)


def cpio(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Pack *files*, name → (mode, content), as the kernel unpacks them (the format is ``newc``).

    Two archives one behind the other are one: what differs by layout is appended to what does not.
    """
    packed = bytearray()
    for number, (name, (mode, content)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], start=1):
        encoded = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        packed += b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        packed += b"\0" * (-len(packed) % 4) + content
        packed += b"\0" * (-len(packed) % 4)
    return bytes(packed)


def _files(tree: Path) -> dict[str, tuple[int, bytes]]:
    found = {}
    for path in sorted(tree.rglob("*")):
        mode = path.lstat().st_mode
        content = path.read_bytes() if stat.S_ISREG(mode) else b""
        found[str(path.relative_to(tree))] = (mode, content)
    return found


def _vmlinux(image: bytes) -> bytes:
    """Take the ELF out of a bzImage: QEMU starts it directly (PVH), which spares unpacking it under emulation."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    for magic, argv in _UNPACKERS.items():
        if payload.startswith(magic):
            elf = subprocess.run(argv, input=payload[:-4], capture_output=True, check=False).stdout
            if elf.startswith(b"\x7fELF"):
                return elf
    raise MachineError(f"cannot unpack this kernel: its payload begins with {payload[:6].hex()}")


def _modules(source: Path, tree: Path, release: str) -> Path:
    """Copy the modules we want, and those they need, and list in ``modlist`` which to load first."""
    run("depmod", "-b", str(_base(source)), release)
    order: list[str] = []
    copied: set[str] = set()
    for name in (*catalog.BOOT_MODULES, *catalog.MODULES):
        for path in _needed(source, name, release):
            # ≥ 6.12 packs them (.ko.xz), which busybox's insmod cannot read.
            inside = f"lib/modules/{release}/{path.relative_to(source)}".removesuffix(".xz")
            if inside not in copied:
                copied.add(inside)
                (tree / inside).parent.mkdir(parents=True, exist_ok=True)
                (tree / inside).write_bytes(_module(path))
            if name in catalog.BOOT_MODULES and inside not in order:
                order.append(inside)
    home = tree / "lib/modules" / release
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (source / name).exists():
            shutil.copy(source / name, home / name)
    run("depmod", "-b", str(tree), release)
    (tree / "modlist").write_text("".join(f"/{inside}\n" for inside in order))
    return tree


def _base(source: Path) -> Path:
    """Find what depmod and modprobe call the base directory; they know only ``lib/modules`` below it."""
    base = source.parents[2]
    if base.name == "usr":
        (base.parent / "lib").mkdir(exist_ok=True)
        link = base.parent / "lib/modules"
        if not link.exists():
            os.symlink(source.parent, link)
        return base.parent
    return base


def _needed(source: Path, name: str, release: str) -> Iterable[Path]:
    """List a module's file and before it those it needs; nothing where it is built in or does not exist."""
    argv = (which("modprobe") or "modprobe", "-d", str(_base(source)), "-S", release, "--show-depends", name)
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", check=False)
    lines = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("insmod")]
    return [source / path.split(f"/lib/modules/{release}/")[1] for path in lines]


def _module(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        content = lzma.decompress(content)
    if content.endswith(_SIGNED):
        # Checking the signature takes longer, under emulation, than loading the module.
        (size,) = struct.unpack_from(">I", content, len(content) - len(_SIGNED) - 4)
        content = content[: len(content) - len(_SIGNED) - 12 - size]
    return content
