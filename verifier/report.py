"""What a verification found: differences, and facts that are not differences.

A difference is something in OUT that is not accounted for by "IN plus nops". It names the rule
that was broken, the section, the offsets in IN and in OUT, and says in words what was expected
and what was found, so that a reader with `objdump -dr` of both files can look at the place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

LIMIT = 200
"""Differences kept; further ones are only counted. One damaged section can give thousands."""


def one_line(text: str) -> str:
    """A text with what can't be printed escaped: a name in a damaged file may hold anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Difference(NamedTuple):
    """One thing in OUT that the insertions do not explain."""

    rule: str
    """Short name of the rule that was broken: `branch`, `symbol`, `line-row` and so on."""
    section: str
    old: int | None
    """Offset in IN's section (bytes), or None where OUT has something that IN has not."""
    new: int | None
    """Offset in OUT's section (bytes), or None."""
    text: str
    """What was expected and what was found."""
    function: str = ""
    """The function that it is in, where it is in code."""
    source: str = ""
    """File and line of the place in IN, where it is in code and debug information says them."""

    def __str__(self) -> str:
        where = self.section
        if self.old is not None:
            where += f"+{self.old:#x}"
        if self.new is not None and self.new != self.old:
            where += f" (OUT +{self.new:#x})"
        about = " ".join(filter(None, (self.function and f"in {self.function}", self.source)))
        return one_line(f"{where}{f' ({about})' if about else ''}: {self.rule}: {self.text}")


class Insertion(NamedTuple):
    """One nop that OUT has after a call and IN has not."""

    section: str
    old: int
    """Offset in IN's section right after the call (bytes)."""
    new: int
    """Offset of the nop in OUT's section (bytes)."""
    function: str
    callee: str


class Report(NamedTuple):
    """The verdict and what it rests on."""

    differences: tuple[Difference, ...]
    total: int
    """Number of differences found, including those beyond LIMIT."""
    insertions: tuple[Insertion, ...]
    counts: dict[str, int]
    """How many facts of each kind were compared (`branch`, `relocation`, `line row`, ...)."""

    @property
    def verified(self) -> bool:
        """True when OUT is IN plus nops and nothing else."""
        return self.total == 0

    def as_json(self) -> dict[str, Any]:
        """The report as plain lists and dictionaries, for --report."""
        return {
            "verified": self.verified,
            "differences": [difference._asdict() for difference in self.differences],
            "difference_count": self.total,
            "insertions": [insertion._asdict() for insertion in self.insertions],
            "compared": dict(sorted(self.counts.items())),
        }


class Findings:
    """Collects differences, insertions and counts while the checks run."""

    def __init__(self) -> None:
        """Nothing found yet."""
        self.differences: list[Difference] = []
        self.total = 0
        self.insertions: list[Insertion] = []
        self.counts: dict[str, int] = {}

    def differ(self, rule: str, section: str, old: int | None, new: int | None, text: str) -> None:
        """Record a difference (see `Difference` for the arguments)."""
        self.total += 1
        if len(self.differences) < LIMIT:
            self.differences.append(Difference(rule, section, old, new, text))

    def count(self, kind: str, number: int = 1) -> None:
        """Record that `number` facts of a kind were compared."""
        self.counts[kind] = self.counts.get(kind, 0) + number

    def report(self) -> Report:
        """The immutable result."""
        return Report(
            tuple(self.differences), self.total, tuple(self.insertions), dict(self.counts)
        )
