"""Addresses of entries that don't lie where code begins: return addresses and ends.

A relocated address is moved by the caller; here is said on which side.  In split units and in
LLVM's DWARF 5 an address is an index into .debug_addr, and compilers let several users share an
entry: GCC gives a call's return address and the location list that starts there the same one.  An
entry can lie on one side of a slot only.  Where a call site shares its entry with something that
starts there, the call site gets an entry of its own at the end of the unit's table.

Source: DWARF 5, sections 2.17, 3.4.1 (DW_AT_call_return_pc), 7.27 (.debug_addr).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dwarf import leb128
from dwarf.addr import Copy
from dwarf.errors import Unsupported
from dwarf.forms import SIZES, DW_FORM_addr, number
from dwarf.section import Change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dwarf.addr import Copies
    from dwarf.info import AddressSides, Surveyed
    from dwarf.offset_map import OffsetMap, Side
    from dwarf.section import Section
    from dwarf.unit import AddressTable, Unit


def of_relocations(units: Sequence[Surveyed]) -> dict[int, Side]:
    """The relocations in a section of entries that aren't on the start side, by place."""
    found: dict[int, Side] = {}
    for surveyed in units:
        for (kind, form, _, _), column in surveyed.columns.items():
            if form == DW_FORM_addr and kind in ("before", "after"):
                side: Side = "before" if kind == "before" else "after"
                found.update(dict.fromkeys(column, side))
    return found


def mark_starts(section: Section, units: Sequence[Surveyed]) -> None:
    """Note the entries of .debug_addr that something in ``section`` starts at."""
    data = bytes(section.data)
    for surveyed in units:
        for (kind, form, _, _), column in surveyed.columns.items():
            if kind == "start" or kind.startswith("offset "):
                for place in column:
                    table, index = indexed(section, surveyed.unit, data, form, place)
                    table.target(index)


def of_indices(
    section: Section,
    units: Sequence[Surveyed],
    maps: Mapping[int, OffsetMap],
    sides: Mapping[int, AddressSides],
    copies: Copies,
) -> list[Change]:
    """Put the return addresses and ends that ``section`` names by index on their sides.

    Adds to ``sides`` the entries that nothing starts at (`AddressTable.used`, complete by now) and
    to ``copies`` new entries for the others.  Returns the indices that change.
    """
    data = bytes(section.data)
    found: list[Change] = []
    for surveyed in units:
        wanted = sorted(
            (place, key[0], key[1])
            for key, column in surveyed.columns.items()
            if key[0] in ("before", "after") and key[1] != DW_FORM_addr
            for place in column
        )
        for place, kind, form in wanted:
            side: Side = "before" if kind == "before" else "after"
            table, index = indexed(section, surveyed.unit, data, form, place)
            new = _entry_on_side(table, index, side, maps, sides, copies)
            if new != index:
                found.append(_changed_index(section, data, form, place, new))
    return found


def _entry_on_side(
    table: AddressTable,
    index: int,
    side: Side,
    maps: Mapping[int, OffsetMap],
    sides: Mapping[int, AddressSides],
    copies: Copies,
) -> int:
    """The index of an entry with the same target as ``index`` and on ``side``."""
    place = table.place(index)
    target = table.relocations.target(place)
    code = maps.get(target.section) if target else None
    if target is None or code is None:
        return index
    if code.move(target.offset, side) == code.start(target.offset):
        return index
    if place not in table.used and sides[table.section].sides.setdefault(place, side) == side:
        return index
    made = copies.setdefault(table.section, {})
    copy = Copy(table.base, table.end, table.header, place, side)
    if copy not in made:
        own = sum(other.base == table.base for other in made)
        made[copy] = (table.end - table.base) // table.address_size + own
    return made[copy]


def indexed(
    section: Section, unit: Unit, data: bytes, form: int, place: int
) -> tuple[AddressTable, int]:
    """The table and the index of an address in one of the forms that index .debug_addr.

    Raises `Unsupported` for an index that the table doesn't have, or that has no end.
    """
    table = unit.addresses
    size = SIZES[form]
    if isinstance(size, int):
        index = number(data, place, size)
    else:
        try:
            index, _ = leb128.unsigned(data, place)
        except leb128.BadLeb128:
            raise Unsupported(section.name, place, "an index without an end") from None
    if table is None or table.place(index) < 0:
        raise Unsupported(section.name, place, f"address {index}, which .debug_addr doesn't have")
    return table, index


def _changed_index(section: Section, data: bytes, form: int, place: int, new: int) -> Change:
    size = SIZES[form]
    if not isinstance(size, int):
        end = leb128.skip(data, place)
        return Change(place, end, leb128.encode_unsigned(new, end - place))
    if new >> 8 * size:
        raise Unsupported(section.name, place, f"address {new} doesn't fit {size} bytes")
    return Change(place, place + size, new.to_bytes(size, "little"))
