"""The kernels and cgroup layouts there are, as data."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A series of Debian's kernels, the cloud flavour: small, and with all that cgroups need.

    Attributes:
        series: what ``--kernel`` calls it.
        packages: name stems of the packages that make it up; the first is searched for the newest of the series.
        accel: QEMU's accelerator. The multi-threaded one is faster on two processors.
    """

    series: str
    packages: tuple[str, ...] = ("linux-image",)
    accel: str = "tcg,thread=multi"


@dataclasses.dataclass(frozen=True)
class Layout:
    """A way to mount the cgroup hierarchies.

    Attributes:
        name: what ``--cgroup`` calls it.
        systemd: whether systemd is PID 1 and does the mounting.
        cmdline: what the kernel's command line must say for it.
    """

    name: str
    systemd: bool = False
    cmdline: tuple[str, ...] = ()


KERNELS = {
    kernel.series: kernel
    for kernel in (
        Kernel("5.10"),
        Kernel("6.1"),
        Kernel("6.12"),
        Kernel("6.18"),
        # `linux-image` is an empty package here. With thread=multi, this kernel dies in some boots ("Oops: int3"): it
        # patches its code while another virtual processor runs it.
        Kernel("7.3", packages=("linux-binary", "linux-modules", "linux-base"), accel="tcg,thread=single"),
    )
}

_UNIFIED = "systemd.unified_cgroup_hierarchy"
# From 256 on, systemd refuses legacy hierarchies unless told twice; Debian 12's 252 ignores that word.
_FORCE = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("v1"),
        Layout("v1-separate"),
        Layout("hybrid"),
        Layout("v2"),
        Layout("systemd", systemd=True, cmdline=(f"{_UNIFIED}=1",)),
        # `…=0` alone gives the hybrid layout, not v1.
        Layout("systemd-hybrid", systemd=True, cmdline=(f"{_UNIFIED}=0", _FORCE)),
        Layout(
            "systemd-v1",
            systemd=True,
            cmdline=(f"{_UNIFIED}=0", "systemd.legacy_systemd_cgroup_controller=1", _FORCE),
        ),
    )
}

# Suites of Debian's archive, by the directory beside which they lie: all five series are in these today.
SUITES = {
    "debian": ("bullseye", "bookworm", "trixie", "trixie-backports"),
    "debian-security": ("bookworm-security",),
}
# The root image's. Its Python is 3.11, built with profile-guided optimisation: twice as fast as one without, under TCG.
IMAGE_SUITE = "bookworm"
IMAGE_PYTHON = "3.11"

# Loaded by the initramfs, so that there is a root disk and a port to talk through.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4", "crc32c_generic")
# At hand for modprobe.
MODULES = (
    *("null_blk", "scsi_debug", "sd_mod", "loop", "brd", "zram", "bfq", "kyber-iosched", "dm_mod"),
    *("cls_cgroup", "cls_u32", "cls_basic", "cls_fw", "sch_htb", "sch_prio", "sch_ingress", "act_mirred"),
    *("dummy", "veth", "bridge", "macvlan", "ipvlan", "tun", "xt_cgroup", "nf_tables", "nft_socket"),
    *("overlay", "fuse", "squashfs", "erofs"),
)

KERNEL_CMDLINE = (
    *("console=ttyS0", "quiet", "loglevel=3", "panic=-1", "no_timer_check", "nokaslr"),
    # Each of these saves some tenths of a second of emulated boot.
    *("mitigations=off", "random.trust_cpu=on", "audit=0", "apparmor=0", "cryptomgr.notests"),
)
SYSTEMD_CMDLINE = ("systemd.unit=cgctl-vm.target", "systemd.show_status=0", "systemd.journald.forward_to_console=0")
# Units of Debian's that no test needs, and that each cost emulated time.
MASKED_UNITS = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("systemd-tmpfiles-clean.timer", "e2scrub_reap.service", "ldconfig.service", "console-getty.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount"),
    *("kmod-static-nodes.service", "modprobe@configfs.service", "modprobe@drm.service", "modprobe@fuse.service"),
    *("modprobe@efi_pstore.service", "modprobe@loop.service", "modprobe@dm_mod.service"),
    *("systemd-binfmt.service", "systemd-boot-system-token.service", "systemd-firstboot.service"),
    *("systemd-hwdb-update.service", "systemd-journal-catalog-update.service", "systemd-journal-flush.service"),
    *("systemd-machine-id-commit.service", "systemd-modules-load.service", "systemd-pstore.service"),
    *("systemd-random-seed.service", "systemd-remount-fs.service", "systemd-repart.service"),
    *("systemd-sysctl.service", "systemd-sysusers.service", "systemd-timesyncd.service"),
    *("systemd-update-utmp.service", "systemd-ask-password-console.path", "systemd-ask-password-wall.path"),
)
