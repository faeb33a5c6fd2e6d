"""Walk the steps of a plan, with their retries and excuses; take back what was made when one fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from errno import EBUSY, EEXIST, EINVAL, ENOENT, ESRCH

from cgctl import diagnose
from cgctl.filesystem._protocol import Filesystem
from cgctl.plan import (
    GONE,
    Mkdir,
    Plan,
    Request,
    Retry,
    Rmdir,
    Signal,
    Snapshot,
    Step,
    Write,
    lasting,
    needs,
    plan,
)
from cgctl.plan.alike import for_new
from cgctl.plan.steps import REMOVE

__all__ = ["attempt", "execute", "is_there", "read_all", "read_each", "remove_tree", "satisfy"]


class _NotHeldError(OSError):
    """The kernel took a write, and then said that what was written does not hold."""


def read_all(filesystem: Filesystem, paths: Iterable[str]) -> dict[str, bytes | int]:
    """Read files into a snapshot's values: the content, or the errno."""
    values: dict[str, bytes | int] = {}
    for path in paths:
        try:
            values[path] = filesystem.read(path)
        except OSError as error:
            values[path] = error.errno or ENOENT
    return values


def read_each(filesystem: Filesystem, directory: str, names: Sequence[str]) -> list[bytes | int]:
    """Return of each of a directory's files the content, or the errno; some kernels open the directory once for all."""
    together: Callable[[str, Sequence[str]], list[bytes | int]] | None = getattr(filesystem, "read_each", None)
    if together is not None:
        return together(directory, names)
    return [*read_all(filesystem, [f"{directory}/{name}" for name in names]).values()]


def satisfy(
    filesystem: Filesystem, request: Request, learnt: MutableMapping[str, bytes | int] | None = None
) -> tuple[Plan, Snapshot]:
    """Read all that a plan needs, and plan.

    Args:
        filesystem: the kernel.
        request: what is wanted.
        learnt: what was read before and lasts, which is not read again; what is read now and lasts is added.
    """
    # Most groups are new, and to ask whether there is one costs less than to read a file of it.
    values = {} if learnt is None else dict(learnt)
    for place in request.places:
        if not filesystem.exists(place.directory):
            values[place.marker()] = ENOENT
        elif place.hierarchy.version == 1:
            values[place.marker()] = b""  # that it is there is all that is asked of it
    snapshot, before = Snapshot(values), len(values)
    while True:
        answer = for_new(request, snapshot)
        if answer is None:
            answer = needs(request, snapshot) or plan(request, snapshot)
        if isinstance(answer, Plan):
            break
        snapshot = snapshot.merged(read_all(filesystem, answer))
    if learnt is not None and len(snapshot.values) > before:
        learnt.update(lasting(request, snapshot))
    return answer, snapshot


def execute(
    filesystem: Filesystem, steps: Plan, marks: Callable[[Mkdir], Mapping[str, bytes]] | None = None
) -> tuple[Step, ...]:
    """Carry out a plan; return the steps that were done.

    Args:
        filesystem: the kernel.
        steps: the plan.
        marks: which marks a group that is made is to have, where the step has none itself.

    Raises:
        StepError: the kernel refused a step. Groups that were made are removed again, processes that
            were moved are moved back; the error's ``done`` names what stays in effect.
        UnsupportedError: the step that was refused shows that the kernel has not what was asked.
        GroupExistsError: a group that was to be made is there already.
    """
    done: list[Step] = []
    for step in steps:
        try:
            if marks is not None and isinstance(step, Mkdir) and not step.marks:
                _mkdir(filesystem, step, marks(step))
            else:
                attempt(filesystem, step)
        except OSError as error:
            number = error.errno or 0
            # Looked at before the undoing, which may take away the very group that explains it.
            snapshot = Snapshot(read_all(filesystem, diagnose.needs(step, number)))
            # Taken back before what it rests on, and put back after: with that it may hold again.
            effective = [step, *done, step] if isinstance(error, _NotHeldError) else done
            raise diagnose.explain(step, number, snapshot, _undo(filesystem, effective)) from error
        except BaseException:  # such as KeyboardInterrupt
            _undo(filesystem, done)
            raise
        done.append(step)
    return tuple(done)


def attempt(filesystem: Filesystem, step: Step) -> None:
    """Do one step.

    Raises:
        OSError: the kernel refused it, and the step knows no excuse.
    """
    if isinstance(step, Write):
        _write(filesystem, step)
    elif isinstance(step, Mkdir):
        _mkdir(filesystem, step, step.marks)
    elif isinstance(step, Rmdir):
        _retried(filesystem, lambda: _excused(lambda: filesystem.rmdir(step.path), GONE), step.retry)
    elif isinstance(step, Signal):
        _excused(lambda: filesystem.signal(step.pid, step.number), {ESRCH})
    else:
        _excused(lambda: filesystem.chown(step.path, step.uid, step.gid), {ENOENT} if step.missing_ok else set())


def _mkdir(filesystem: Filesystem, step: Mkdir, marks: Mapping[str, bytes]) -> None:
    try:
        filesystem.mkdir(step.path, marks)
    except OSError as error:
        if error.errno != EEXIST or not step.shared:
            raise


def _write(filesystem: Filesystem, step: Write) -> None:
    try:
        if step.retry is None:
            filesystem.write(step.path, step.data)
        else:
            _retried(filesystem, lambda: filesystem.write(step.path, step.data), step.retry)
    except OSError as error:
        if step.gone_ok and error.errno == ESRCH:
            return
        # Without the file the kernel lacks the feature; without the directory the group has vanished.
        procs = f"{step.path.rpartition('/')[0]}/cgroup.procs"
        if step.missing_ok and error.errno == ENOENT and is_there(filesystem, procs):
            return
        if step.instead and error.errno == ENOENT and is_there(filesystem, step.instead):
            return
        raise
    if step.expect is not None and filesystem.read(step.path).strip() != step.expect:
        raise _NotHeldError(EINVAL, "taken, but not held", step.path)


def is_there(filesystem: Filesystem, path: str) -> bool:
    """Tell whether there is such a file, be it one that cannot be read."""
    try:
        filesystem.read(path)
    except OSError as error:
        return error.errno not in GONE
    return True


def _retried(filesystem: Filesystem, action: Callable[[], None], retry: Retry | None) -> None:
    try:
        action()
    except OSError as error:
        if retry is None or error.errno != retry.errno:
            raise
    else:
        return
    deadline = filesystem.monotonic() + retry.total_usec / 1e6
    pause = retry.delay_usec / 1e6
    while True:
        filesystem.sleep(pause)
        try:
            action()
        except OSError as error:
            if error.errno != retry.errno or filesystem.monotonic() >= deadline:
                raise
        else:
            return
        pause = min(pause * 2, retry.longest_usec / 1e6)


def _excused(action: Callable[[], None], errnos: Collection[int]) -> None:
    try:
        action()
    except OSError as error:
        if error.errno not in errnos:
            raise


def remove_tree(filesystem: Filesystem, directory: str, *, timeout: float) -> None:
    """Remove a directory and all groups below it, children first, waiting for dying processes.

    Raises:
        OSError: it is still busy after *timeout* seconds, or may not be removed.
    """
    if _is_removed(filesystem, directory):  # mostly nothing is in the way
        return
    retry = Retry(errno=EBUSY, delay_usec=1_000, total_usec=int(timeout * 1e6))
    _retried(filesystem, lambda: _empty_and_remove(filesystem, directory), retry)


def _empty_and_remove(filesystem: Filesystem, directory: str) -> None:
    try:
        for name in filesystem.listdir(directory):
            below = f"{directory}/{name}"
            if not _is_removed(filesystem, below):
                _empty_and_remove(filesystem, below)
    except OSError as error:
        if error.errno not in GONE:
            raise
    _excused(lambda: filesystem.rmdir(directory), GONE)


def _is_removed(filesystem: Filesystem, directory: str) -> bool:
    """Remove a directory unless it is busy; tell whether it is gone."""
    try:
        filesystem.rmdir(directory)
    except OSError as error:
        if error.errno != EBUSY and error.errno not in GONE:
            raise
        return error.errno in GONE
    return True


def _undo(filesystem: Filesystem, done: list[Step]) -> tuple[Step, ...]:
    """Take back what was created, the last first; return the steps that stay in effect."""
    kept: list[Step] = []
    removed: list[str] = []
    for step in reversed(done):
        try:
            if isinstance(step, Mkdir):
                # A parent that was made on the way may have another user by now, and then stays.
                attempt(filesystem, Rmdir(path=step.path, retry=None if step.shared else REMOVE))
                removed.append(step.path + "/")
                continue
            if isinstance(step, Write) and step.undo is not None:
                filesystem.write(step.undo_path or step.path, step.undo)
                continue
        except OSError:
            pass  # what could not be taken back is reported as still in effect
        kept.append(step)
    return tuple(step for step in reversed(kept) if not getattr(step, "path", "").startswith(tuple(removed)))
