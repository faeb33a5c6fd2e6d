"""Limits on huge pages, met for real: the tests allocate some, in a machine of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import cgctl
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make

pytestmark = pytest.mark.host

_PAGE = 2 << 20
_PAGES = 8
_POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")

_TOUCH = """
import mmap, sys
MAP_HUGETLB, PAGE = 0x40000, 2 << 20
reserved, touched = map(int, sys.argv[1:])
try:
    held = mmap.mmap(-1, reserved * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_HUGETLB)
except OSError as error:
    print(error.errno, flush=True)
    sys.exit(1)
for page in range(touched):
    held[page * PAGE] = 1
print("held", flush=True)
"""


@pytest.fixture
def pool() -> Iterator[None]:
    """Have some pages that nobody uses."""
    lacks.require("hugetlb", "pages of 2MB")
    before = _POOL.read_text(encoding="utf-8")
    _POOL.write_text(str(_PAGES), encoding="utf-8")
    if int(_POOL.read_text(encoding="utf-8")) < _PAGES:
        pytest.fail(f"the kernel has no {_PAGES} huge pages to spare")
    yield
    _POOL.write_text(before, encoding="utf-8")


def _run(group: cgctl.Group, reserved: int, touched: int) -> cgctl.Completed:
    return group.run(payloads.python(_TOUCH, reserved, touched), capture_output=True, text=True)


def _pages(group: cgctl.Group) -> cgctl.HugetlbPages:
    stats = group.stats("hugetlb").hugetlb
    assert stats is not None
    return stats.pages["2MB"]


@pytest.mark.usefixtures("pool")
def test_use_is_limited(make: Make) -> None:
    """Pages up to the limit can be touched; the next one is a SIGBUS, and counted."""
    group = make(hugetlb={"2M": "4M"})
    within, beyond = _run(group, 3, 2), _run(group, 3, 3)

    assert (within.returncode, within.stdout) == (0, "held\n")
    assert beyond.returncode == -signal.SIGBUS
    assert _pages(group).current == 0
    assert (_pages(group).events_max or _pages(group).events_local_max or 0) >= 1


@pytest.mark.usefixtures("pool")
def test_reservation_is_limited(make: Make) -> None:
    """Memory up to the limit can be mapped; more is an ENOMEM, whether it is touched or not."""
    group = make(hugetlb=cgctl.Hugetlb(rsvd_max={"2M": "4M"}))
    within, beyond = _run(group, 2, 2), _run(group, 3, 0)

    assert (within.returncode, within.stdout) == (0, "held\n")
    assert (beyond.returncode, beyond.stdout) == (1, "12\n")


@pytest.mark.usefixtures("pool")
def test_use_is_counted(make: Make) -> None:
    """What is touched is used, and what is mapped reserved, on the nodes that have it."""
    group = make(hugetlb={"2M": "8M"})
    source = _TOUCH + "import time; time.sleep(100)"
    with group.popen(payloads.python(source, 3, 2), stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        pages = _pages(group)
        process.kill()

    assert (pages.current, pages.rsvd_current) == (2 * _PAGE, 3 * _PAGE)
    assert pages.numa_stat is None or sum(pages.numa_stat.values()) == 2 * _PAGE
    assert pages.peak in (2 * _PAGE, None)


@pytest.mark.usefixtures("pool")
def test_a_limit_above_counts_where_the_page_says(make: Make) -> None:
    """v2 counts a limit that was met in the process's group and those above it; v1 in the group whose limit it is."""
    parent = make(hugetlb={"2M": "2M"})
    child = make(name="child", parent=parent, hugetlb={"2M": "max"})
    done = _run(child, 2, 2)
    above, below = _pages(parent), _pages(child)

    assert done.returncode == -signal.SIGBUS
    if above.events_max is None:
        assert ((above.events_local_max or 0) >= 1, below.events_local_max) == (True, 0)
    else:
        # The run's leaf, below the child, is gone.
        assert (above.events_max >= 1, (below.events_max or 0) >= 1) == (True, True)
        assert (above.events_local_max, below.events_local_max) == (0, 0)


def test_sizes_that_there_are_not_are_refused(name: str) -> None:
    """The error says which ones there are, and nothing is left behind."""
    lacks.require("hugetlb")
    group = cgctl.Group(name, hugetlb={"128M": 0})
    there = " ".join(sorted(lacks.huge_pages(), reverse=True))
    with pytest.raises(cgctl.UnsupportedError) as caught:
        group.create()

    assert caught.value.feature == "hugetlb.max.128MB"
    assert caught.value.reason == f"this machine has no huge pages of this size (it has: {there})"

    assert not group.exists()
