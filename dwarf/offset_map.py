"""Where is it now?  The offset map of one section.

Inserting bytes turns every offset of a section into a question.  An offset map is the immutable
answer.  Most offsets have one answer, but an offset at which something is inserted has up to three,
because the label that a compiler put there may mean different things:

    old                 new
    ----------------    ----------------------------------------------------
    bl callee           bl callee
  p:                  before(p):    the return address, which is p itself
                        nop         the slot belongs to the call
                      after(p):     ends of ranges, functions, FDEs, sequences
                        nop ...     padding that aligns what begins at p
    next insn         start(p):     what begins at p: branch targets, function
                        next insn   starts, starts of ranges, line rows

``before`` and ``after`` differ by the slot, ``after`` and ``start`` by alignment padding that the
old section didn't need.  Where the old section already had padding in front of p, all that ends at
p ends behind that padding, so the three agree there.

Debug sections may grow as well (a ULEB128 that needs a byte more).  Their maps are made of the same
edits, with all three sides equal: nobody points into the middle of an item.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

Side = Literal["before", "after", "start"]
"""Which of the three answers an offset's holder wants."""


class Edit(Record):
    """What happens at one old offset: by how many bytes each side moves there.

    ``offset`` is a section offset in bytes.  ``before``, ``after`` and ``start`` are bytes added
    at this edit alone; everything behind ``offset`` moves by ``start``, which is negative where
    padding shrinks.
    """

    offset: int
    before: int
    after: int
    start: int


def slot(offset: int, size: int = 4) -> Edit:
    """Insert ``size`` bytes of instructions at ``offset`` that belong to what ends there."""
    return Edit(offset, 0, size, size)


def padding(offset: int, size: int) -> Edit:
    """Insert ``size`` bytes of padding in front of what begins at ``offset``."""
    return Edit(offset, 0, 0, size)


def inside(offset: int, size: int) -> Edit:
    """Insert ``size`` bytes between the label at ``offset`` and the instruction that it labels.

    The assembler does so to keep a prefixed instruction off a boundary: labels and line rows stay
    in front of the inserted bytes, the instruction itself doesn't.  Nothing else lies at the odd
    offset behind the label, so an edit there tells the two apart (see `OffsetMap.place`).
    """
    return Edit(offset + 1, size, size, size)


def resize(end: int, growth: int) -> Edit:
    """Let the item that ends at ``end`` grow (or shrink) by ``growth`` bytes."""
    return Edit(end, growth, growth, growth)


class OffsetMap:
    """Maps old offsets of one section to new ones; see the module's essay.

    ``places`` holds the edited offsets in ascending order.  ``shifts`` has one element more:
    ``shifts[i]`` is what is added to an offset between ``places[i - 1]`` and ``places[i]``, and
    ``shifts[i + 1]`` also to ``places[i]`` itself on the ``start`` side.  ``padded`` are the places
    at which ``after`` and ``start`` differ.  Hot loops may read all three.
    """

    __slots__ = ("_after", "_before", "padded", "places", "shifts")

    def __init__(self, edits: Iterable[Edit] = ()) -> None:
        """Build the map from ``edits`` in any order; edits at one offset add up."""
        places: list[int] = []
        shifts = [0]
        before: list[int] = []
        after: list[int] = []
        for offset, add_before, add_after, add_start in sorted(edits):
            if places and places[-1] == offset:
                before[-1] += add_before
                after[-1] += add_after
                shifts[-1] += add_start
            else:
                shift = shifts[-1]
                places.append(offset)
                before.append(shift + add_before)
                after.append(shift + add_after)
                shifts.append(shift + add_start)
        self.places = places
        self.shifts = shifts
        self._before = before
        self._after = after
        ends = zip(places, after, shifts[1:], strict=True)
        self.padded = frozenset(place for place, end, begin in ends if end != begin)

    def __bool__(self) -> bool:
        """True when some offset moves."""
        return bool(self.places)

    def before(self, offset: int) -> int:
        """New offset of a return address at ``offset``: in front of anything inserted there."""
        places = self.places
        index = bisect_left(places, offset)
        if index < len(places) and places[index] == offset:
            return offset + self._before[index]
        return offset + self.shifts[index]

    def after(self, offset: int) -> int:
        """New offset of an end at ``offset``: behind an inserted slot, in front of new padding."""
        places = self.places
        index = bisect_right(places, offset)
        if index and places[index - 1] == offset:
            return offset + self._after[index - 1]
        return offset + self.shifts[index]

    def start(self, offset: int) -> int:
        """New offset of what begins at ``offset``: behind all that is inserted there."""
        return offset + self.shifts[bisect_right(self.places, offset)]

    def place(self, offset: int) -> int:
        """New offset of the instruction or the relocated field at ``offset``.

        The same as `start`, but for an instruction that was moved away from its label.
        """
        return offset + self.shifts[bisect_right(self.places, offset + 1)]

    def move(self, offset: int, side: Side) -> int:
        """New offset of ``offset`` on the named side."""
        if side == "start":
            return self.start(offset)
        return self.after(offset) if side == "after" else self.before(offset)


IDENTITY = OffsetMap()
"""The map of a section that nobody touched."""
