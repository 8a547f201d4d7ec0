"""Addresses of entries that don't lie where code begins: return addresses and ends.

A relocated address is moved by the caller; here is said on which side.  In split units and in
LLVM's DWARF 5 an address is an index into .debug_addr, and compilers let several users share an
entry: GCC gives a call's return address and the location list that starts there the same one.  An
entry can lie on one side of a slot only.  So first all is collected that something starts at: in
lists (`dwarf.lists`) and in entries (`starts`).  Then each index that wants another side is looked
at: what nothing starts at goes to that side; where a call site shares its entry with something that
starts there, the call site gets an entry of its own at the end of the unit's table (`of_indices`).

Source: DWARF 5, sections 2.17, 3.4.1 (DW_AT_call_return_pc), 7.27 (.debug_addr).
"""

from __future__ import annotations

from nopfix.dwarf import leb128
from nopfix.dwarf.addr import Copy
from nopfix.dwarf.encodings import DW_FORM_addr, DW_FORM_LLVM_addrx_offset
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import SIZES
from nopfix.dwarf.numbers import changed, number
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Change, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from nopfix.dwarf.addr import Copies
    from nopfix.dwarf.offset_map import OffsetMap, Side
    from nopfix.dwarf.section import Section
    from nopfix.dwarf.survey import Surveyed
    from nopfix.dwarf.unit import AddressTable, Unit


class Use(Record):
    """An index in ``form`` at ``place`` that wants entry ``number`` of ``table`` on ``side``."""

    place: int
    form: int
    side: Side
    table: AddressTable
    number: int


class Settled(Record):
    """How all indices get the side that they want.

    ``changes`` are those of the indices, section by section as given; ``sides`` are the entries of
    each .debug_addr, by its number and by place, that aren't on the ``start`` side; ``copies`` are
    new entries.
    """

    changes: list[list[Change]]
    sides: Mapping[int, Mapping[int, Side]]
    copies: Copies


def of_relocations(units: Sequence[Surveyed]) -> dict[int, Side]:
    """The relocations in a section of entries that aren't on the start side, by place."""
    return {
        place: address.side
        for surveyed in units
        for address, column in surveyed.columns.addresses.items()
        if address.form == DW_FORM_addr
        for place in column
    }


def starts(section: Section, units: Sequence[Surveyed]) -> set[Target]:
    """Where the entries of .debug_addr are that something in ``section`` starts at."""
    data = bytes(section.data)
    found = set()
    for surveyed in units:
        columns, unit = surveyed.columns, surveyed.unit
        for address, places in columns.addresses.items():
            if address.side == "start":
                for place in places:
                    table, index = indexed(section, unit, data, address.form, place)
                    found.add(table.entry(index))
        for places in columns.offsets.values():
            for place in places:
                table, index = indexed(section, unit, data, DW_FORM_LLVM_addrx_offset, place)
                found.add(table.entry(index))
    return found


def of_indices(
    entries: Sequence[tuple[Section, Sequence[Surveyed]]],
    started: AbstractSet[Target],
    maps: Mapping[int, OffsetMap],
) -> Settled:
    """Put the return addresses and ends that ``entries`` name by index on their sides.

    ``entries`` are sections of entries with their units; something starts at ``started``.  Raises
    `Unsupported` for an index outside its table, or one that would outgrow its field.
    """
    settled: list[list[Change]] = []
    sides: dict[int, dict[int, Side]] = {}
    copies: Copies = {}
    for section, units in entries:
        changes: list[Change] = []
        settled.append(changes)
        for use in _uses(section, units):
            table, side = use.table, use.side
            if not _parts(table.target(use.number), side, maps):
                continue
            entry = table.entry(use.number)
            of_table = sides.setdefault(table.section, {})
            if entry not in started and of_table.setdefault(entry.offset, side) == side:
                continue
            made = copies.setdefault(table.section, {})
            copy = Copy(table.base, table.end, table.header, entry.offset, side)
            if copy not in made:
                before = sum(other.base == table.base for other in made)
                made[copy] = (table.end - table.base) // table.address_size + before
            changes.append(_changed_index(section, use, made[copy]))
    return Settled(settled, sides, copies)


def _uses(section: Section, units: Sequence[Surveyed]) -> Iterator[Use]:
    """The indices in ``section`` that aren't on the start side, unit by unit, by place."""
    data = bytes(section.data)
    for surveyed in units:
        wanted = sorted(
            (place, address.form, address.side)
            for address, column in surveyed.columns.addresses.items()
            if address.side != "start" and address.form != DW_FORM_addr
            for place in column
        )
        for place, form, side in wanted:
            yield Use(place, form, side, *indexed(section, surveyed.unit, data, form, place))


def _parts(target: Target | None, side: Side, maps: Mapping[int, OffsetMap]) -> bool:
    """Whether ``target`` moves otherwise on ``side`` than as a start."""
    code = maps.get(target.section) if target else None
    if target is None or code is None:
        return False
    return code.move(target.offset, side) != code.start(target.offset)


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


def _changed_index(section: Section, use: Use, new: int) -> Change:
    size, place = SIZES[use.form], use.place
    if isinstance(size, int):
        return changed(section.name, place, place + size, new, "index")
    end = leb128.skip(bytes(section.data[place : place + leb128.LONGEST]), 0) + place
    return Change(place, end, leb128.encode_unsigned(new, end - place))
