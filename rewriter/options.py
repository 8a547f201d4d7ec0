"""What the caller may choose, and what the caller gets.

Kept apart from the pipeline so that a caller (the compiler wrapper, say) can prepare its options
without loading what a rewrite needs.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class Options(Record):
    """How to rewrite.

    ``only`` restricts insertions to calls of these callees (None: all); ``exempt`` are callees
    whose calls are left alone besides those that always are.  ``realign`` keeps the alignment of
    what was padded; without it everything just shifts.  ``strip_unknown_debug`` empties debug
    sections that aren't understood instead of refusing.  ``plain_sections`` names unknown sections
    whose PC-relative fields are relative to themselves.  ``dwo`` holds the bytes of split DWARF
    files that belong to the object, by name.  ``allow`` names what is refused otherwise because of
    what it costs: `object.compressed.COMPRESSION_RATIO`.  ``leave_unproved`` keeps code as it is
    that can't be followed, without slots, instead of refusing the object.
    """

    only: Collection[str] | None = None
    exempt: Collection[str] = ()
    realign: bool = True
    strip_unknown_debug: bool = False
    plain_sections: Collection[str] = ()
    dwo: Mapping[str, bytes] = {}
    allow: Collection[str] = ()
    leave_unproved: bool = False


class Insertion(Record):
    """One inserted nop: section name, old and new offset in bytes, caller and callee."""

    section: str
    old_offset: int
    new_offset: int
    function: str | None
    callee: str | None


class Table(Record):
    """Data in code that moved: its kind, section name, old and new offset, size in bytes."""

    kind: str
    section: str
    old_offset: int
    new_offset: int
    size: int


class Resized(Record):
    """A section whose size changed: name, old and new size in bytes."""

    section: str
    old_size: int
    new_size: int


class Left(Record):
    """Code that was left as compiled because a proof failed: its ``sections``, by name.

    ``section``, ``offset`` in bytes and ``function`` say where, ``reason`` why; ``calls`` is how
    many of its calls lack a slot.
    """

    section: str
    offset: int
    function: str | None
    reason: str
    sections: Sequence[str]
    calls: int

    def warning(self) -> str:
        """One line for the user."""
        inside = f" (in {self.function})" if self.function else ""
        calls = "1 call that lacks" if self.calls == 1 else f"{self.calls} calls that lack"
        return (
            f"warning: {self.section}+{self.offset:#x}{inside}: left as compiled, with {calls}"
            f" a slot: {self.reason}"
        )


class Report(Record):
    """What a rewrite did.

    ``expanded`` are conditional branches that no longer reached, ``left`` is what has no slots
    because it can't be followed (`Options.leave_unproved`).
    """

    insertions: list[Insertion]
    tables: list[Table]
    expanded: list[tuple[str, int]]
    resized: list[Resized]
    old_size: int
    new_size: int
    left: Sequence[Left] = ()


class Result(Record):
    """The new object (the old one where nothing was to be done), the report, rewritten .dwo files.

    ``dwo`` holds those of `Options.dwo` that changed.
    """

    data: bytes
    report: Report
    dwo: Mapping[str, bytes]
