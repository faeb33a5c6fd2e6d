"""One run: the machine found or made, the command run in it, its exit status given back."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.vm import image, initramfs, saved
from tests.vm.cache import IMAGES, KERNELS, MACHINES, Cache
from tests.vm.errors import MachineError
from tests.vm.fetch import Archive, check_tools, note
from tests.vm.job import Job
from tests.vm.machine import RESTORE_SECONDS, Machine, Spec


class Runner:
    """Runs jobs in machines, with a cache."""

    def __init__(self, cache: Cache, limit: int) -> None:
        """Take the cache and how many bytes it may hold."""
        self._cache = cache
        self._limit = limit

    def run(self, spec: Spec, job: Job, timeout: float) -> int:
        """Run a job, passing on what it writes.

        Raises:
            MachineError: if the machine, rather than the job, fails.
            CommandTimeoutError: after *timeout* seconds of the job.
        """
        for last in (False, True):
            with self._machine(spec) as (machine, path):
                try:
                    machine.send(job.pack(), time.monotonic() + RESTORE_SECONDS)
                    machine.expect(b"s", time.monotonic() + RESTORE_SECONDS)
                except MachineError as error:
                    if last:
                        raise
                    note(f"a saved machine does not wake up, and is made anew: {error}")
                else:
                    return machine.command(timeout, _writer(sys.stdout.fileno()), _writer(sys.stderr.fileno()))
            self._cache.remove(path)
        raise AssertionError

    def prepare(self, spec: Spec) -> None:
        """Have the machine ready in the cache, without running anything."""
        with self._saved(spec):
            pass

    @contextlib.contextmanager
    def _machine(self, spec: Spec) -> Iterator[tuple[Machine, Path]]:
        with self._saved(spec) as (kernel, path):
            state, disk = path / saved.STATE, path / saved.DISK
            with Machine(spec, kernel, path / saved.INITRD, disk, restore=state) as machine:
                yield machine, path

    @contextlib.contextmanager
    def _saved(self, spec: Spec) -> Iterator[tuple[Path, Path]]:
        """Hold the kernel and the saved machine, each made if need be."""
        check_tools()
        built = []

        def build_kernel(into: Path) -> None:
            built.append(into)
            initramfs.build(spec.kernel, Archive(self._cache), into)

        def build_image(into: Path) -> None:
            built.append(into)
            image.build(into)

        with (
            self._cache.entry(KERNELS, spec.kernel.series, initramfs.key(spec.kernel), build_kernel) as kernel,
            self._cache.entry(IMAGES, "root", image.key(), build_image) as root,
        ):

            def build_machine(into: Path) -> None:
                built.append(into)
                saved.build(spec, kernel, root, into)

            with self._cache.entry(MACHINES, spec.name, saved.key(spec, kernel, root), build_machine) as machine:
                if built:
                    for gone in self._cache.trim(self._limit):
                        note(f"evicted {gone.path.name}")
                yield kernel, machine


def _writer(file: int) -> Callable[[bytes], None]:
    """Make a function that writes all it is given to *file*: a terminal or a pipe may take less at a time."""

    def write(content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]

    return write
