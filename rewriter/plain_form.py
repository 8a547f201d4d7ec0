"""The plain forms of the command, ``nopfix [-q] [--verify] IN OUT``, read without argparse.

The problem: argparse, with all that it loads, takes as long as the interpreter's own start and
longer than rewriting most objects, and scripts that have thousands of objects to rewrite start the
command for each.  The rule: these forms alone are read here; whatever else stands in the arguments
is for `command`, whose parser gives the same values for these (a test holds the two together).
"""

from __future__ import annotations

import sys

from nopfix.dwarf.record import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_FLAGS = {"-q": "quiet", "--quiet": "quiet", "--verify": "verify"}


def read(arguments: Sequence[str]) -> argparse.Namespace | None:
    """What `command.parse` makes of a plain form, None for any other."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    files = [argument for argument in arguments if not argument.startswith("-")]
    if len(files) != 2 or not all(files) or not all(flag in _FLAGS for flag in flags):
        return None
    if files != arguments[(first := arguments.index(files[0])) : first + 2]:
        return None  # apart from each other, where the parser doesn't take them
    values: dict[str, object] = {
        **dict.fromkeys(("in_place", "list", "explain", "json", "no_realign", "verify"), False),
        **dict.fromkeys(("strip_unknown_debug", "keep_signature", "leave_unproved"), False),
        **dict.fromkeys(("quiet", "verbose"), False),
        **dict.fromkeys(("html", "bundle", "report", "only", "only_file")),
        **{name: [] for name in ("exempt", "dwo", "plain_section", "allow")},
        "jobs": 1,
        "sibling_calls": "warn",
        "files": files,
        "input": files[0],
        "output": files[1],
    }
    for flag in flags:
        values[_FLAGS[flag]] = True
    # The interpreter's own class; importing `types` for its name takes longer than all of this.
    namespace: argparse.Namespace = type(sys.implementation)(**values)  # type: ignore[assignment]
    return namespace
