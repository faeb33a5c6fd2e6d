"""Real kernels under QEMU: ``python -m tests.vm --kernel 6.12 --cgroup v2 -- COMMAND`` (docs/vm.md)."""
