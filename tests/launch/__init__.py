"""Tests of cgctl.launch."""
