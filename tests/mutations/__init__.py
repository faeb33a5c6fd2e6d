"""Rules of the kernel in memory, each broken in turn: the differential run must find every one."""
