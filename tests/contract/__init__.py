"""What must hold wherever there are cgroups: run on this machine, and inside real kernels, in one process."""
