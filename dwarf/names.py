"""`.debug_names`: an index of names, which gives the offsets of their entries.

A set has a header, lists of units (relocated), a hash table, and a pool of index entries; an index
entry says through an abbreviation of its own where the debugging entry lies, counted from its
unit's header.  Offsets inside the pool (DW_IDX_parent, the list of entry offsets) don't change,
for nothing in the pool changes its size: a reference of variable size that would is refused.  All
of it stays as it is unless entries moved.

Source: DWARF 5, sections 6.1.1 and 7.19.
"""

from __future__ import annotations

from nopfix.dwarf import leb128
from nopfix.dwarf.encodings import DW_IDX_compile_unit, DW_IDX_die_offset, DW_IDX_type_unit
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import SIZES, Sizes, skip
from nopfix.dwarf.numbers import changed, initial_length, number
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Change, Rewritten, splice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nopfix.dwarf.section import Section, Target
    from nopfix.dwarf.unit import File, MovedEntries

_HEADER_COUNTS = 7
_FOREIGN_TYPE = "an entry of a type unit in another file"


class _Set(Record):
    """One set: its units in order (compilation units, then local type units) and its parts."""

    units: list[Target]
    type_units: int
    abbreviations: int
    pool: int
    end: int
    sizes: Sizes


def rewrite(section: Section, file: File, moves: MovedEntries) -> Rewritten | None:
    """Move the offsets in ``section``, which name debugging entries, by ``moves``.

    ``file`` is the file that the section lies in.  Returns None when nothing changes.  Raises
    `Unsupported` for a set that is malformed or whose size would change.
    """
    if not moves.maps and not moves.split:
        return None
    changes: list[Change] = []
    place = 0
    try:
        while place < len(section.data):
            found = _read_set(section, file, place)
            changes += _moved_offsets(section, found, moves)
            place = found.end
    except (IndexError, KeyError, ValueError):
        raise Unsupported(section.name, place, "a set of names without an end") from None
    return Rewritten(*splice(section.data, changes), {})


def _read_set(section: Section, file: File, begin: int) -> _Set:
    data = section.data
    end, size, place = initial_length(data, begin, section.name)
    version = number(data, place, 2)
    if version != 5:
        raise Unsupported(section.name, begin, f"version {version} of a set of names")
    counts = [number(data, place + 4 + 4 * i, 4) for i in range(_HEADER_COUNTS)]
    compile_units, type_units, foreign_units, buckets, names, table, augmentation = counts
    place += 4 + 4 * _HEADER_COUNTS + augmentation
    if size * (compile_units + type_units) > end - place:
        raise IndexError(place)
    units = []
    for _ in range(compile_units + type_units):
        units.append(file.resolve(section, place, number(data, place, size), ".debug_info"))
        place += size
    place += 8 * foreign_units
    place += 4 * buckets + (4 * names if buckets else 0) + 2 * size * names
    return _Set(units, compile_units, place, place + table, end, Sizes(5, size, 8))


class _Offset(Record):
    """An offset of an entry of ``unit``: in ``form``, from ``place`` to ``end``."""

    unit: Target
    place: int
    end: int
    form: int


def _moved_offsets(section: Section, found: _Set, moves: MovedEntries) -> Iterator[Change]:
    """The offsets in the pool of one set, moved."""
    data = bytes(section.data[: found.end])
    for unit, place, end, form in _offsets(section, data, found):
        new = moves.moved(unit, _value(data, place, end, form))
        if isinstance(SIZES[form], int):
            yield changed(section.name, place, end, new)
            continue
        encoded = leb128.encode_unsigned(new, end - place)
        if len(encoded) != end - place:
            raise Unsupported(section.name, place, f"the new offset {new:#x} needs another byte")
        yield Change(place, end, encoded)


def _offsets(section: Section, data: bytes, found: _Set) -> Iterator[_Offset]:
    """The offsets of debugging entries in the pool of one set, whose bytes end with ``data``."""
    shapes = _abbreviations(data, found.abbreviations)
    place = found.pool
    while place < found.end:
        code, place = leb128.unsigned(data, place)
        if not code:
            continue
        unit = found.units[0] if len(found.units) == 1 else None
        offset = None
        for index, form in shapes[code]:
            after = skip(data, place, form, found.sizes)
            if index in (DW_IDX_compile_unit, DW_IDX_type_unit):
                which = _value(data, place, after, form)
                which += found.type_units if index == DW_IDX_type_unit else 0
                if which >= len(found.units):
                    raise Unsupported(section.name, place, _FOREIGN_TYPE)
                unit = found.units[which]
            elif index == DW_IDX_die_offset:
                offset = place, after, form
            place = after
        if offset:
            if unit is None:
                raise Unsupported(section.name, offset[0], "an index entry without a unit")
            yield _Offset(unit, *offset)


def _value(data: bytes, place: int, end: int, form: int) -> int:
    if isinstance(SIZES[form], int):
        return number(data, place, end - place)
    return leb128.unsigned(data, place)[0]


def _abbreviations(data: bytes, place: int) -> dict[int, list[tuple[int, int]]]:
    """The shapes of index entries by code: pairs of DW_IDX_* and form."""
    shapes: dict[int, list[tuple[int, int]]] = {}
    while True:
        code, place = leb128.unsigned(data, place)
        if not code:
            return shapes
        _, place = leb128.unsigned(data, place)
        shape = shapes[code] = []
        while True:
            index, place = leb128.unsigned(data, place)
            form, place = leb128.unsigned(data, place)
            if not index and not form:
                break
            shape.append((index, form))
