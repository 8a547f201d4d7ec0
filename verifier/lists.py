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

from nopfix.verifier.list_entries import Entries
from nopfix.verifier.reader import Malformed, Reader
from nopfix.verifier.uses import ListUse, Unit, Uses

if TYPE_CHECKING:
    from nopfix.verifier.fields import Fields


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


class _Walk:
    def __init__(self, fields: Fields, uses: Uses) -> None:
        self.fields = fields
        self.uses = uses
        self.entries = Entries(fields, uses)
        self.locations, self.five = self.entries.locations, self.entries.five
        self.lists = dict(uses.lists.get(fields.section.number, {}))
        self.bases = uses.range_bases.get(fields.section.number, {})
        self.views = uses.views.get(fields.section.number, {})
        self.starts: dict[int, int] = {}
        self.behind: list[int] = []

    def run(self) -> dict[int, int]:
        """Walk over the whole section."""
        fields = self.fields
        if self.five:
            position = new_position = 0
            while position < len(fields.raw) and new_position < len(fields.new_raw):
                position, new_position = self._contribution(position, new_position)
        else:
            position, new_position = self._body(0, len(fields.raw), 0, len(fields.new_raw))
        if position != len(fields.raw) or new_position != len(fields.new_raw):
            fields.differ("list", position, new_position, "the section ends elsewhere in OUT")
        self.starts[len(fields.raw)] = len(fields.new_raw)
        self.entries.finish()
        return self.starts

    def _contribution(self, position: int, new_position: int) -> tuple[int, int]:
        fields = self.fields
        a, b = _header(fields.raw, position), _header(fields.new_raw, new_position)
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
        """Units that use this contribution by index; under -1 any such unit.

        A skeleton uses it too: for the unit in its .dwo, which may name lists of the object.
        """
        users: dict[int, Unit] = {}
        name = "DW_AT_loclists_base" if self.locations else "DW_AT_rnglists_base"
        for unit in self.uses.units:
            if unit.bases.get(name) == (self.fields.section.number, header.table):
                users[-1] = unit
        for unit, index in self.uses.indexed["loc" if self.locations else "rng"]:
            base = unit.bases.get(name)
            if base == (self.fields.section.number, header.table):
                users[index] = users[-1] = unit
        return users

    def _body(self, start: int, end: int, new_start: int, new_end: int) -> tuple[int, int]:
        """The lists between two offsets, in the order of the section."""
        self.behind = sorted(self.lists)
        known = set(self.lists) | set(self.views)
        order = sorted(offset for offset in known if start <= offset < end)
        position, new_position = start, new_start
        for offset in order:
            if offset < position:
                if offset in self.views:
                    continue
                # The tail of another list: GCC lets a scope share the end of a list.
                new = self.lists[offset].new
                self.entries.compare(offset, new, self.lists[offset].unit)
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
            position, new_position = self.entries.compare(offset, new_position, use.unit)
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
                    position, new_position = self.entries.compare(position, new_position, unit)
                if position == end:
                    return position, new_position
            except Malformed:
                pass
        self.fields.equal(
            "list",
            start,
            new_start,
            self.fields.raw[start:end],
            self.fields.new_raw[new_start : new_start + size],
        )
        return end, new_start + size

    def _cut_off(self, start: int, end: int) -> bool:
        """Whether the bytes are an expression and entries behind an entry 0,0 of their list."""
        old = self.fields.raw
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
        a = Reader(self.fields.raw, start, len(self.fields.raw))
        b = Reader(self.fields.new_raw, new_start, len(self.fields.new_raw))
        self.entries.expression(a, b, unit, (a.unsigned(2), b.unsigned(2)))
        return self.entries.compare(a.position, b.position, unit)

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
        use = self.views[offset]
        end = use.list
        if end is None:
            following = bisect.bisect_right(self.behind, offset)
            end = self.behind[following] if following < len(self.behind) else offset
        size = end - offset
        if use.new != new_offset:
            text = f"an attribute of OUT refers to {use.new:#x}"
            self.fields.differ("views", offset, new_offset, text)
        self.fields.equal(
            "views",
            offset,
            new_offset,
            self.fields.raw[offset:end],
            self.fields.new_raw[new_offset : new_offset + size],
        )
        return end, new_offset + size


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
