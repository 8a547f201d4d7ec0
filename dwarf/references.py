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

from nopfix.dwarf import encodings as dw
from nopfix.dwarf import expression, leb128
from nopfix.dwarf.encodings import DW_FORM_exprloc, DW_FORM_ref_addr, DW_FORM_ref_udata
from nopfix.dwarf.entries import block_start, constant, walk
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import BLOCK_LENGTHS, BLOCKS, SIZES, UNIT_REFERENCES
from nopfix.dwarf.notes import LOCATIONS
from nopfix.dwarf.numbers import changed, number
from nopfix.dwarf.offset_map import IDENTITY
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Change, map_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nopfix.dwarf.entries import Value
    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Section
    from nopfix.dwarf.survey import Surveyed
    from nopfix.dwarf.unit import MoveExpression, Unit

_ROUNDS = 64

EXPRESSIONS = LOCATIONS | frozenset(
    (
        *(dw.DW_AT_byte_size, dw.DW_AT_bit_offset, dw.DW_AT_bit_size, dw.DW_AT_lower_bound),
        *(dw.DW_AT_bit_stride, dw.DW_AT_upper_bound, dw.DW_AT_count, dw.DW_AT_allocated),
        *(dw.DW_AT_associated, dw.DW_AT_data_location, dw.DW_AT_byte_stride, dw.DW_AT_rank),
        *(dw.DW_AT_call_value, dw.DW_AT_call_target, dw.DW_AT_call_target_clobbered),
        *(dw.DW_AT_call_data_location, dw.DW_AT_call_data_value),
        *(dw.DW_AT_GNU_call_site_value, dw.DW_AT_GNU_call_site_data_value),
        *(dw.DW_AT_GNU_call_site_target, dw.DW_AT_GNU_call_site_target_clobbered),
    )
)
"""Attributes whose blocks are expressions; DWARF 4 has DW_FORM_exprloc to tell them."""


class Layout(Record):
    """The new bytes of a section of entries: what changes in the old ones, and the map."""

    changes: Sequence[Change]
    map: OffsetMap


def lay_out(section: Section, units: Sequence[Surveyed], found: Sequence[Change]) -> Layout:
    """What follows in ``section`` from what was ``found`` to change, where that changes sizes.

    Raises `Unsupported`.
    """
    if all(len(change.data) == change.end - change.place for change in found):
        return Layout(found, IDENTITY)
    fixed = {change.place: change for change in found}
    changes = fixed
    for _ in range(_ROUNDS):
        entries = map_of(changes.values())
        again = fixed | {
            change.place: change
            for surveyed in units
            for change in _moved_unit(section, surveyed, entries)
        }
        after = map_of(again.values())
        if (after.places, after.shifts) == (entries.places, entries.shifts):
            return Layout(sorted(again.values()), entries)
        changes = again
    raise Unsupported(section.name, None, "references between entries that never come to rest")


def mover(section: Section, entries: Mapping[int, OffsetMap]) -> MoveExpression | None:
    """What moves expressions in ``section``, a section of lists, by ``entries``; None if nothing
    in there can change.
    """
    if not entries:
        return None

    def move(data: memoryview | bytes, start: int, end: int, unit: Unit) -> bytes | None:
        moved = entries.get(unit.section, IDENTITY)
        context = expression.Context(data, unit, moved, section.relocations, section.name)
        return expression.move(context, start, end)

    return move


def _moved_unit(section: Section, surveyed: Surveyed, entries: OffsetMap) -> Iterator[Change]:
    """All that counts bytes of entries in one unit."""
    header, unit = surveyed.header, surveyed.unit
    size = header.sizes.offset_size
    # 64-bit DWARF has 4 bytes of ones in front of the length.
    length = header.offset + (4 if size == 8 else 0)
    new_length = entries.start(header.end) - entries.start(length + size)
    yield changed(section.name, length, length + size, new_length)
    data = bytes(section.data)
    if header.type_offset:
        place = header.type_offset
        moved = expression.moved_reference(unit, entries, number(data, place, size))
        yield changed(section.name, place, place + size, moved)
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
        moved = expression.moved_reference(unit, entries, constant(data, value))
        if form == DW_FORM_ref_udata:
            return Change(place, end, leb128.encode_unsigned(moved, end - place))
        return changed(section.name, place, end, moved)
    if form == DW_FORM_ref_addr and section.relocations.target(place) is None:
        return changed(section.name, place, end, entries.start(constant(data, value)))
    if form == DW_FORM_exprloc or (SIZES[form] in BLOCKS and name in EXPRESSIONS):
        return _moved_expression(section, data, unit, value, entries)
    return None


def _moved_expression(
    section: Section, data: bytes, unit: Unit, value: Value, entries: OffsetMap
) -> Change | None:
    _, form, place, end, _ = value
    width = BLOCK_LENGTHS.get(SIZES[form], 0)
    begin = block_start(data, value)
    context = expression.Context(data, unit, entries, section.relocations, section.name)
    moved = expression.move(context, begin, end)
    if moved is None:
        return None
    if not width:
        return Change(place, end, leb128.encode_unsigned(len(moved), begin - place) + moved)
    if len(moved) >> 8 * width:
        raise Unsupported(section.name, place, "an expression that outgrows its block")
    return Change(place, end, len(moved).to_bytes(width, "little") + moved)
