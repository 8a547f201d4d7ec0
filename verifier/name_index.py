""".debug_names: does each name still mean the entry that it meant?

A name index (DWARF 5, 6.1.1) is a hash table of names, each with a series of entries in a pool. An
entry names one of .debug_info by its offset in its unit, which moves when something in front of it
in the unit grows. Nothing else of an index depends on code, so the rest is equal.

The unit is the one that the entry gives, by its number in the index's lists, or the only one. What
isn't found in the unit is an entry of its .dwo, which is not looked at: those have moved in their
order.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier.fields import shown
from nopfix.verifier.forms import Format, compile_form, name_of
from nopfix.verifier.indexes import UNKNOWN, check_elsewhere, in_split
from nopfix.verifier.pairing import Starts
from nopfix.verifier.reader import Malformed, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nopfix.verifier.fields import Fields, Target
    from nopfix.verifier.uses import Uses

DW_IDX_compile_unit, DW_IDX_type_unit, DW_IDX_die_offset = 1, 2, 3

_Abbreviations = dict[int, list[tuple[int, str]]]
"""By code: the attributes of an entry and their forms."""


class Header(NamedTuple):
    """What of an index's header is needed (6.1.1.4.1); offsets in the section."""

    offset_size: int
    end: int
    units: tuple[int, ...]
    """Of each kind, how many there are: compilation units, local and foreign type units."""
    lists: int
    """Where the list of units begins."""
    abbreviations: int
    pool: int


class Name(NamedTuple):
    """The field of an entry that says which one of .debug_info it is."""

    place: int
    size: int
    unit: Target | None
    """The unit that it is an offset in; None for a type unit that isn't in the object."""


def check(fields: Fields, uses: Uses) -> None:
    """Compare all indexes of a section. Raises Malformed."""
    for place in fields.old_relocations:
        fields.relocated(place, place)
    raw, new_raw = fields.raw, fields.new_raw
    if raw == new_raw and not _entries_moved(uses):
        return
    if not fields.equal("names", 0, 0, len(raw), len(new_raw)):
        return
    rest, new_rest = bytearray(raw), bytearray(new_raw)
    position = 0
    while position < len(raw):
        header = _header(raw, position)
        _check_names(fields, uses, list(_names(fields, header)), rest, new_rest)
        position = header.end
    fields.equal("names", 0, 0, bytes(rest), bytes(new_rest))


def _entries_moved(uses: Uses) -> bool:
    """Whether an entry of some unit isn't where it was in the unit."""
    for section, entries in uses.entries.items():
        units = {unit.old: unit.new - unit.old for unit in uses.units if unit.section == section}
        shift = 0
        for old, new in entries.between(0, 1 << 62):
            shift = units.get(old, shift)
            if new - old != shift:
                return True
    return False


def _check_names(
    fields: Fields, uses: Uses, names: list[Name], rest: bytearray, new_rest: bytearray
) -> None:
    """Compare the offsets of entries; in `rest` and `new_rest` there is nothing left of them."""
    starts = sorted((unit.section, unit.old) for unit in uses.units)
    elsewhere: dict[Target | None, list[tuple[int, int, int]]] = {}
    for place, size, unit in names:
        offset, new_offset = (
            int.from_bytes(data[place : place + size], "little")
            for data in (fields.raw, fields.new_raw)
        )
        rest[place : place + size] = new_rest[place : place + size] = bytes(size)
        expected = None
        if unit is not None:
            named = unit.old + offset
            position = bisect.bisect_right(starts, (unit.section, named))
            if starts[position - 1 : position] == [(unit.section, unit.old)]:
                expected = uses.entries.get(unit.section, Starts()).get(named)
        if unit is None or expected is None:
            elsewhere.setdefault(unit, []).append((offset, new_offset, place))
        elif expected - unit.new != new_offset:
            text = (
                f"names the entry at {offset:#x} of its unit in IN, so at"
                f" {shown(expected - unit.new)} in OUT, but {new_offset:#x}"
            )
            fields.differ("names", place, place, text)
    for unit, found in elsewhere.items():
        if unit is not None:
            skeleton = unit.section, unit.old
            found = [name for name in found if not in_split(fields, uses, skeleton, name)]
        check_elsewhere(fields, "names", sorted(found), UNKNOWN)


# Reading


def _header(data: bytes, start: int) -> Header:
    reader = Reader(data, start, len(data))
    length, size = reader.initial_length()
    end = reader.position + length
    version = reader.unsigned(2)
    reader.unsigned(2)  # padding
    if version != 5 or end > len(data):
        raise Malformed(f"name index at {start:#x}: version {version}, length {length:#x}")
    units = tuple(reader.unsigned(4) for _ in range(3))
    buckets, names, abbreviations, augmentation = (reader.unsigned(4) for _ in range(4))
    reader.take(-(-augmentation // 4) * 4)
    lists = reader.position
    reader.take(size * (units[0] + units[1]) + 8 * units[2])
    # Buckets; hashes, where there are any; where each name and its entries are.
    reader.take(4 * buckets + (4 * names if buckets else 0) + 2 * size * names)
    at = reader.position
    return Header(size, end, units, lists, at, at + abbreviations)


def _abbreviations(data: bytes, header: Header) -> _Abbreviations:
    reader = Reader(data, header.abbreviations, header.pool)
    found: _Abbreviations = {}
    while code := reader.uleb():
        reader.uleb()  # tag
        attributes = found[code] = []
        while pair := (reader.uleb(), reader.uleb()):
            if pair == (0, 0):
                break
            attributes.append((pair[0], name_of(pair[1])))
    return found


def _names(fields: Fields, header: Header) -> Iterator[Name]:
    """Every entry of an index's pool. Raises Malformed."""
    data, size = fields.raw, header.offset_size
    shape = Format(5, size, 8)
    places = range(header.lists, header.lists + size * (header.units[0] + header.units[1]), size)
    units = [fields.target(place, place) for place in places]
    if None in units:
        raise Malformed(f"name index at {header.lists:#x}: a unit without a relocation")
    abbreviations = _abbreviations(data, header)
    reader = Reader(data, header.pool, header.end)
    while not reader.done:
        code = reader.uleb()
        if not code:
            continue
        if code not in abbreviations:
            raise Malformed(f"name index: no abbreviation {code} at {reader.position:#x}")
        values = {kind: compile_form(form, shape, 0)(reader) for kind, form in abbreviations[code]}
        if DW_IDX_die_offset not in values:
            continue
        place = values[DW_IDX_die_offset].place
        if DW_IDX_type_unit in values:
            number = header.units[0] + values[DW_IDX_type_unit].raw
        else:
            number = values[DW_IDX_compile_unit].raw if DW_IDX_compile_unit in values else 0
        unit = units[number] if number < len(units) else None
        yield Name(place, _size(values[DW_IDX_die_offset].form), unit)


def _size(form: str) -> int:
    """Bytes of an entry's offset. Raises Malformed where that depends on the offset."""
    sizes = {"DW_FORM_ref1": 1, "DW_FORM_ref2": 2, "DW_FORM_ref4": 4, "DW_FORM_ref8": 8}
    if form not in sizes:
        raise Malformed(f"name index: entries named by {form}")
    return sizes[form]
