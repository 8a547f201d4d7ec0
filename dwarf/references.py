"""When an entry grows: the new layout of .debug_info, and what refers to entries there.

What compilers write fits the bytes of the old constants, and nothing moves.  But gas's own debug
information for assembly (as -g) has lengths and references in LEB128, and an index into .debug_addr
that changes (`dwarf.sides`) is one too.  Such a number may need a byte more, and then all that
counts bytes of .debug_info has to follow: the unit's length, DW_FORM_ref* and DW_AT_sibling, a type
unit's type_offset, and the operations of expressions that name an entry, some of which are LEB128
themselves and may grow in turn.  So sizes are worked out again and again until they agree.  The
constants are the same in every round, so references only ever grow, and that ends.

Source: DWARF 5, sections 7.5.1 (headers), 7.5.4 (references).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dwarf import leb128
from dwarf.errors import Unsupported
from dwarf.expression import moved_reference
from dwarf.forms import (
    BLOCK_LENGTHS,
    SIZES,
    UNIT_REFERENCES,
    DW_FORM_exprloc,
    DW_FORM_ref_addr,
    DW_FORM_ref_udata,
    number,
)
from dwarf.info import BLOCKS, LOCATIONS, block_start, constant, walk
from dwarf.offset_map import IDENTITY, OffsetMap, resize
from dwarf.section import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dwarf.info import Surveyed, Value
    from dwarf.section import Section
    from dwarf.unit import MoveExpression, Unit

_ROUNDS = 64

EXPRESSIONS = LOCATIONS | frozenset(
    (
        *(0x0B, 0x0C, 0x0D),  # DW_AT_byte_size, _bit_offset, _bit_size
        *(0x22, 0x2E, 0x2F, 0x37),  # _lower_bound, _bit_stride, _upper_bound, _count
        *(0x4E, 0x4F, 0x50),  # _allocated, _associated, _data_location
        *(0x51, 0x71),  # _byte_stride, _rank
        *(0x7E, 0x83, 0x84, 0x85, 0x86),  # DW_AT_call_value, _target, _target_clobbered, _data_*
        *(0x2111, 0x2112, 0x2113, 0x2114),  # the same of DW_TAG_GNU_call_site
    )
)
"""Attributes whose blocks are expressions; DWARF 4 has DW_FORM_exprloc to tell them."""


class Layout(NamedTuple):
    """The new bytes of a section of entries: what changes in the old ones, and the map."""

    changes: Sequence[Change]
    map: OffsetMap


def lay_out(section: Section, units: Sequence[Surveyed], constants: Sequence[Change]) -> Layout:
    """What follows in ``section`` from its new constants, where they change sizes.

    Raises `Unsupported`.
    """
    if all(len(new) == end - place for place, end, new in constants):
        return Layout(constants, IDENTITY)
    fixed = {change.place: change for change in constants}
    found = fixed
    for _ in range(_ROUNDS):
        entries = _map_of(found.values())
        again = fixed | {
            change.place: change
            for surveyed in units
            for change in _moved_unit(section, surveyed, entries)
        }
        after = _map_of(again.values())
        if (after.places, after.shifts) == (entries.places, entries.shifts):
            return Layout(sorted(again.values()), entries)
        found = again
    raise Unsupported(section.name, None, "references between entries that never come to rest")


def mover(section: Section, entries: Mapping[int, OffsetMap]) -> MoveExpression | None:
    """What moves expressions in ``section``, a section of lists, by ``entries``; None if nothing
    in there can change.
    """
    if not entries:
        return None
    from dwarf import expression

    def move(data: memoryview | bytes, start: int, end: int, unit: Unit) -> bytes | None:
        moved = entries.get(unit.section, IDENTITY)
        return expression.move(data, start, end, unit, moved, section.relocations, section.name)

    return move


def _map_of(found: Iterable[Change]) -> OffsetMap:
    return OffsetMap(
        resize(end, len(new) - (end - place))
        for place, end, new in found
        if len(new) != end - place
    )


def _moved_unit(section: Section, surveyed: Surveyed, entries: OffsetMap) -> Iterator[Change]:
    """All that counts bytes of entries in one unit."""
    header, unit = surveyed.header, surveyed.unit
    size = header.sizes.offset_size
    # 64-bit DWARF has 4 bytes of ones in front of the length.
    length = header.offset + (4 if size == 8 else 0)
    new_length = entries.start(header.end) - entries.start(length + size)
    yield _resized(section, length, length + size, new_length)
    data = bytes(section.data)
    if header.type_offset:
        place = header.type_offset
        moved = moved_reference(unit, entries, number(data, place, size))
        yield _resized(section, place, place + size, moved)
    for _, _, _, values in walk(data, header, surveyed.table):
        for value in values:
            change = _moved_value(section, data, unit, value, entries)
            if change is not None:
                yield change


def _moved_value(
    section: Section, data: bytes, unit: Unit, value: Value, entries: OffsetMap
) -> Change | None:
    """The change of one attribute that refers to an entry; None for all others."""
    name, form, place, end, _ = value
    if form in UNIT_REFERENCES:
        moved = moved_reference(unit, entries, constant(data, value))
        if form == DW_FORM_ref_udata:
            return Change(place, end, leb128.encode_unsigned(moved, end - place))
        return _resized(section, place, end, moved)
    if form == DW_FORM_ref_addr and section.relocations.target(place) is None:
        return _resized(section, place, end, entries.start(constant(data, value)))
    if form == DW_FORM_exprloc or (SIZES[form] in BLOCKS and name in EXPRESSIONS):
        return _moved_expression(section, data, unit, value, entries)
    return None


def _moved_expression(
    section: Section, data: bytes, unit: Unit, value: Value, entries: OffsetMap
) -> Change | None:
    from dwarf import expression

    _, form, place, end, _ = value
    width = BLOCK_LENGTHS.get(SIZES[form], 0)
    begin = block_start(data, value)
    moved = expression.move(data, begin, end, unit, entries, section.relocations, section.name)
    if moved is None:
        return None
    if not width:
        return Change(place, end, leb128.encode_unsigned(len(moved), begin - place) + moved)
    if len(moved) >> 8 * width:
        raise Unsupported(section.name, place, "an expression that outgrows its block")
    return Change(place, end, len(moved).to_bytes(width, "little") + moved)


def _resized(section: Section, place: int, end: int, value: int) -> Change:
    """The change of a number of fixed size."""
    if value < 0 or value >> 8 * (end - place):
        raise Unsupported(section.name, place, f"the new offset {value:#x} doesn't fit")
    return Change(place, end, value.to_bytes(end - place, "little"))
