"""Distances in debugging entries: numbers that count the bytes between two addresses.

DW_AT_high_pc is a length since DWARF 4, DW_AT_entry_pc and DW_AT_start_scope may be offsets since
DWARF 5, and LLVM can write any address as an offset from an entry of .debug_addr.  The assembler
has resolved them; no relocation marks them.  The new number is the distance of the two new
addresses, the end of a length on the ``after`` side.

Source: DWARF 5, sections 2.17.2, 2.18 (entry address), 3.3.8 and 3.9 (start_scope).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from struct import Struct

from nopfix.dwarf import encodings, leb128
from nopfix.dwarf.encodings import (
    DW_AT_high_pc,
    DW_AT_low_pc,
    DW_AT_start_scope,
    DW_FORM_addr,
    DW_FORM_data4,
    DW_FORM_data8,
    DW_FORM_implicit_const,
    DW_FORM_LLVM_addrx_offset,
    DW_FORM_sdata,
    DW_FORM_udata,
)
from nopfix.dwarf.entries import Value, constant, walk
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import INDEXED_ADDRESSES, skip
from nopfix.dwarf.numbers import changed, number
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Change
from nopfix.dwarf.sides import indexed

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Mapping, Sequence

    from nopfix.dwarf.notes import Distance, Pairs
    from nopfix.dwarf.offset_map import OffsetMap, Side
    from nopfix.dwarf.section import Section, Target
    from nopfix.dwarf.survey import Surveyed
    from nopfix.dwarf.unit import Unit


_ANOTHER_OBJECT = "the .dwo was rewritten before, or belongs to another object: compile again"

_PLAIN = {DW_FORM_data4: Struct("<I"), DW_FORM_data8: Struct("<Q")}
"""The forms in which compilers write DW_AT_high_pc."""


class _Start(Record):
    """An address in code that moves: its offset in the section that ``code`` is the map of."""

    code: OffsetMap
    offset: int

    def distance(self, old: int, side: Side) -> int:
        """What becomes of the distance ``old`` from here to a place on ``side``."""
        return self.code.move(self.offset + old, side) - self.code.start(self.offset)


def changes(
    section: Section, units: Sequence[Surveyed], maps: Mapping[int, OffsetMap]
) -> list[Change]:
    """What code offsets make of the distances in ``section``; only what really changes.

    ``maps`` are those of code, by section number of the object.  Raises `Unsupported` where a new
    value doesn't fit its field.
    """
    return [change for surveyed in units for change in _of_unit(section, surveyed, maps)]


def _of_unit(
    section: Section, surveyed: Surveyed, maps: Mapping[int, OffsetMap]
) -> Iterator[Change]:
    columns = surveyed.columns
    for distance, found in columns.distances.items():
        form = distance.form
        if distance.attribute == DW_AT_start_scope:
            yield from _start_scopes(section, surveyed, found.places, maps)
        elif distance.attribute != DW_AT_high_pc:
            yield from _distances(section, surveyed, distance, found, maps)
        elif distance.low_form == DW_FORM_addr and form in _PLAIN:
            yield from _plain_lengths(section, form, found, maps)
        else:
            yield from _distances(section, surveyed, distance, found, maps)
    for offset, places in columns.offsets.items():
        yield from _address_offsets(section, surveyed.unit, offset.side, places, maps)


def check_lengths(section: Section, units: Sequence[Surveyed], sizes: Mapping[Target, int]) -> None:
    """Check lengths in split units against ``sizes``, the bytes of code that begin at a target.

    A split unit that was rewritten before can be told from its object by nothing else: what begins
    where a function does isn't longer than that.  Raises `Unsupported`.
    """
    data = bytes(section.data)
    for surveyed in units:
        for distance, found in surveyed.columns.distances.items():
            low_form = distance.low_form
            if distance.attribute != DW_AT_high_pc or low_form not in INDEXED_ADDRESSES:
                continue
            for low, place in zip(found.partners, found.places, strict=True):
                table, index = indexed(section, surveyed.unit, data, low_form, low)
                target = table.target(index)
                size = sizes.get(target) if target else None
                length = constant(data, _value(data, surveyed, distance, place))
                if size is not None and length > size:
                    longer = f"{length} bytes of code, where the object has a function of {size}"
                    raise Unsupported(section.name, place, longer, _ANOTHER_OBJECT)


def _value(data: bytes, surveyed: Surveyed, distance: Distance, place: int) -> Value:
    """The attribute at ``place``, a ``distance`` of that unit."""
    end = skip(data, place, distance.form, surveyed.header.sizes)
    return Value(distance.attribute, distance.form, place, end, distance.implicit)


def _plain_lengths(
    section: Section, form: int, found: Pairs, maps: Mapping[int, OffsetMap]
) -> Iterator[Change]:
    """`_distances` for what compilers write: a relocated start and a length of fixed size.

    Hot: a large object has thousands, of which one in a few holds an insertion.
    """
    relocations = section.relocations
    places, symbols, addends = relocations.places, relocations.symbols, relocations.addends
    sections, values = relocations.symbol_sections, relocations.symbol_values
    packed = _PLAIN[form]
    unpack, data, count = packed.unpack_from, section.data, len(places)
    index = 0
    for low, place in zip(found.partners, found.places, strict=True):
        index = bisect_left(places, low, index)
        if index == count or places[index] != low:
            continue
        symbol = symbols[index]
        code = maps.get(sections[symbol])
        if code is None:
            continue
        (length,) = unpack(data, place)
        start = values[symbol] + addends[index]
        edits = code.places
        behind = bisect_right(edits, start)
        if behind < len(edits) and edits[behind] <= start + length and length:
            new = code.after(start + length) - start - code.shifts[behind]
            if new != length:
                yield changed(section.name, place, place + packed.size, new, "length")


def _distances(
    section: Section,
    surveyed: Surveyed,
    distance: Distance,
    found: Pairs,
    maps: Mapping[int, OffsetMap],
) -> Iterator[Change]:
    """Lengths (DW_AT_high_pc) and offsets (DW_AT_entry_pc) from DW_AT_low_pc of the same entry."""
    data = bytes(section.data)
    side: Side = "after" if distance.attribute == DW_AT_high_pc else "start"
    for index, place in enumerate(found.places):
        value = _value(data, surveyed, distance, place)
        old = constant(data, value)
        if not old:
            # What was empty stays empty, even with padding in front of it.
            continue
        if not distance.low_form:
            if maps:
                name = encodings.name("DW_AT", distance.attribute)
                without = f"{name} as an offset, without DW_AT_low_pc"
                raise Unsupported(section.name, place, without)
            return
        low = found.partners[index]
        start = _start(section, surveyed.unit, data, distance.low_form, low, maps)
        if start is not None and (new := start.distance(old, side)) != old:
            yield _changed(section, value, new)


def _start(
    section: Section,
    unit: Unit,
    data: bytes,
    form: int,
    place: int,
    maps: Mapping[int, OffsetMap],
) -> _Start | None:
    """The start in the field of ``form`` at ``place``; None if it doesn't move."""
    more = 0
    if form == DW_FORM_addr:
        target = section.relocations.target(place)
    else:
        if form == DW_FORM_LLVM_addrx_offset:
            more = number(data, leb128.skip(data, place), 4)
        table, index = indexed(section, unit, data, form, place)
        target = table.target(index)
    code = maps.get(target.section) if target else None
    return _Start(code, target.offset + more) if target and code is not None else None


def _start_scopes(
    section: Section, surveyed: Surveyed, places: array[int], maps: Mapping[int, OffsetMap]
) -> Iterator[Change]:
    """DW_AT_start_scope as a constant: the distance from the start of the *enclosing* entry."""
    if not maps:
        return
    data = bytes(section.data)
    wanted = set(places)
    lows: list[Value | None] = []
    for depth, _, _, values in walk(data, surveyed.header, surveyed.table):
        del lows[depth:]
        lows.append(next((v for v in values if v.name == DW_AT_low_pc), None))
        for value in values:
            if value.place not in wanted or value.name != DW_AT_start_scope:
                continue
            old = constant(data, value)
            low = lows[depth - 1] if depth else None
            if not old:
                continue
            if low is None:
                without = "DW_AT_start_scope in a scope without DW_AT_low_pc"
                raise Unsupported(section.name, value.place, without)
            start = _start(section, surveyed.unit, data, low.form, low.place, maps)
            if start is not None and (new := start.distance(old, "start")) != old:
                yield _changed(section, value, new)


def _address_offsets(
    section: Section, unit: Unit, side: Side, places: array[int], maps: Mapping[int, OffsetMap]
) -> Iterator[Change]:
    """DW_FORM_LLVM_addrx_offset: the distance from an entry of .debug_addr."""
    data = bytes(section.data)
    for place in places:
        table, index = indexed(section, unit, data, DW_FORM_LLVM_addrx_offset, place)
        target = table.target(index)
        code = maps.get(target.section) if target else None
        if target is None or code is None:
            continue
        field = leb128.skip(data, place)
        old = number(data, field, 4)
        if old or side != "start":
            new = _Start(code, target.offset).distance(old, side)
            if new != old:
                yield changed(section.name, field, field + 4, new, "distance")


def _changed(section: Section, value: Value, new: int) -> Change:
    """The change of one constant to ``new``, in its form."""
    _, form, place, end, _ = value
    if form == DW_FORM_implicit_const:
        shared = "a length in DW_FORM_implicit_const, which entries share"
        raise Unsupported(section.name, place, shared)
    if form == DW_FORM_sdata:
        return Change(place, end, leb128.encode_signed(new))
    if form == DW_FORM_udata and new >= 0:
        return Change(place, end, leb128.encode_unsigned(new))
    return changed(section.name, place, end, new, "distance")
