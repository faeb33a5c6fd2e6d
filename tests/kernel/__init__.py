"""cgctl on a real kernel, whichever one runs: real groups, real processes, nothing faked."""
