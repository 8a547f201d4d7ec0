"""Numbers in debugging entries that are the distance of two addresses.

DW_AT_high_pc is a length since DWARF 4, DW_AT_entry_pc and DW_AT_start_scope may be offsets since
DWARF 5, and LLVM can write any address as an offset from an entry of .debug_addr.  The assembler
has resolved them; no relocation marks them.  The new number is the distance of the two new
addresses, the end of a length on the ``after`` side.

Source: DWARF 5, sections 2.17.2, 2.18 (entry address), 3.3.8 and 3.9 (start_scope).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from struct import Struct
from typing import TYPE_CHECKING

from dwarf import leb128
from dwarf.errors import Unsupported
from dwarf.forms import (
    INDEXED_ADDRESSES,
    DW_FORM_addr,
    DW_FORM_data4,
    DW_FORM_data8,
    DW_FORM_implicit_const,
    DW_FORM_LLVM_addrx_offset,
    DW_FORM_sdata,
    DW_FORM_udata,
    number,
    skip,
)
from dwarf.info import DW_AT_low_pc, DW_AT_start_scope, Value, constant, walk
from dwarf.section import Change
from dwarf.sides import indexed

if TYPE_CHECKING:
    from array import array
    from collections.abc import Mapping, Sequence

    from dwarf.info import Key, Surveyed
    from dwarf.offset_map import OffsetMap, Side
    from dwarf.section import Section, Target
    from dwarf.unit import Unit


_ANOTHER_OBJECT = "the .dwo was rewritten before, or belongs to another object: compile again"

_PLAIN = {DW_FORM_data4: Struct("<I"), DW_FORM_data8: Struct("<Q")}
"""The forms in which compilers write DW_AT_high_pc."""


def changes(
    section: Section, units: Sequence[Surveyed], maps: Mapping[int, OffsetMap]
) -> list[Change]:
    """What code offsets make of the constants in ``section``; only what really changes.

    ``maps`` are those of code, by section number of the object.  Raises `Unsupported` where a new
    value doesn't fit its field.
    """
    found: list[Change] = []
    for surveyed in units:
        columns = surveyed.columns
        for key, column in columns.items():
            kind, form, low_form, implicit = key
            if kind == "length" and low_form == DW_FORM_addr and form in _PLAIN:
                starts = columns[f"{kind} base", form, low_form, implicit]
                _plain_lengths(section, form, starts, column, maps, found)
            elif kind in ("length", "entry"):
                bases = columns.get((f"{kind} base", form, low_form, implicit))
                _distances(section, surveyed, key, bases, column, maps, found)
            elif kind == "scope":
                _start_scopes(section, surveyed, key, column, maps, found)
            elif kind.startswith("offset "):
                _address_offsets(section, surveyed, kind[7:], column, maps, found)
    return found


def check_lengths(section: Section, units: Sequence[Surveyed], sizes: Mapping[Target, int]) -> None:
    """Check lengths in split units against ``sizes``, the bytes of code that begin at a target.

    A split unit that was rewritten before can be told from its object by nothing else: what begins
    where a function does isn't longer than that.  Raises `Unsupported`.
    """
    data = bytes(section.data)
    for surveyed in units:
        for (kind, form, low_form, implicit), column in surveyed.columns.items():
            if kind != "length" or low_form not in INDEXED_ADDRESSES:
                continue
            bases = surveyed.columns["length base", form, low_form, implicit]
            for base, place in zip(bases, column, strict=True):
                table, index = indexed(section, surveyed.unit, data, low_form, base)
                target = table.relocations.target(table.place(index))
                size = sizes.get(target) if target else None
                end = skip(data, place, form, surveyed.header.sizes)
                length = constant(data, Value(0, form, place, end, implicit))
                if size is not None and length > size:
                    found = f"{length} bytes of code, where the object has a function of {size}"
                    raise Unsupported(section.name, place, found, _ANOTHER_OBJECT)


def _plain_lengths(
    section: Section,
    form: int,
    bases: array[int],
    column: array[int],
    maps: Mapping[int, OffsetMap],
    found: list[Change],
) -> None:
    """`_distances` for what compilers write: a relocated start and a length of fixed size.

    Hot: a large object has thousands, of which one in a few holds an insertion.
    """
    relocations = section.relocations
    places, symbols, addends = relocations.places, relocations.symbols, relocations.addends
    sections, values = relocations.symbol_sections, relocations.symbol_values
    packed = _PLAIN[form]
    unpack, data, count = packed.unpack_from, section.data, len(places)
    index = 0
    for base, place in zip(bases, column, strict=True):
        index = bisect_left(places, base, index)
        if index == count or places[index] != base:
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
                found.append(_changed(section, place, place + packed.size, form, new))


def _distances(
    section: Section,
    surveyed: Surveyed,
    key: Key,
    bases: array[int] | None,
    column: array[int],
    maps: Mapping[int, OffsetMap],
    found: list[Change],
) -> None:
    """Lengths (DW_AT_high_pc) and offsets (DW_AT_entry_pc) from DW_AT_low_pc of the same entry."""
    kind, form, low_form, implicit = key
    data = bytes(section.data)
    for index, place in enumerate(column):
        end = skip(data, place, form, surveyed.header.sizes)
        distance = constant(data, Value(0, form, place, end, implicit))
        if not distance:
            # What was empty stays empty, even with padding in front of it.
            continue
        if bases is None:
            if maps:
                raise Unsupported(
                    section.name, place, "DW_AT_entry_pc as an offset, without DW_AT_low_pc"
                )
            return
        low = _moved_address(section, surveyed.unit, data, low_form, bases[index], maps)
        if low is None:
            continue
        code, old, new = low
        side: Side = "after" if kind == "length" else "start"
        moved = code.move(old + distance, side) - new
        if moved != distance:
            found.append(_changed(section, place, end, form, moved))


def _moved_address(
    section: Section,
    unit: Unit,
    data: bytes,
    form: int,
    place: int,
    maps: Mapping[int, OffsetMap],
) -> tuple[OffsetMap, int, int] | None:
    """The start in a field: the map of its section, old and new offset; None if it doesn't move."""
    if form == DW_FORM_addr:
        target = section.relocations.target(place)
        code = maps.get(target.section) if target else None
        if target is None or code is None:
            return None
        return code, target.offset, code.start(target.offset)
    more = 0
    if form == DW_FORM_LLVM_addrx_offset:
        more = number(data, leb128.skip(data, place), 4)
    table, index = indexed(section, unit, data, form, place)
    target = table.target(index)
    code = maps.get(target.section) if target else None
    if target is None or code is None:
        return None
    if more:
        return code, target.offset + more, code.start(target.offset + more)
    return code, target.offset, table.new_offset(index, target, maps)


def _start_scopes(
    section: Section,
    surveyed: Surveyed,
    key: Key,
    column: array[int],
    maps: Mapping[int, OffsetMap],
    found: list[Change],
) -> None:
    """DW_AT_start_scope as a constant: the distance from the start of the *enclosing* entry."""
    if not maps:
        return
    data = bytes(section.data)
    wanted = set(column)
    starts: list[Value | None] = []
    for depth, _, _, values in walk(data, surveyed.header, surveyed.table):
        del starts[depth:]
        starts.append(next((v for v in values if v.name == DW_AT_low_pc), None))
        for value in values:
            if value.place not in wanted or value.name != DW_AT_start_scope:
                continue
            distance = constant(data, value)
            scope = starts[depth - 1] if depth else None
            if not distance:
                continue
            if scope is None:
                raise Unsupported(
                    section.name, value.place, "DW_AT_start_scope in a scope without DW_AT_low_pc"
                )
            low = _moved_address(section, surveyed.unit, data, scope.form, scope.place, maps)
            if low is not None:
                code, old, new = low
                moved = code.start(old + distance) - new
                if moved != distance:
                    found.append(_changed(section, value.place, value.end, value.form, moved))


def _address_offsets(
    section: Section,
    surveyed: Surveyed,
    side: str,
    column: array[int],
    maps: Mapping[int, OffsetMap],
    found: list[Change],
) -> None:
    """DW_FORM_LLVM_addrx_offset: the distance from an entry of .debug_addr."""
    data = bytes(section.data)
    for place in column:
        table, index = indexed(section, surveyed.unit, data, DW_FORM_LLVM_addrx_offset, place)
        target = table.target(index)
        code = maps.get(target.section) if target else None
        if target is None or code is None:
            continue
        field = leb128.skip(data, place)
        distance = number(data, field, 4)
        if not distance and side == "start":
            continue
        wanted: Side = "before" if side == "before" else "after" if side == "after" else "start"
        moved = code.move(target.offset + distance, wanted)
        moved -= table.new_offset(index, target, maps)
        if moved != distance:
            found.append(_changed(section, field, field + 4, DW_FORM_data4, moved))


def _changed(section: Section, place: int, end: int, form: int, new: int) -> Change:
    """The change of one constant to ``new``, in its form."""
    if form == DW_FORM_implicit_const:
        raise Unsupported(
            section.name, place, "a length in DW_FORM_implicit_const, which entries share"
        )
    width = end - place
    if form == DW_FORM_sdata:
        return Change(place, end, leb128.encode_signed(new))
    if new < 0 or (form != DW_FORM_udata and new >> 8 * width):
        raise Unsupported(section.name, place, f"the new value {new:#x} doesn't fit {width} bytes")
    if form == DW_FORM_udata:
        return Change(place, end, leb128.encode_unsigned(new))
    return Change(place, end, new.to_bytes(width, "little"))
