"""The files of the io controller: one line for each device, and one line a write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec
from cgctl.controllers.io._spec import DEFAULT, LIMITS
from cgctl.convert import bfq_to_io_weight, io_to_bfq_weight
from cgctl.units import MAX, Limit

__all__ = [
    "THROTTLE",
    "BfqWeight",
    "DeviceWeights",
    "Keys",
    "Latency",
    "MaxLines",
    "Throttle",
    "Weights",
    "device_lines",
    "keys",
]

THROTTLE: Final = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}
"""v1's files: the limit → the file that has it."""
_SILENT: Final = re.compile(r"(?:[0-9]+:[0-9]+ +)+(?=[0-9]+:[0-9]+( |$))", re.ASCII)


def device_lines(text: str) -> dict[str, str]:
    """Read ``DEVICE REST`` lines; a device that has nothing to tell is left out.

    Kernels print some of these without ending the line, so that the device whose line it is comes last.
    """
    found = {}
    for line in text.splitlines():
        device, _, rest = _SILENT.sub("", line.strip()).partition(" ")
        if rest:
            found[device] = rest.strip()
    return found


def keys(text: str) -> dict[str, str]:
    """Read ``KEY=VALUE KEY=VALUE``."""
    return dict(word.partition("=")[::2] for word in text.split())


def _written(lines: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{device} {rest}" for device, rest in lines)


class _Lines(Codec):
    """A file with a line for each device, of which only those that change are written."""

    def is_held(self, held: str, wanted: str) -> bool:
        """Tell whether a device's line (empty: it has none) says already what is wanted."""
        there = keys(held)
        return all(there.get(key) == value for key, value in keys(wanted).items())

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        return not self.pending(held, wanted, page_size)

    def pending(self, held: str | None, wanted: str, page_size: int) -> tuple[str, ...]:
        del page_size
        there = device_lines(held or "")
        return tuple(
            f"{device} {rest}"
            for device, rest in device_lines(wanted).items()
            if held is None or not self.is_held(there.get(device, ""), rest)
        )


@attrs.frozen(kw_only=True)
class Throttle(_Lines):
    """One of v1's four files; 0 takes a limit away.

    Attributes:
        key: which limit.
    """

    key: str

    def encode(self, value: Mapping[str, Limit], spec: Any) -> str:
        del spec
        return _written((device, "0" if limit is MAX else str(limit)) for device, limit in value.items())

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, Limit]:
        # A device that has one of the limits is told of with all four, as v2 does.
        devices = [device for name in THROTTLE.values() for device in device_lines(texts.get(name, ""))]
        return dict.fromkeys(devices, MAX) | {device: int(rest) or MAX for device, rest in device_lines(text).items()}

    def is_held(self, held: str, wanted: str) -> bool:
        return int(held or "0") == int(wanted)


@attrs.frozen(kw_only=True)
class MaxLines(_Lines):
    """``io.max``: four limits a line, written together.

    Attributes:
        key: which of them the row is about.
    """

    key: str

    def encode(self, value: Mapping[str, Limit], spec: Any) -> str:
        del value
        limits = {key: getattr(spec, f"max.{key}", None) or {} for key in LIMITS}
        devices = dict.fromkeys(device for each in limits.values() for device in each)
        return _written(
            (device, " ".join(f"{key}={limits[key].get(device, MAX)}" for key in LIMITS)) for device in devices
        )

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, Limit]:
        del texts
        values = {device: keys(rest).get(self.key, "max") for device, rest in device_lines(text).items()}
        return {device: MAX if value == "max" else int(value) for device, value in values.items()}

    def is_held(self, held: str, wanted: str) -> bool:
        there = keys(held)
        return all(there.get(key, "max") == value for key, value in keys(wanted).items())


class BfqWeight(Codec):
    """v1's ``blkio.bfq.weight``, on the scale of ``io.weight``."""

    def encode(self, value: int, spec: Any) -> str:
        del spec
        return str(io_to_bfq_weight(value))

    def decode(self, text: str, texts: Mapping[str, str]) -> int:
        del texts
        return bfq_to_io_weight(int(text))


def _as_it_is(weight: int) -> int:
    return weight


@attrs.frozen(kw_only=True)
class _WeightLines(_Lines):
    """Weights of devices, and the default of those that have none of their own.

    Attributes:
        to: from the scale of ``io.weight`` to the file's.
        back: and back.
    """

    to: Callable[[int], int] = _as_it_is
    back: Callable[[int], int] = _as_it_is

    def written(self, weights: Mapping[str, int | str]) -> str:
        """Write lines of weights."""
        lines = weights.items()
        return _written((device, each if isinstance(each, str) else str(self.to(each))) for device, each in lines)

    def weights(self, text: str) -> dict[str, int]:
        """Read lines of weights."""
        return {device: self.back(int(rest)) for device, rest in device_lines(text).items()}

    def is_held(self, held: str, wanted: str) -> bool:
        return (held or DEFAULT) == wanted


@attrs.frozen(kw_only=True)
class Weights(_WeightLines):
    """``io.weight`` and ``io.bfq.weight``: two rows each, of the default and of the devices.

    Attributes:
        of_devices: which of the two rows it is.
        suffix: what their names end in.
    """

    of_devices: bool = False
    suffix: str = ""

    def encode(self, value: Any, spec: Any) -> str:
        del value
        default = getattr(spec, f"weight{self.suffix}", None)
        weights = getattr(spec, f"device_weight{self.suffix}", None) or {}
        return self.written(({} if default is None else {DEFAULT: default}) | dict(weights))

    def decode(self, text: str, texts: Mapping[str, str]) -> int | dict[str, int] | None:
        del texts
        weights = self.weights(text)
        default = weights.pop(DEFAULT, None)
        return weights if self.of_devices else default


@attrs.frozen(kw_only=True)
class DeviceWeights(_WeightLines):
    """v1's ``blkio.bfq.weight_device``, which has the weights of all disks."""

    def encode(self, value: Any, spec: Any) -> str:
        del value
        both = [getattr(spec, name, None) or {} for name in ("device_weight", "device_weight.bfq")]
        return self.written({**both[0], **both[1]})

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, int]:
        del texts
        return {device: weight for device, weight in self.weights(text).items() if device != DEFAULT}


@attrs.frozen(kw_only=True)
class Latency(_Lines):
    """``io.latency``: ``DEVICE target=USEC``."""

    def encode(self, value: Mapping[str, int], spec: Any) -> str:
        del spec
        return _written((device, f"target={usec}") for device, usec in value.items())

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, int]:
        del texts
        return {device: int(keys(rest)["target"]) for device, rest in device_lines(text).items()}

    def is_held(self, held: str, wanted: str) -> bool:
        return (held or "target=0") == wanted


@attrs.frozen(kw_only=True)
class Keys(_Lines):
    """``io.cost.qos`` and ``io.cost.model``: an object for each device, of which what is given is written.

    Attributes:
        into: its class; an attribute that ends in ``_usec`` is the kernel's key without that.
    """

    into: type[Any]

    def encode(self, value: Mapping[str, Any], spec: Any) -> str:
        del spec
        return _written((device, self._words(each)) for device, each in value.items())

    def _words(self, each: Any) -> str:
        given = {name: getattr(each, name) for name in attrs.fields_dict(self.into)}
        return " ".join(f"{_key(name)}={_text(value)}" for name, value in given.items() if value is not None)

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, Any]:
        del texts
        names = {_key(name): name for name in attrs.fields_dict(self.into)}
        return {
            device: self.into(**{names[key]: value for key, value in keys(rest).items() if key in names})
            for device, rest in device_lines(text).items()
        }


def _key(name: str) -> str:
    return name.removesuffix("_usec")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.2f}" if isinstance(value, float) else str(value)
