"""A limit for one cell of a notebook: a runaway cell ends, and the notebook with all its variables does not."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cgctl

_numbers = itertools.count(1)


def cell(function: Callable[[], Any], memory: str = "200M", seconds: float = 60.0) -> Any:
    """Call a function in a forked process that sees all variables, within limits, and return what it returns.

    Raises:
        MemoryError: it needed more memory.
        TimeoutError: it took longer.
        RuntimeError: it ended without a result.
    """
    fork = multiprocessing.get_context("fork")
    result, answer = fork.Pipe(duplex=False)
    gate, begin = fork.Pipe(duplex=False)

    def child() -> None:
        gate.recv()  # not before it is in the group
        answer.send(function())

    with cgctl.Group(f"cgctl-cell-{os.getpid()}-{next(_numbers)}", memory=memory, join=False) as group:
        process = fork.Process(target=child)
        process.start()
        answer.close()  # so that the end of the process is seen
        group.add(process.pid or 0)
        begin.send(None)
        try:
            if not result.poll(seconds):
                raise TimeoutError(f"the cell took longer than {seconds} s")
            with suppress(EOFError):
                return result.recv()
        finally:
            group.kill()
            process.join()
        usage = group.stats("memory").memory
        if usage is not None and usage.events is not None and usage.events.oom_kill:
            raise MemoryError(f"the cell needed more than {memory}")
        raise RuntimeError(f"the cell ended with {process.exitcode}")


if __name__ == "__main__":
    data = list(range(1000))
    print(cell(lambda: sum(data)))
    try:
        cell(lambda: bytearray(1 << 30))
    except MemoryError as error:
        print(error)
    print(len(data), "numbers are still there")
