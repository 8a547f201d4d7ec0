"""The lists of DWARF 5: a byte says what an entry is, numbers are ULEB128, tables have headers.

Location lists and range lists are written alike.  Their kinds of entries have different numbers
but the same meanings, so a section comes with its `lists.Kinds`, which give the DW_LLE_* of each.

Source: DWARF 5, sections 2.6.2, 2.17.3, 7.7.3, 7.25, 7.28, 7.29.  `dwarf.lists` has the rules.
"""

from __future__ import annotations

from bisect import bisect_right

from nopfix.dwarf import encodings
from nopfix.dwarf.encodings import (
    DW_LLE_base_address,
    DW_LLE_base_addressx,
    DW_LLE_default_location,
    DW_LLE_end_of_list,
    DW_LLE_GNU_view_pair,
    DW_LLE_offset_pair,
    DW_LLE_start_end,
    DW_LLE_start_length,
    DW_LLE_startx_endx,
    DW_LLE_startx_length,
)
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.leb128 import BadLeb128, encode_unsigned, skip, unsigned
from nopfix.dwarf.lists import (
    ADDRESS_SIZE,
    MALFORMED,
    UNKNOWN,
    Moved,
    Walk,
    moved_length,
    reach,
    walk_table,
)
from nopfix.dwarf.numbers import changed, initial_length, number
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Change, Rewritten, map_of, splice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nopfix.dwarf.lists import Base, Kinds
    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Section
    from nopfix.dwarf.unit import ListUses, MoveExpression, Unit

_BASES = (DW_LLE_base_address, DW_LLE_base_addressx)


class Contribution(Record):
    """One table of lists in a DWARF 5 section: all fields but two are section offsets in bytes.

    The header is at ``start``, ``entries`` offsets of ``offset_size`` bytes each are at ``table``,
    the lists lie from ``lists`` to ``end``.
    """

    start: int
    end: int
    offset_size: int
    table: int
    entries: int
    lists: int


def contributions(name: str, data: bytes) -> list[Contribution]:
    """Read the headers of a DWARF 5 list section (sections 7.28 and 7.29).

    Raises `Unsupported` for a header that is truncated, of another version, or for addresses that
    aren't 8 bytes.
    """
    found = []
    start = 0
    while start < len(data):
        end, offset_size, body = initial_length(data, start, name, MALFORMED)
        if end - body < 8:
            raise Unsupported(name, start, "a truncated header", MALFORMED)
        version = number(data, body, 2)
        if version != 5:
            raise Unsupported(name, start, f"version {version} of a list table", UNKNOWN)
        if data[body + 2] != ADDRESS_SIZE or data[body + 3]:
            sizes = f"addresses of {data[body + 2]} bytes, segments of {data[body + 3]}"
            raise Unsupported(name, body + 2, sizes, UNKNOWN)
        count = number(data, body + 4, 4)
        table = body + 8
        lists = table + count * offset_size
        if lists > end:
            raise Unsupported(name, start, "a header that reaches past its table", MALFORMED)
        found.append(Contribution(start, end, offset_size, table, count, lists))
        start = end
    return found


def rewrite(
    section: Section,
    kinds: Kinds,
    uses: Sequence[ListUses],
    maps: Mapping[int, OffsetMap],
    move_expression: MoveExpression | None = None,
) -> Moved:
    """Rewrite a DWARF 5 list section.

    Raises `Unsupported` for anything malformed, and for bytes that belong to no list.
    """
    name = section.name
    data = bytes(section.data)
    tables = contributions(name, data)
    lists = reach(name, uses)
    walk = _Walk(section, data, kinds, maps, move_expression)
    for table in tables:
        walk_table(walk, lists, table.start, table.lists, table.end)
    first = tables[0].lists if tables else len(data)
    for offset in lists.offsets:
        if not first <= offset < len(data):
            raise Unsupported(name, offset, "a reference to a list outside the section", MALFORMED)
    starts = frozenset(walk.starts)
    if not walk.changes and not walk.sides and walk.kept == data:
        return Moved(None, starts)
    grown = map_of(walk.changes)
    headers = [
        change for table in tables if grown for change in _moved_header(name, data, table, grown)
    ]
    result, own = splice(walk.kept, [*walk.changes, *headers])
    return Moved(Rewritten(result, own, walk.sides), starts)


def _moved_header(
    section: str, data: bytes, table: Contribution, own: OffsetMap
) -> Iterator[Change]:
    """The table's length and its offsets, which count from where they begin."""
    size = table.offset_size
    body = table.table - 8
    length = own.start(table.end) - own.start(body)
    yield changed(section, body - size, body, length, "length")
    for index in range(table.entries):
        place = table.table + index * size
        old = int.from_bytes(data[place : place + size], "little")
        if old > table.end - table.table:
            raise Unsupported(section, place, "an offset out of its table", MALFORMED)
        new = own.start(table.table + old) - own.start(table.table)
        if new != old:
            yield changed(section, place, place + size, new)


class _Encodings(dict[int, bytes]):
    """The ULEB128 of each number asked for; the same few thousand come again and again.

    In a large object it is the next few thousand that do: not all are kept.
    """

    def __missing__(self, value: int) -> bytes:
        if len(self) == 8192:
            self.clear()
        encoded = encode_unsigned(value)
        self[value] = encoded
        return encoded


class _Walk(Walk):
    """The walk over DWARF 5 lists."""

    __slots__ = ("encodings", "kept", "kinds")

    def __init__(
        self,
        section: Section,
        data: bytes,
        kinds: Kinds,
        maps: Mapping[int, OffsetMap],
        move_expression: MoveExpression | None,
    ) -> None:
        super().__init__(section, data, maps, move_expression)
        self.kinds = kinds
        self.encodings = _Encodings()
        # Where most entries move, a note of each takes three times the room of the whole object:
        # what keeps its size is put in place at once, not into `replaced`.
        self.kept = bytearray(data)

    def move_list(self, position: int, unit: Unit, stop: int) -> int:
        """Move the list at ``position``; see `Walk.move_list`."""
        try:
            return self._move_list(position, unit, stop)
        except (IndexError, BadLeb128):
            raise self.malformed(position, "a list without an end") from None

    def _move_list(self, position: int, unit: Unit, stop: int) -> int:
        """`move_list`, the hot loop of lists: 9,000 pairs in an object of a kernel's scheduler.

        Nearly all entries are pairs of offsets, and nearly all numbers have one or two bytes; both
        are read here without a call.  `lists.moved_pair` is written out as well: a call and two
        look-ups less for each entry.
        """
        data, kept, changes, encodings = self.data, self.kept, self.changes, self.encodings
        meanings, located = self.kinds.meanings, self.kinds.located
        base = self.base_of(unit)
        limit = base.limit if base else -1
        while position != stop:
            kind = data[position]
            position += 1
            if kind == DW_LLE_offset_pair:
                begun = position
                start = data[position]
                if start < 128:
                    position += 1
                elif data[position + 1] < 128:
                    start += (data[position + 1] << 7) - 128
                    position += 2
                else:
                    start, position = unsigned(data, position)
                end = data[position]
                if end < 128:
                    position += 1
                elif data[position + 1] < 128:
                    end += (data[position + 1] << 7) - 128
                    position += 2
                else:
                    end, position = unsigned(data, position)
                if end >= limit or end < start:
                    if base is None or end < start:
                        raise self._bad_pair(begun, base)
                    code = base.code
                    places, shifts = code.places, code.shifts
                    old = base.offset + start
                    new_start = new_end = old + shifts[bisect_right(places, old)] - base.new
                    if start != end:
                        old = base.offset + end
                        if old in base.padded:
                            new_end = code.after(old) - base.new
                        else:
                            new_end = old + shifts[bisect_right(places, old)] - base.new
                    if new_start != start or new_end != end:
                        new = encodings[new_start] + encodings[new_end]
                        if len(new) == position - begun:
                            kept[begun:position] = new
                        else:
                            changes.append(Change(begun, position, new))
            else:
                meaning = meanings.get(kind, -1)
                if meaning == DW_LLE_end_of_list:
                    return position
                if meaning in _BASES:
                    base, position = self._new_base(meaning, position, unit)
                    limit = base.limit if base else -1
                    continue
                position = self._move_other(meaning, position, unit)
                if meaning == DW_LLE_GNU_view_pair:
                    continue
            if located:
                length = data[position]
                if self.move_expression is not None or length > 127:
                    position = self._move_located(position, unit)
                else:
                    position += 1 + length
        return self.check_run_on(base, unit, stop)

    def _move_located(self, position: int, unit: Unit) -> int:
        """Move the expression at ``position``, behind its length; returns the offset behind it."""
        length, begun = unsigned(self.data, position)
        if self.move_expression is not None:
            moved = self.expression(begun, begun + length, unit)
            if moved is not None:
                new = encode_unsigned(len(moved)) + moved
                self.changes.append(Change(position, begun + length, new))
        return begun + length

    def chooses_base(self, position: int) -> bool:
        """Whether the entry at ``position`` selects a base address."""
        kind = self.data[position] if position < len(self.data) else -1
        return self.kinds.meanings.get(kind, -1) in _BASES

    def _bad_pair(self, offset: int, base: Base | None) -> Unsupported:
        if base is None:
            return self.unknown(offset, "offsets without a base address")
        return self.malformed(offset, "an end in front of its start")

    def _new_base(self, meaning: int, position: int, unit: Unit) -> tuple[Base | None, int]:
        """The base that an entry selects, and the offset behind the entry."""
        if meaning == DW_LLE_base_address:
            return self.base_in(position), position + ADDRESS_SIZE
        return self.indexed_base(position, unit)

    def _move_other(self, meaning: int, position: int, unit: Unit) -> int:
        """Move the addresses of one of the rarer kinds; returns the offset behind them."""
        if meaning == DW_LLE_start_length:
            target, begun = self.address(position), position + ADDRESS_SIZE
        elif meaning == DW_LLE_startx_length:
            index, begun = unsigned(self.data, position)
            entry, target = self.indexed(position, unit, index)
            self.starts.add(entry)
        else:
            return self._check_other(meaning, position, unit)
        length, after = unsigned(self.data, begun)
        new = moved_length(target, length, self.maps)
        if new != length:
            self.changes.append(Change(begun, after, encode_unsigned(new)))
        return after

    def _check_other(self, meaning: int, position: int, unit: Unit) -> int:
        """`_move_other` for the kinds in which nothing is written."""
        if meaning == DW_LLE_default_location:
            return position
        if meaning == DW_LLE_GNU_view_pair:
            return skip(self.data, skip(self.data, position))
        if meaning == DW_LLE_startx_endx:
            return self.move_indexed_pair(position, unit)
        if meaning == DW_LLE_start_end:
            start, end = self.address(position), self.address(position + ADDRESS_SIZE)
            if self.end_moves_apart(start, end):
                self.sides[position + ADDRESS_SIZE] = "after"
            return position + 2 * ADDRESS_SIZE
        kind = encodings.name(self.kinds.family, self.data[position - 1])
        raise self.unknown(position - 1, f"a list entry of kind {kind}")
