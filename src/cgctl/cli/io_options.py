"""Docker's flags for disks, and what they mean to cgctl."""

from __future__ import annotations

from typing import Any, Final

import click

import cgctl

__all__ = ["IO_FLAGS", "IO_NAMES", "io_wishes"]

_LEAST_WEIGHT, _MOST_WEIGHT = 10, 1000

_LIMITS: Final = {
    "device_read_bps": ("max.rbps", "PATH:RATE", "Bytes that may be read from a disk in a second, /dev/vda:10mb."),
    "device_write_bps": ("max.wbps", "PATH:RATE", "Bytes that may be written to a disk in a second."),
    "device_read_iops": ("max.riops", "PATH:N", "Operations of reading from a disk in a second."),
    "device_write_iops": ("max.wiops", "PATH:N", "Operations of writing to a disk in a second."),
}
IO_NAMES: Final = (*_LIMITS, "blkio_weight", "blkio_weight_device")
"""The parameters that :data:`IO_FLAGS` make."""

IO_FLAGS: Final = (
    *(
        click.option(f"--{name.replace('_', '-')}", name, multiple=True, metavar=metavar, help=f"{text} Repeatable.")
        for name, (_, metavar, text) in _LIMITS.items()
    ),
    click.option(
        "--blkio-weight", metavar="N", help="Share of busy disks, 10 to 1000 (100), where BFQ is their scheduler."
    ),
    click.option(
        "--blkio-weight-device", multiple=True, metavar="PATH:N", help="The same, of one disk alone. Repeatable."
    ),
)


def io_wishes(given: dict[str, Any]) -> dict[str, Any]:
    """Return what the flags wish of the controller ``io``.

    Raises:
        UsageError: a value is no device and number.
    """
    found: dict[str, Any] = {}
    for name, (attribute, _, _) in _LIMITS.items():
        if given[name]:
            found[attribute] = _devices(name, given[name])
    if given["blkio_weight"] is not None:
        found["weight"] = _weight("--blkio-weight", given["blkio_weight"])
    if given["blkio_weight_device"]:
        weights = _devices("blkio_weight_device", given["blkio_weight_device"])
        found["device_weight"] = {
            device: _weight(f"--blkio-weight-device {device}", weight) for device, weight in weights.items()
        }
    return found


def _devices(name: str, words: tuple[str, ...]) -> dict[str, str]:
    flag, found = f"--{name.replace('_', '-')}", {}
    for word in words:
        device, colon, value = word.rpartition(":")
        if not colon or not device or not value:
            msg = f"{flag} {word!r}: not a device and its value; give such as /dev/vda:100"
            raise click.UsageError(msg)
        if device in found:
            msg = f"{flag}: {device} is named twice; leave one of them out"
            raise click.UsageError(msg)
        found[device] = value
    return found


def _weight(flag: str, text: str) -> int:
    """Return the ``io.weight`` that is exactly this weight to BFQ."""
    if not text.isascii() or not text.isdigit() or not _LEAST_WEIGHT <= int(text[:5]) <= _MOST_WEIGHT:
        msg = f"{flag} {text!r}: not a weight; give {_LEAST_WEIGHT} to {_MOST_WEIGHT}"
        raise click.UsageError(msg)
    return cgctl.convert.bfq_to_io_weight(int(text))
