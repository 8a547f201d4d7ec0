"""`.debug_loclists` and `.debug_loc`: where a variable is, while the code runs from here to there.

Three encodings exist: that of DWARF 5, that of DWARF 2 to 4, and the one that GCC and LLVM use in
`.debug_loc.dwo` with DWARF 4, a forerunner of DWARF 5's: a kind byte, indices as ULEB128, but
lengths and offsets of 4 bytes, and 2 bytes for the size of an expression.

GCC 12 writes the length of an entry that begins at ``label-1`` in `.debug_loc.dwo` as
``.4byte end-label-1``, without the brackets that would make it ``end-(label-1)``: it is 2 too
small.  The assembler would resolve it in the same way with the nops in place, so it stays 2 too
small: such an entry begins one byte below an instruction and ends two bytes below one.

Source: DWARF 5, sections 2.6.2 and 7.7.3; DWARF 4, section 2.6.2; "Separate DWARF Object Files"
(the GCC project's design note) for DW_LLE_GNU_*.  `dwarf.lists` has the rules.
"""

from __future__ import annotations

from struct import Struct

from nopfix.dwarf import encodings, lists
from nopfix.dwarf.encodings import (
    DW_LLE_end_of_list,
    DW_LLE_GNU_base_address_selection_entry,
    DW_LLE_GNU_end_of_list_entry,
    DW_LLE_GNU_offset_pair_entry,
    DW_LLE_GNU_start_end_entry,
    DW_LLE_GNU_start_length_entry,
    DW_LLE_GNU_view_pair,
)
from nopfix.dwarf.leb128 import BadLeb128, unsigned
from nopfix.dwarf.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nopfix.dwarf.lists import Base, Moved
    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Section, Target
    from nopfix.dwarf.unit import ListUses, MoveExpression, Unit

KINDS = lists.Kinds(
    family="DW_LLE",
    meanings={kind: kind for kind in range(DW_LLE_end_of_list, DW_LLE_GNU_view_pair + 1)},
    located=True,
)
"""DWARF 5, table 7.10, and GCC's view pair (-gvariable-location-views=incompat5)."""

_HIGHEST = 0x7FFFFFFF
_ONES = b"\xff" * 4
_U4 = Struct("<I")
_U4_PAIR = Struct("<II")


def rewrite(
    section: Section,
    uses: Sequence[ListUses],
    maps: Mapping[int, OffsetMap],
    move_expression: MoveExpression | None = None,
) -> Moved:
    """Move the location lists of ``section``: .debug_loclists, .debug_loc, or a .dwo form of one.

    ``uses`` are the references to lists of this section, ``maps`` the maps of code sections by
    number; ``move_expression`` rewrites expressions that refer to entries which moved.
    Raises `Unsupported` for what can't be moved.
    """
    if section.name == ".debug_loc.dwo":
        walk = _SplitWalk(section, bytes(section.data), maps, move_expression)
        return lists.walk_whole(walk, lists.reach(section.name, uses))
    if section.name == ".debug_loc":
        from nopfix.dwarf import address_pairs

        return address_pairs.rewrite(section, True, uses, maps, move_expression)
    from nopfix.dwarf import list_entries

    return list_entries.rewrite(section, KINDS, uses, maps, move_expression)


class _SplitWalk(lists.Walk):
    """The walk over DWARF 4's split lists."""

    __slots__ = ()

    def chooses_base(self, position: int) -> bool:
        """Whether the entry at ``position`` selects a base address."""
        return self.data[position : position + 1] == bytes(
            (DW_LLE_GNU_base_address_selection_entry,)
        )

    def move_list(self, position: int, unit: Unit, stop: int) -> int:
        """Move the list at ``position``; see `dwarf.lists.Walk.move_list`."""
        begun = position
        try:
            base = lists.base_at(unit.base, self.maps)
            while (kind := self.data[position]) != DW_LLE_GNU_end_of_list_entry:
                if position == stop:
                    return self.check_run_on(base, unit, stop)
                position += 1
                if kind == DW_LLE_GNU_base_address_selection_entry:
                    base, position = self.indexed_base(position, unit)
                    continue
                position = self._move_addresses(kind, position, unit, base)
                position = self.move_located(position, unit)
        except (IndexError, BadLeb128):
            raise self.malformed(begun, "a list without an end") from None
        return position + 1

    def _move_addresses(self, kind: int, position: int, unit: Unit, base: Base | None) -> int:
        if kind == DW_LLE_GNU_start_end_entry:
            return self.move_indexed_pair(position, unit)
        if kind == DW_LLE_GNU_start_length_entry:
            index, place = unsigned(self.data, position)
            entry, target = self.indexed(position, unit, index)
            self.starts.add(entry)
            # GCC 12's slip makes -1 of the length of one byte.
            slipped = target.offset % 4 == 3 and self.data[place : place + 4] == _ONES
            length = -1 if slipped else self._number(place)
            new_length = self._moved_length(target, length)
            if new_length != length:
                self.replaced.append((place, _U4.pack(new_length & 0xFFFFFFFF)))
            return place + 4
        if kind == DW_LLE_GNU_offset_pair_entry:
            start, end = self._number(position), self._number(position + 4)
            if base is None or end < start:
                raise self.malformed(position, "offsets without a base, or an end before its start")
            if end >= base.limit:
                moved = lists.moved_pair(base, start, end)
                self.replaced.append((position, _U4_PAIR.pack(*moved)))
            return position + 8
        raise self.unknown(
            position - 1, f"a list entry of kind {encodings.name('DW_LLE_GNU', kind)}"
        )

    def _number(self, place: int) -> int:
        number = int.from_bytes(self.data[place : place + 4], "little")
        if place + 4 > len(self.data) or number > _HIGHEST:
            raise self.malformed(place, "a number that is truncated or far too large")
        return number

    def _moved_length(self, target: Target, length: int) -> int:
        """The new length; see the module's essay for the one that is 2 too small."""
        if length and target.offset % 4 == 3 and (target.offset + length) % 4 == 2:
            return lists.moved_length(target, length + 2, self.maps) - 2
        return lists.moved_length(target, length, self.maps)
