"""What the kernel's own tests of cgroups show (tools/testing/selftests/cgroup): in memory and really."""
