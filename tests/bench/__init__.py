"""Whole-process times: `python -m tests.bench`, or `make bench`."""
