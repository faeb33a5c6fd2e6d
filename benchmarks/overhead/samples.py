"""Samples of a group, beside a pread of each of the same files by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator

import cgctl
from measuring import Result, pair
from pairs import WISHES, name_of

_CHUNK = 65536


def samples(rounds: int) -> Iterator[Result]:
    """Measure one sample: taken, taken and looked at for processors and memory, and of three files alone."""
    with cgctl.Group(name_of("sample"), join=False, **WISHES[3]) as group:
        for name, what, looked_at in (
            ("sample", (), False),
            ("sample, with cpu and memory", (), True),
            ("sample of three files", ("cpu.usage_usec", "memory.current", "pids.current"), False),
        ):
            with group.sampler(*what) as sampler:
                fds = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in sampler.paths()]

                def ours(sampler: cgctl.Sampler = sampler, *, looked_at: bool = looked_at) -> None:
                    sample = sampler.read()
                    if looked_at:
                        assert sample.cpu is not None  # noqa: S101 - to look at it is what is measured
                        assert sample.memory is not None  # noqa: S101 - the same

                def floor(fds: list[int] = fds) -> None:
                    for fd in fds:
                        os.pread(fd, _CHUNK, 0)

                try:
                    yield pair(name, ours, floor, rounds, note=f"{len(fds)} files")
                finally:
                    for fd in fds:
                        os.close(fd)
