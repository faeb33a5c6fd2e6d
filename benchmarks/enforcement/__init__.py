"""What the kernel gives for what was asked: each limit swept over a range, and measured."""
