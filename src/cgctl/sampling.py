"""What a group uses, again and again: its files stay open, and what is not asked for is not worked out.

A sample is the bytes that the kernel gave; statistics and rates are made of them when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from errno import ENODEV
from functools import cached_property
from typing import Any, Final

import attrs

from cgctl.closing import Closing
from cgctl.controllers import CONTROLLERS, IoDevice, Stats
from cgctl.errors import GroupNotFoundError, SpecError, StepError, shown
from cgctl.filesystem import Filesystem, Series
from cgctl.gathering import File, Places, Table, narrowed, statistics_table
from cgctl.layout import Layout
from cgctl.plan import GONE
from cgctl.reading import decoded
from cgctl.units import parse_duration

__all__ = ["IoRates", "NetRates", "Sample", "Sampler"]

_USUAL: Final = ("cpu", "memory", "pids", "io")
_CPU, _MEMORY, _PIDS = ("cpu", "usage_usec"), ("memory", "current"), ("pids", "current")
_Decode = Callable[[str, Mapping[str, str]], Any]
_NOWHERE: Final[tuple[int, int, _Decode | None]] = (0, 0, None)


@attrs.frozen(kw_only=True)
class IoRates:
    """What a group did to one disk between two samples.

    Attributes:
        rbps: bytes read, a second.
        wbps: bytes written, a second.
        riops: operations of reading, a second.
        wiops: operations of writing, a second.
    """

    rbps: float
    wbps: float
    riops: float
    wiops: float


@attrs.frozen(kw_only=True)
class NetRates:
    """What a group sent and received between two samples, where it counts that (``Net(accounting=True)``, v2).

    Attributes:
        rx_bps: bytes received, a second.
        tx_bps: bytes sent, a second.
        rx_pps: packets received, a second.
        tx_pps: packets sent, a second.
    """

    rx_bps: float
    tx_bps: float
    rx_pps: float
    tx_pps: float


class Sample:
    """What a group used at one time, and between then and the sample before.

    Attributes:
        time: when it was read: seconds of the clock of ``time.monotonic()`` (of the kernel's own, in memory).
        elapsed: seconds since the sample before, or since the sampler was made.
    """

    def __init__(self, maker: _Maker, time: float, answers: _Answers, before: tuple[float, _Answers]) -> None:
        self._maker = maker
        self._answers = answers
        self._before = before[1]
        self.time = time
        self.elapsed = time - before[0]

    def __repr__(self) -> str:
        return f"Sample(time={self.time:.6f}, elapsed={self.elapsed:.6f}, cpu={self.cpu}, memory={self.memory})"

    @cached_property
    def stats(self) -> Stats:
        """All that was sampled, as :meth:`cgctl.Group.stats` has it.

        On v1, OOM kills in groups below are counted when this is looked at first.
        """
        return self._maker.stats(self._answers)

    @property
    def cpu(self) -> float | None:
        """Processors used since the sample before (1.5 is one and a half); ``None`` where that was not sampled."""
        used = self._maker.number(self._answers, _CPU)
        before = self._maker.number(self._before, _CPU)
        return None if used is None or before is None or self.elapsed <= 0 else (used - before) / self.elapsed / 1e6

    @property
    def memory(self) -> int | None:
        """Bytes of memory in use; ``None`` where that was not sampled."""
        return self._maker.number(self._answers, _MEMORY)

    @property
    def pids(self) -> int | None:
        """How many tasks there are; ``None`` where that was not sampled."""
        return self._maker.number(self._answers, _PIDS)

    @property
    def io(self) -> Mapping[str, IoRates]:
        """What was read and written since the sample before, by the number of the disk, such as ``8:0``."""
        now, before = self._devices(self.stats), self._devices(self._maker.stats(self._before))
        found = {}
        for number, device in now.items():
            was = before.get(number, IoDevice())
            found[number] = IoRates(
                rbps=self._rate(device.rbytes, was.rbytes),
                wbps=self._rate(device.wbytes, was.wbytes),
                riops=self._rate(device.rios, was.rios),
                wiops=self._rate(device.wios, was.wios),
            )
        return found

    @property
    def net(self) -> NetRates | None:
        """What was sent and received since the sample before; ``None`` where that is not counted, or not sampled."""
        now, before = self.stats.net, self._maker.stats(self._before).net
        if now is None or before is None or now.rx_bytes is None:
            return None
        return NetRates(
            rx_bps=self._rate(now.rx_bytes, before.rx_bytes),
            tx_bps=self._rate(now.tx_bytes, before.tx_bytes),
            rx_pps=self._rate(now.rx_packets, before.rx_packets),
            tx_pps=self._rate(now.tx_packets, before.tx_packets),
        )

    @staticmethod
    def _devices(stats: Stats) -> Mapping[str, IoDevice]:
        return (stats.io.devices if stats.io is not None else None) or {}

    def _rate(self, now: int | None, before: int | None) -> float:
        return max((now or 0) - (before or 0), 0) / self.elapsed if self.elapsed > 0 else 0.0


class _Answers:
    """What was read: of each directory, of each file; and the numbers that somebody has looked at."""

    __slots__ = ("numbers", "read")

    def __init__(self, read: list[list[bytes | int]]) -> None:
        self.read = read
        self.numbers: dict[tuple[str, str], int | None] = {}

    def flat(self) -> list[bytes | int]:
        """Return all answers, one directory after the other."""
        return [answer for each in self.read for answer in each]


class _Maker:
    """Makes of what was read what was asked for."""

    def __init__(self, filesystem: Filesystem, places: Places, table: Table) -> None:
        self._filesystem = filesystem
        self._places = places
        self.table = table
        self._where: dict[File, tuple[int, int]] = {
            (label, root, name): (directory, number)
            for directory, (label, root, names) in enumerate(table.files)
            for number, name in enumerate(names)
        }
        self._numbers: dict[tuple[str, str], tuple[int, int, _Decode]] = {
            (controller.name, reading.attribute): (*self._where[reading.file], reading.side.codec.decode)
            for controller, readings in table.controllers
            for reading in readings
        }

    def stats(self, answers: _Answers) -> Stats:
        return decoded(self._filesystem, self._places, self.table, self._by_file(answers))

    def number(self, answers: _Answers, which: tuple[str, str]) -> int | None:
        """Return one number, by controller and attribute, without looking at all the others."""
        numbers = answers.numbers
        if which not in numbers:
            directory, number, decode = self._numbers.get(which, _NOWHERE)
            answer = answers.read[directory][number] if decode else None
            numbers[which] = decode(answer.decode(), {}) if decode and isinstance(answer, bytes) else None
        return numbers[which]

    def _by_file(self, answers: _Answers) -> dict[File, bytes | int]:
        return {file: answers.read[directory][number] for file, (directory, number) in self._where.items()}


class Sampler(Closing):
    """Samples of what a group uses; ``with`` closes its files. :meth:`cgctl.Group.sampler` makes these.

    Iterating gives a sample each interval, and ends when the group is removed, or when the time is over.

    Attributes:
        interval: seconds from one sample to the next.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        layout: Layout,
        places: Places,
        names: Sequence[str],
        *,
        interval: float | str,
        timeout: float | str | None,
        name: str,
    ) -> None:
        """Open the files, and read them once.

        Raises:
            SpecError: an argument is nonsense.
            GroupNotFoundError: the group is gone.
            StepError: its files cannot be opened (``EMFILE``: too many are open).
        """
        self.interval = parse_duration(interval, "interval") / 1e6
        if self.interval <= 0:
            msg = f"interval={shown(interval)}: samples take some time; give more than 0, such as '100ms'"
            raise SpecError(msg)
        limit = None if timeout is None else parse_duration(timeout, "timeout") / 1e6
        table = _table(layout, tuple(places), tuple(names) or _USUAL)
        self._filesystem = filesystem
        self._places = places
        self._name = name
        self._maker = _Maker(filesystem, places, table)
        self._series: list[Series] = []
        # It is this group, and not the next one of its name.
        self._markers: list[Series] = []
        self._clock: Callable[[], float] = filesystem.monotonic
        try:
            read = {label for label, root, _ in table.files if not root} or {*places}
            for place in (places[label] for label in places if label in read):
                self._markers.append(filesystem.series(place.directory, [place.marker().rpartition("/")[2]]))
            for label, root, files in table.files:
                place = places[label]
                directory = place.hierarchy.mount_point if root else place.directory
                self._series.append(filesystem.series(directory, files))
            self._before = self._clock(), self._answers()
        except OSError as error:
            self.close()
            if error.errno not in GONE:  # EMFILE: there are too many files open
                raise StepError(f"open the files of group {name!r}", error.errno or 0) from error
            msg = f"group {name!r} was removed meanwhile"
            raise GroupNotFoundError(msg) from error
        self._next = self._before[0]
        self._end = None if limit is None else self._next + limit

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of group {self._name!r}>"

    def paths(self) -> list[str]:
        """Return the files that are read; those that this kernel has."""
        found = []
        for label, root, files in self._maker.table.files:
            place = self._places[label]
            found += [f"{place.hierarchy.mount_point if root else place.directory}/{file}" for file in files]
        return [path for path, answer in zip(found, self._before[1].flat(), strict=True) if isinstance(answer, bytes)]

    def read(self) -> Sample:
        """Take a sample now; its rates are since the sample before.

        Raises:
            GroupNotFoundError: the group is gone.
            ValueError: it was closed.
        """
        if not self._series:
            msg = "the sampler is closed"
            raise ValueError(msg)
        before = self._before
        time = self._clock()
        try:
            answers = self._answers()
        except OSError as error:
            msg = f"group {self._name!r} is gone"
            raise GroupNotFoundError(msg) from error
        self._before = time, answers
        return Sample(self._maker, time, answers, before)

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        now = self._clock()
        # Those that were missed are left out: samples are not taken in a hurry.
        self._next = max(self._next + self.interval, now)
        if not self._series or (self._end is not None and self._next > self._end):
            raise StopIteration
        if self._next > now:
            self._filesystem.sleep(self._next - now)
        try:
            return self.read()
        except GroupNotFoundError:
            raise StopIteration from None

    def _answers(self) -> _Answers:
        answers = _Answers([series.read() for series in self._series])
        if any([series.lost for series in self._series]):  # noqa: C419 - a list is quicker
            self._require()
        return answers

    def _require(self) -> None:
        """Look whether it is the group that is gone, and not a controller of it, in any hierarchy that is read.

        Raises:
            OSError: it is.
        """
        for marker in self._markers:
            marker.read()
            if marker.lost:
                raise OSError(ENODEV, "the group is gone")

    def close(self) -> None:
        """Close the files; again is fine."""
        opened, self._series, self._markers = self._series + self._markers, [], []
        for each in opened:
            each.close()


def _table(layout: Layout, labels: tuple[str, ...], names: tuple[str, ...]) -> Table:
    """Return what is read: of controllers all that they tell, or just some attributes of them.

    Raises:
        SpecError: there is no such controller, or it tells no such thing.
    """
    wanted: dict[str, set[str]] = {}
    for name in names:
        controller, dot, attribute = name.partition(".")
        if controller not in CONTROLLERS:
            msg = f"sampler({shown(name)}): there is no such controller; cgctl has {', '.join(CONTROLLERS)}"
            raise SpecError(msg)
        known = {row.attribute for row in CONTROLLERS[controller].readings}
        if dot and attribute not in known:
            msg = f"sampler({shown(name)}): {controller} tells no such thing; it has {', '.join(sorted(known))}"
            raise SpecError(msg)
        wanted.setdefault(controller, set()).update({attribute} if dot else known)
    return narrowed(statistics_table(layout, labels, tuple(wanted)), wanted)
