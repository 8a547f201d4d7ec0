"""The words for what became of a case, from best to worst."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """What a verdict is worth: `rank` 0 is what we want, higher is worse, None says nothing about
    nopfix; `meaning` is for the reports.
    """

    rank: int | None
    meaning: str


KINDS: dict[str, Kind] = {
    "equal": Kind(0, "rewritten, and equal to the assembler's object"),
    "unchanged": Kind(0, "no call lacks its slot, and the output is the input byte for byte"),
    "rewritten": Kind(0, "rewritten; there was nothing to compare with, the other checks passed"),
    "unjudged": Kind(1, "rewritten, and what would judge it can't: the detail says what and why"),
    "assemble-failed": Kind(1, "the assembler refused the nops"),
    "refused": Kind(2, "the rewriter refused; a failure unless the baseline expects it"),
    "differs": Kind(3, "rewritten, and not equal to the assembler's object"),
    "no-slot": Kind(3, "a call in the output lacks its slot"),
    "run-changed": Kind(3, "the rewritten program does something else"),
    "gdb-changed": Kind(3, "a debugger sees something else in the rewritten program"),
    "not-verified": Kind(3, "nopfix-verify doesn't agree"),
    "crashed": Kind(4, "the rewriter raised something that is no refusal, or came to no end"),
    "compile-failed": Kind(None, "the compiler refused the source, or the assembler its output"),
}
GOOD = frozenset(word for word, kind in KINDS.items() if kind.rank == 0)
#: Neither good, nor refused (the baseline decides about those), nor about the source alone.
WRONG = frozenset(word for word, kind in KINDS.items() if kind.rank and word != "refused")
