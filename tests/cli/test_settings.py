"""Limits in words."""

from __future__ import annotations

from typing import Any

import click
import pytest

import cgctl
from cgctl.cli.settings import describe, parse_settings, specs
from cgctl.controllers import parse_specs

CASES: list[tuple[str, dict[str, Any]]] = [
    ("memory=1G", {"memory": cgctl.Memory(max=1 << 30, swap_max=0)}),
    ("memory.max=1G", {"memory": cgctl.Memory(max=1 << 30)}),
    ("memory=max", {"memory": cgctl.Memory(max=cgctl.MAX, swap_max=cgctl.MAX)}),
    ("memory=1G memory.swap_max=2G", {"memory": cgctl.Memory(max=1 << 30, swap_max=2 << 30)}),
    ("memory.oom_group=yes", {"memory": cgctl.Memory(oom_group=True)}),
    ("cpu.idle=0", {"cpu": cgctl.Cpu(idle=False)}),
    ("cpu=150% cpu.weight=200", {"cpu": cgctl.Cpu(max=1.5, weight=200)}),
    ("cpu=max", {"cpu": cgctl.Cpu(max=cgctl.MAX)}),
    ("cpuset=0-1,3", {"cpuset": cgctl.Cpuset(cpus=(0, 1, 3))}),
    ("cpuset.partition=root", {"cpuset": cgctl.Cpuset(partition="root")}),
    ("net=1:10", {"net": cgctl.Net(classid=0x10010)}),
    ("net.priority=lo=1,eth0=5 net.mark=7", {"net": cgctl.Net(priority={"lo": 1, "eth0": 5}, mark=7)}),
    ("net.accounting=on", {"net": cgctl.Net(accounting=True)}),
    ("pids=0", {"pids": cgctl.Pids(max=0)}),
    ("core.max_depth=2", {"core": cgctl.Core(max_depth=2)}),
    ("hugetlb=2M=64M", {"hugetlb": cgctl.Hugetlb(max={"2MB": 64 << 20})}),
    (
        "hugetlb.max.2MB=64M hugetlb.max.1GB=max hugetlb.rsvd_max.2MB=0",
        {"hugetlb": cgctl.Hugetlb(max={"2MB": 64 << 20, "1GB": cgctl.MAX}, rsvd_max={"2MB": 0})},
    ),
    ("misc=sev=5,sev_es=max", {"misc": cgctl.Misc(max={"sev": 5, "sev_es": cgctl.MAX})}),
    ("rdma=rxe0=hca_handle=2", {"rdma": cgctl.Rdma(max={"rxe0": {"hca_handle": 2}})}),
    ("dmem.low=drm/0/vram0=1M", {"dmem": cgctl.Dmem(low={"drm/0/vram0": 1 << 20})}),
    ("perf_event=1", {"perf_event": cgctl.PerfEvent()}),
]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_means(words: str, expected: dict[str, Any]) -> None:
    """Words mean these specs."""
    assert parse_specs(specs(parse_settings(words.split()))) == expected


def test_a_limit_of_swap_in_words_must_be_had() -> None:
    """One that is implied is dropped where swap is not accounted; one in words is not."""
    short = specs(parse_settings(["memory=1G", "memory.low=1M"]))["memory"]
    said = specs(parse_settings(["memory=1G", "memory.swap_max=0"]))["memory"]

    assert short.where_accounted == {"swap_max"}
    assert said.where_accounted == set()


@pytest.mark.parametrize(
    "word",
    [
        *("memory", "=1", "", ".max=1", "nosuch=1", "memory.nosuch=1", "memory.=1"),
        *("hugetlb.max=1", "hugetlb.max.SIZE=1", "hugetlb.max.2=1", "hugetlb.2MB=1", "perf_event.x=1"),
    ],
)
def test_refuses_what_is_no_setting(word: str) -> None:
    """What names no controller or attribute is refused."""
    with pytest.raises(click.UsageError):
        parse_settings([word])


def test_refuses_to_hear_twice() -> None:
    """One setting given twice is refused."""
    with pytest.raises(click.UsageError, match="was given before"):
        parse_settings(["pids=1", "pids=2"])


def test_describe_can_be_said_again() -> None:
    """What limits are described as is understood as settings, and means the same."""
    held = cgctl.Limits(
        memory=cgctl.Memory(max=1 << 30, swap_max=4096, low=cgctl.MAX, swappiness=60),
        cpu=cgctl.Cpu(max=1.5, period_usec=100_000, weight=200, idle=False),
        cpuset=cgctl.Cpuset(cpus=(0, 1, 3)),
        pids=cgctl.Pids(max=cgctl.MAX),
        net=cgctl.Net(classid=0x10010, priority={"lo": 0, "eth0": 5}, mark=7, accounting=False),
        hugetlb=cgctl.Hugetlb(max={"2MB": 64 << 20, "1GB": cgctl.MAX}, rsvd_max={"2MB": 0, "1GB": cgctl.MAX}),
        rdma=cgctl.Rdma(max={"a": {"hca_handle": 2, "hca_object": cgctl.MAX}, "b": {"hca_handle": 1}}),
        misc=cgctl.Misc(max={"sev": 5, "sev_es": cgctl.MAX}),
        dmem=cgctl.Dmem(max={"r": 1 << 30}, low={"r": 0}, min={"r": 0}),
    )

    words = [f"{name}={value}" for name, value in describe(held)]

    assert "memory.max=1G" in words
    assert "cpuset.cpus=0-1,3" in words
    assert "net.classid=1:10" in words
    assert "hugetlb.max.2MB=64M" in words
    assert "rdma.max=a hca_handle=2 hca_object=max,b hca_handle=1" in words
    assert "misc.max=sev 5,sev_es max" in words
    assert cgctl.Limits(**specs(parse_settings(words))) == held


def test_describe_only_some() -> None:
    """Only the controllers asked for are described."""
    held = cgctl.Limits(memory=cgctl.Memory(max=4096), pids=cgctl.Pids(max=3))

    assert describe(held, ["pids"]) == [("pids.max", "3")]
