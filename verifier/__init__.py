"""A second opinion on nopfix's work: is OUT really IN plus nops?

The package shares no code with the rewriter. It pairs the instructions of the two objects and then
holds everything that points into code (branches, switch tables, relocations, symbols, unwind
tables, exception tables, all debug information) against that pairing. What it can't account for is
a difference. docs/verifier.md says what that proves, and what it takes for granted.

    report = nopfix.verifier.verify(old, new)
    if not report.verified:
        for difference in report.differences:
            print(difference)

The names are imported when they are first used (PEP 562): the command `nopfix-verify`, which is
part of this package, has no use for some of them. Nothing here needs more than Python; capstone
and pyelftools, where they are, lend their words to messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nopfix.verifier.check import verify
    from nopfix.verifier.elf import Unreadable
    from nopfix.verifier.report import Difference, Insertion, Report

__all__ = ["Difference", "Insertion", "Report", "Unreadable", "verify"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import one of the package's public names."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        homes = {"verify": "nopfix.verifier.check", "Unreadable": "nopfix.verifier.elf"}
        return getattr(import_module(homes.get(name, "nopfix.verifier.report")), name)
