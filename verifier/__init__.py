"""A second opinion on nopfix's work: is OUT really IN plus nops?

The package reads both objects with pyelftools and capstone and shares no code with the rewriter. It
pairs the instructions of the two and then holds everything that points into code (branches,
switch tables, relocations, symbols, unwind tables, exception tables, all debug information)
against that pairing. What it can't account for is a difference.

    report = verifier.verify(old, new)
    if not report.verified:
        for difference in report.differences:
            print(difference)
"""

from verifier.check import verify
from verifier.elf import Unreadable
from verifier.report import Difference, Insertion, Report

__all__ = ["Difference", "Insertion", "Report", "Unreadable", "verify"]
