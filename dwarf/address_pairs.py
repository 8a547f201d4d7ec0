"""The lists of DWARF 2 to 4: two addresses an entry, without a header.

0,0 ends a list and -1 stands in front of a new base.  Where one list ends and the next begins
follows from the references alone.

LLVM's DWARF 4 may begin a location list with an entry that is empty: 0,0, which ends the list for
every reader, and is followed by the entry's expression and the list's other entries.  Nobody reads
those, but they are moved as the assembler would (`_Walk.move_unreferenced`).

Source: DWARF 4, sections 2.6.2, 2.17.3.  `dwarf.lists` has the rules.
"""

from __future__ import annotations

from bisect import bisect_left
from struct import Struct

from nopfix.dwarf import expression
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.lists import ADDRESS_SIZE, NO_LIMIT, Moved, Walk, moved_pair, reach, walk_whole
from nopfix.dwarf.offset_map import IDENTITY
from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.dwarf.section import discarded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nopfix.dwarf.lists import Base
    from nopfix.dwarf.offset_map import OffsetMap, Side
    from nopfix.dwarf.section import Change, Section, Target
    from nopfix.dwarf.unit import ListUses, MoveExpression, Unit

_HIGHEST = 1 << 63
_PAIR = Struct("<QQ")


def rewrite(
    section: Section,
    located: bool,
    uses: Sequence[ListUses],
    maps: Mapping[int, OffsetMap],
    move_expression: MoveExpression | None = None,
) -> Moved:
    """Rewrite a list section of DWARF 2 to 4.

    ``located`` says that entries carry an expression (.debug_loc).  Raises `Unsupported` for
    anything malformed, and for bytes that belong to no list.
    """
    data = bytes(section.data)
    lists = reach(section.name, uses)
    walk = _Walk(section, data, located, maps, move_expression)
    return walk_whole(walk, lists)


class _Walk(Walk):
    """The walk over lists of address pairs."""

    __slots__ = ("located",)

    def __init__(
        self,
        section: Section,
        data: bytes,
        located: bool,
        maps: Mapping[int, OffsetMap],
        move_expression: MoveExpression | None,
    ) -> None:
        super().__init__(section, data, maps, move_expression)
        self.located = located

    def move_list(self, position: int, unit: Unit, stop: int) -> int:
        """Move the list at ``position``; see `Walk.move_list`."""
        data = self.data
        relocated = self.relocated
        unpack = _PAIR.unpack_from
        located = self.located
        # Where an end moves as a start does, a relocated entry needs nothing.
        apart = any(code.padded for code in self.maps.values())
        base = self.prepared(unit.base)
        limit = len(data) - 2 * ADDRESS_SIZE
        while position <= limit and position != stop:
            start, end = unpack(data, position)
            if position in relocated:
                if position + ADDRESS_SIZE not in relocated:
                    raise self.malformed(position, "a relocated start with an end that isn't")
                if apart:
                    self._side_of_end(position)
            elif not start | end and position + ADDRESS_SIZE not in relocated:
                return position + 2 * ADDRESS_SIZE
            elif start == NO_LIMIT - 1:
                base = self.prepared(self._base_target(position + ADDRESS_SIZE, end))
                position += 2 * ADDRESS_SIZE
                continue
            else:
                self._move_pair(position, start, end, base)
            position += 2 * ADDRESS_SIZE
            if located:
                position = self.move_located(position, unit)
        if position == stop:
            return self.check_run_on(base, unit, stop)
        raise self.malformed(position, "a list without an end")

    def move_unreferenced(self, position: int, unit: Unit, stop: int) -> int:
        """Move a list that nobody refers to, or what an empty entry has cut off from its list.

        That begins with the empty entry's expression.  Refused where it reads in both ways.  What
        reads in neither, because it would run into the next list, may be that list's view numbers,
        where GCC dropped the attribute that named both.
        """
        before = self.changes, self.replaced, self.sides
        readings: list[tuple[int, list[Change], list[tuple[int, bytes]], dict[int, Side]]] = []
        errors = []
        for read in (self.move_list, self._move_cut_off) if self.located else (self.move_list,):
            self.changes, self.replaced, self.sides = [], [], {}
            try:
                end = read(position, unit, stop)
            except Unsupported as error:
                errors.append(error)
                continue
            field = self._next_address(end - ADDRESS_SIZE + 1)
            if end > stop >= 0 or field < end:
                errors.append(self.malformed(end, "a list that ends inside another one"))
            else:
                readings.append((end, self.changes, self.replaced, self.sides))
        self.changes, self.replaced, self.sides = before
        if not readings:
            following = self._next_address(position)
            following = min(following, stop) if stop >= 0 else following
            if self.located and self._are_views(position, following):
                return following
            raise errors[0]
        if any(reading != readings[0] for reading in readings[1:]):
            raise self.unknown(position, "bytes that no unit refers to, and that read in two ways")
        end, changes, replaced, sides = readings[0]
        self.changes += changes
        self.replaced += replaced
        self.sides |= sides
        return end

    def _next_address(self, position: int) -> int:
        """Where the first relocated address at or behind ``position`` is; the end without one."""
        places = self.relocations.places
        index = bisect_left(places, position)
        return places[index] if index < len(places) else len(self.data)

    def _are_views(self, position: int, following: int) -> bool:
        """Whether from ``position`` there is a pair of ULEB128 for each entry of the list behind.

        They don't move.  That list begins at ``following``.
        """
        numbers = sum(byte < 128 for byte in self.data[position:following])
        entries = self._entries(following)
        return 0 < numbers == 2 * entries and self.data[following - 1] < 128

    def _entries(self, position: int) -> int:
        """The number of entries with an expression in the list at ``position``."""
        count = 0
        while position + 2 * ADDRESS_SIZE + 2 <= len(self.data):
            start, end = _PAIR.unpack_from(self.data, position)
            relocated = position in self.relocated or position + ADDRESS_SIZE in self.relocated
            position += 2 * ADDRESS_SIZE
            if not start | end and not relocated:
                break
            if start != NO_LIMIT - 1 or relocated:
                count += 1
                position += 2 + int.from_bytes(self.data[position : position + 2], "little")
        return count

    def _move_cut_off(self, position: int, unit: Unit, stop: int) -> int:
        """Move the rest of a list whose entry in front of ``position`` was empty."""
        if self.data[position - 2 * ADDRESS_SIZE : position] != bytes(2 * ADDRESS_SIZE):
            raise self.malformed(position, "an expression without an entry in front of it")
        behind = self.move_located(position, unit)
        # Only what makes sense as an expression is one: this raises where it doesn't.
        context = expression.Context(self.data, unit, IDENTITY, self.relocations, self.name)
        expression.move(context, position + 2, behind)
        return self.move_list(behind, unit, stop)

    def chooses_base(self, position: int) -> bool:
        """Whether the entry at ``position`` selects a base address."""
        begins = self.data[position : position + ADDRESS_SIZE]
        return int.from_bytes(begins, "little") == NO_LIMIT - 1

    def _side_of_end(self, position: int) -> None:
        place = position + ADDRESS_SIZE
        if self.end_moves_apart(self.address(position), self.address(place)):
            self.sides[place] = "after"

    def _base_target(self, place: int, value: int) -> Target | None:
        """A base address selection: a relocated address, or 0 where the base is to be gone.

        0 in front of offsets is what a linker has left of one whose code it discarded.
        """
        following = place + ADDRESS_SIZE
        if place not in self.relocated and value == 0 and following in self.relocated:
            return None
        return self.address(place)

    def _move_pair(self, position: int, start: int, end: int, base: Base | None) -> None:
        if position + ADDRESS_SIZE in self.relocated:
            raise self.malformed(position, "a relocated end with a start that isn't")
        if base is None and start == end and discarded(self.data, position):
            return  # an address pair of discarded code
        if base is None:
            raise self.unknown(position, "offsets without a base address")
        if not start <= end < _HIGHEST:
            raise self.malformed(position, "an end in front of its start, or without one")
        if end >= base.limit:
            self.replaced.append((position, _PAIR.pack(*moved_pair(base, start, end))))
