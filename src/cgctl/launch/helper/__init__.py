"""The helper: a small single-threaded process that makes the caller's children, and outlives the caller to clean up.

It runs the code of these rooms as ``python -I -S``, and nothing else of cgctl; :mod:`cgctl.launch.program` packs them.
A room imports the standard library, and rooms that are packed before it. `server` is where it begins.

The child that it makes is the *caller's* (``CLONE_PARENT``), so the helper never waits for one. The child tells by a
pipe, which the caller reads, how far it came: ``R`` right before exec, ``E`` with errno, step and path, NUL between
them, when a step failed, nothing at all when it was killed before.

What is imported is chosen with care: the C modules behind `signal` and `socket` alone save half of the start-up time
and a megabyte.
"""
