"""Location lists and range lists: .debug_loclists, .debug_loc, .debug_rnglists, .debug_ranges.

A list is decoded where an attribute refers to it, with that unit's base address (DWARF 5, 2.6.2
and 2.17.3, 7.7.3 and 7.25; DWARF 4, 2.6.2 and 2.17.3). Each entry has the same kind, the start of
its range follows the code as a start, the end as an end, and its expression agrees. Tables of
location views (pairs of uleb128 before a list; GCC's DW_AT_GNU_locviews) are equal. LLVM's DWARF 4
may put an entry 0,0, which ends the list, in front of others: those are read as the list's too.
Bytes that no attribute accounts for are equal.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier.fields import Fields, Malformed, Reader, Target
from nopfix.verifier.forms import Format
from nopfix.verifier.pairing import END, START
from nopfix.verifier.units import (
    ListUse,
    Unit,
    Uses,
    compare_expressions,
    indexed_address,
    relocations_inside,
)

if TYPE_CHECKING:
    from nopfix.verifier.elf import Section

# DW_LLE_* (DWARF 5, table 7.10) and DW_RLE_* (table 7.30): operands a address, x index, u uleb128.
_LOCATION_KINDS = {
    0: ("end_of_list", ""),
    1: ("base_addressx", "x"),
    2: ("startx_endx", "xx"),
    3: ("startx_length", "xu"),
    4: ("offset_pair", "uu"),
    5: ("default_location", ""),
    6: ("base_address", "a"),
    7: ("start_end", "aa"),
    8: ("start_length", "au"),
    # GCC, -gvariable-location-views=incompat5: the views of the entry that follows.
    9: ("view_pair", "uu"),
}
_RANGE_KINDS = {
    0: ("end_of_list", ""),
    1: ("base_addressx", "x"),
    2: ("startx_endx", "xx"),
    3: ("startx_length", "xu"),
    4: ("offset_pair", "uu"),
    5: ("base_address", "a"),
    6: ("start_end", "aa"),
    7: ("start_length", "au"),
}
_WITHOUT_EXPRESSION = ("end_of_list", "base_addressx", "base_address")


class Header(NamedTuple):
    """One contribution of .debug_loclists or .debug_rnglists (DWARF 5, 7.28 and 7.29)."""

    start: int
    table: int
    """Where the table of offsets begins; its entries are relative to this."""
    offsets: tuple[int, ...]
    offset_size: int
    end: int
    fixed: tuple[int, ...]


def check(fields: Fields, uses: Uses) -> dict[int, int]:
    """Compare all lists of a section. Returns where its parts went (old start: new start)."""
    return _Walk(fields, uses).run()


def _kind(section: Section) -> tuple[bool, bool]:
    """Whether a section holds locations (else ranges), and whether it is of DWARF 5."""
    return section.name.startswith(".debug_loc"), section.name.endswith("lists")


class _Walk:
    def __init__(self, fields: Fields, uses: Uses) -> None:
        self.fields = fields
        self.uses = uses
        self.locations, self.five = _kind(fields.section)
        self.lists = dict(uses.lists.get(fields.section.number, {}))
        self.bases = uses.range_bases.get(fields.section.number, {})
        self.views = uses.views.get(fields.section.number, {})
        self.places = sorted(fields.old_relocations)
        self.new_places = sorted(fields.new_relocations)
        self.starts: dict[int, int] = {}
        self.references: dict[int, list[tuple[int, int, int, int]]] = {}
        self.count = 0

    def run(self) -> dict[int, int]:
        """Walk over the whole section."""
        fields = self.fields
        if self.five:
            position = new_position = 0
            while position < len(fields.old) and new_position < len(fields.new):
                position, new_position = self._contribution(position, new_position)
        else:
            position, new_position = self._body(0, len(fields.old), 0, len(fields.new))
        if position != len(fields.old) or new_position != len(fields.new):
            fields.differ("list", position, new_position, "the section ends elsewhere in OUT")
        self.starts[len(fields.old)] = len(fields.new)
        self._judge_references()
        fields.findings.count("location entry" if self.locations else "range entry", self.count)
        return self.starts

    def _contribution(self, position: int, new_position: int) -> tuple[int, int]:
        fields = self.fields
        a, b = _header(fields.old, position), _header(fields.new, new_position)
        fields.equal("list", position, new_position, a.fixed, b.fixed)
        self.starts[position] = new_position
        if len(a.offsets) != len(b.offsets):
            raise Malformed(f"the table of offsets at {a.table:#x} has another length")
        self.starts[a.table] = b.table
        users = self._indexed_users(a)
        for number, (old, new) in enumerate(zip(a.offsets, b.offsets, strict=True)):
            unit = users.get(number)
            if unit is None:
                unit = users.get(-1)
            if unit is not None:
                use = ListUse(a.table + old, b.table + new, unit)
                known = self.lists.setdefault(use.old, use)
                if known.new != use.new:
                    fields.differ(
                        "list", use.old, use.new, f"entry {number} of the offset table is wrong"
                    )
        first = a.table + len(a.offsets) * a.offset_size
        new_first = b.table + len(b.offsets) * b.offset_size
        reached = self._body(first, a.end, new_first, b.end)
        if reached != (a.end, b.end):
            raise Malformed(f"the lists at {position:#x} do not fill their contribution")
        if not users:
            for number, (old, new) in enumerate(zip(a.offsets, b.offsets, strict=True)):
                if self.starts.get(a.table + old) != b.table + new:
                    fields.differ("list", a.table, b.table, f"offset {number} is wrong")
        return reached

    def _indexed_users(self, header: Header) -> dict[int, Unit]:
        """Units that use this contribution by index; under -1 any such unit."""
        users: dict[int, Unit] = {}
        name = "DW_AT_loclists_base" if self.locations else "DW_AT_rnglists_base"
        for unit, index in self.uses.indexed["loc" if self.locations else "rng"]:
            base = unit.bases.get(name)
            if base == (self.fields.section.number, header.table):
                users[index] = users[-1] = unit
        return users

    def _body(self, start: int, end: int, new_start: int, new_end: int) -> tuple[int, int]:
        """The lists between two offsets, in the order of the section."""
        known = set(self.lists) | set(self.views)
        order = sorted(offset for offset in known if start <= offset < end)
        position, new_position = start, new_start
        for offset in order:
            if offset < position:
                if offset in self.views:
                    continue
                # The tail of another list: GCC lets a scope share the end of a list.
                new = self.lists[offset].new
                self._list(offset, new, self.lists[offset].unit)
                self.starts.setdefault(offset, new)
                continue
            if offset > position:
                gap = offset - position
                position, new_position = self._unknown(position, offset, new_position, gap)
            self.starts[offset] = new_position
            if offset in self.views:
                position, new_position = self._view_table(offset, new_position)
                continue
            use = self.lists[offset]
            if use.new != new_position:
                self.fields.differ(
                    "list", offset, new_position, f"an attribute of OUT refers to {use.new:#x}"
                )
            position, new_position = self._list(offset, new_position, use.unit)
        if position < end:
            position, new_position = self._unknown(position, end, new_position, end - position)
        return position, new_position

    def _unknown(self, start: int, end: int, new_start: int, size: int) -> tuple[int, int]:
        """Bytes that no attribute refers to: lists of the surrounding unit, or equal bytes."""
        if self._cut_off(start, end):
            return self._rest(start, new_start)
        unit = self._neighbour(start)
        if unit is not None:
            try:
                position, new_position = start, new_start
                while position < end:
                    self.starts[position] = new_position
                    position, new_position = self._list(position, new_position, unit)
                if position == end:
                    return position, new_position
            except Malformed:
                pass
        self.fields.equal(
            "list",
            start,
            new_start,
            self.fields.old[start:end],
            self.fields.new[new_start : new_start + size],
        )
        return end, new_start + size

    def _cut_off(self, start: int, end: int) -> bool:
        """Whether the bytes are an expression and entries behind an entry 0,0 of their list."""
        old = self.fields.old
        if self.five or not self.locations or old[max(start - 16, 0) : start] != bytes(16):
            return False
        if not any(offset < start for offset in self.lists):
            return False
        reader = Reader(old, start, end)
        try:
            reader.take(reader.unsigned(2))
            while reader.position < end:
                relocated = reader.position in self.fields.old_relocations
                first, second = reader.unsigned(8), reader.unsigned(8)
                if not relocated and not first and not second:
                    return reader.position == end
                if first > second and not relocated:
                    return False
                reader.take(reader.unsigned(2))
        except Malformed:
            pass
        return False

    def _rest(self, start: int, new_start: int) -> tuple[int, int]:
        """Compare what `_cut_off` has found."""
        unit = self.lists[max(offset for offset in self.lists if offset < start)].unit
        a = Reader(self.fields.old, start, len(self.fields.old))
        b = Reader(self.fields.new, new_start, len(self.fields.new))
        self._expression(a, b, unit, a.unsigned(2), b.unsigned(2))
        return self._list(a.position, b.position, unit)

    def _neighbour(self, offset: int) -> Unit | None:
        base = max((start for start in self.bases if start <= offset), default=None)
        if base is not None:
            return self.bases[base]
        known = sorted(self.lists)
        if not known:
            return None
        position = bisect.bisect_left(known, offset)
        return self.lists[known[min(position, len(known) - 1)]].unit

    def _view_table(self, offset: int, new_offset: int) -> tuple[int, int]:
        """Pairs of view numbers up to the list that they are about."""
        end = self.views[offset]
        size = end - offset
        self.fields.equal(
            "views",
            offset,
            new_offset,
            self.fields.old[offset:end],
            self.fields.new[new_offset : new_offset + size],
        )
        return end, new_offset + size

    # One list

    def _list(self, offset: int, new_offset: int, unit: Unit) -> tuple[int, int]:
        a = Reader(self.fields.old, offset, len(self.fields.old))
        b = Reader(self.fields.new, new_offset, len(self.fields.new))
        base = unit.base
        while True:
            self.count += 1
            step = self._entry_five if self.five else self._entry_four
            base, more = step(a, b, unit, base)
            if not more:
                return a.position, b.position

    def _entry_five(
        self, a: Reader, b: Reader, unit: Unit, base: Target | None
    ) -> tuple[Target | None, bool]:
        fields = self.fields
        at, new_at = a.position, b.position
        kind, new_kind = a.unsigned(1), b.unsigned(1)
        kinds = _LOCATION_KINDS if self.locations else _RANGE_KINDS
        if kind not in kinds or kind != new_kind:
            if kind in kinds:
                fields.differ("list", at, new_at, f"entry kind {kind} became {new_kind}")
            raise Malformed(f"list entry of kind {kind} / {new_kind} at {at:#x}")
        name, operands = kinds[kind]
        if name == "end_of_list":
            return base, False
        values, targets = [], []
        for number, operand in enumerate(operands):
            side = END if number else START
            place, new_place = a.position, b.position
            if operand == "a":
                values.append((a.unsigned(8), b.unsigned(8)))
                targets.append(fields.relocated(place, new_place, side))
            else:
                values.append((a.uleb(), b.uleb()))
                targets.append(
                    indexed_address(fields, self.uses, unit, *values[-1], place, side)
                    if operand == "x"
                    else None
                )
        if name in ("base_address", "base_addressx"):
            self._same(at, new_at, values[0], targets[0], operands[0])
            return targets[0], True
        if name == "view_pair":
            fields.equal("views", at, new_at, *zip(*values, strict=True))
            return base, True
        if name == "offset_pair":
            self._pair(at, new_at, base, values)
        elif name.endswith("_length"):
            self._same(at, new_at, values[0], targets[0], operands[0])
            expected = fields.span(targets[0], values[1][0])
            if expected != values[1][1]:
                self._wrong(at, new_at, "its length", values[1], expected)
        else:
            for number in range(len(operands)):
                self._same(at, new_at, values[number], targets[number], operands[number])
        if self.locations:
            self._expression(a, b, unit, a.uleb(), b.uleb())
        return base, True

    def _same(
        self, at: int, new_at: int, value: tuple[int, int], target: Target | None, operand: str
    ) -> None:
        """An address without a relocation is equal."""
        if target is None and operand != "x":
            self.fields.equal("list", at, new_at, value[0], value[1])

    def _entry_four(
        self, a: Reader, b: Reader, unit: Unit, base: Target | None
    ) -> tuple[Target | None, bool]:
        """An entry of .debug_loc or .debug_ranges: two addresses (DWARF 4, 2.6.2, 2.17.3)."""
        fields = self.fields
        size = unit.shape.address_size
        at, new_at = a.position, b.position
        start, new_start = a.unsigned(size), b.unsigned(size)
        stop, new_stop = a.unsigned(size), b.unsigned(size)
        first = fields.relocated(at, new_at, START)
        second = fields.relocated(at + size, new_at + size, END)
        largest = (1 << 8 * size) - 1
        if first is None and start == largest:
            fields.equal("list", at, new_at, start, new_start)
            if second is None:
                fields.equal("list", at, new_at, stop, new_stop)
            else:
                # A base is a start; the relocation was noted as an end.
                fields.pending[-1] = (fields.pending[-1][0], START)
            return second, True
        if first is None and second is None:
            if start == 0 and stop == 0:
                fields.equal("list", at, new_at, (0, 0), (new_start, new_stop))
                return base, False
            self._pair(at, new_at, base, [(start, new_start), (stop, new_stop)])
        elif first is None or second is None:
            raise Malformed(f"list entry at {at:#x}: one relocation")
        elif first.section == second.section and first.old == second.old:
            # Empty: begins and ends at the same label.
            fields.pending[-1] = (fields.pending[-1][0], START)
        if self.locations:
            self._expression(a, b, unit, a.unsigned(2), b.unsigned(2))
        return base, True

    def _pair(
        self, at: int, new_at: int, base: Target | None, values: list[tuple[int, int]]
    ) -> None:
        """Two distances from the base address."""
        (start, new_start), (stop, new_stop) = values
        fields = self.fields
        if base is None or not base.section:
            fields.equal("list", at, new_at, (start, stop), (new_start, new_stop))
            return
        origin = fields.move(base.section, base.old, START)
        begin = fields.move(base.section, base.old + start, START)
        end = fields.move(base.section, base.old + stop, END if start != stop else START)
        expected = begin - origin if begin is not None and origin is not None else None
        if expected != new_start:
            self._wrong(at, new_at, "its start", values[0], expected)
        expected = end - origin if end is not None and origin is not None else None
        if expected != new_stop:
            self._wrong(at, new_at, "its end", values[1], expected)

    def _wrong(
        self, at: int, new_at: int, what: str, value: tuple[int, int], expected: int | None
    ) -> None:
        moved = "nowhere" if expected is None else f"{expected:#x}"
        self.fields.differ(
            "location-list" if self.locations else "range-list",
            at,
            new_at,
            f"{what} is {value[0]:#x} in IN, so {moved} in OUT, but {value[1]:#x}",
        )

    def _expression(self, a: Reader, b: Reader, unit: Unit, length: int, new_length: int) -> None:
        place, new_place = a.position, b.position
        old, new = a.take(length), b.take(new_length)
        relocations_inside(
            self.fields, self.places, self.new_places, place, new_place, length, new_length
        )
        self.references.setdefault(unit.section, []).extend(
            compare_expressions(self.fields, self.uses, old, place, new, new_place, unit)
        )

    def _judge_references(self) -> None:
        for section, references in self.references.items():
            entries = self.uses.entries.get(section, {})
            for place, new_place, old, new in references:
                if entries.get(old) != new:
                    self.fields.differ(
                        "reference",
                        place,
                        new_place,
                        f"refers to the entry at {old:#x} in IN, but {new:#x} in OUT",
                    )


def _header(data: bytes, start: int) -> Header:
    reader = Reader(data, start, len(data))
    length, size = reader.initial_length()
    end = reader.position + length
    version, address_size, segment_size = (
        reader.unsigned(2),
        reader.unsigned(1),
        reader.unsigned(1),
    )
    count = reader.unsigned(4)
    if version != 5 or end > len(data) or count * size > end - reader.position:
        raise Malformed(f"list header at {start:#x}: version {version}, length {length:#x}")
    table = reader.position
    offsets = tuple(reader.unsigned(size) for _ in range(count))
    fixed = (size, version, address_size, segment_size, count)
    return Header(start, table, offsets, size, end, fixed)


__all__ = ["Format", "Header", "check"]
