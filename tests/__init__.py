"""The tests of cgctl: a package, so that they can share modules and ``python -m tests.vm`` works."""
