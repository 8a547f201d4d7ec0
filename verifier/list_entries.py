"""The entries of one list of locations or ranges.

Each entry has the same kind, the start of its range follows the code as a start, the end as an end,
and its expression agrees (DWARF 5, 2.6.2 and 2.17.3, 7.7.3 and 7.25; DWARF 4, 2.6.2 and 2.17.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nopfix.verifier import expressions
from nopfix.verifier.fields import Block, Fields, Target, shown
from nopfix.verifier.operands import compare_expressions
from nopfix.verifier.pairing import END, START
from nopfix.verifier.reader import Malformed, Reader
from nopfix.verifier.uses import Reference, Unit, Uses, indexed_address

if TYPE_CHECKING:
    from nopfix.verifier.forms import Format
    from nopfix.verifier.pairing import Side

DW_LLE_offset_pair = DW_RLE_offset_pair = 4

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

# GNU's entries of .debug_loc.dwo before DWARF 5 (GCC's wiki, "DebugFission"): f has four bytes.
_FISSION_KINDS = {
    0: ("end_of_list", ""),
    1: ("base_addressx", "x"),
    2: ("startx_endx", "xx"),
    3: ("startx_length", "xf"),
    4: ("offset_pair", "ff"),
}

_SHARED = 4
_Pair = tuple[int, int]
"""A value in IN and in OUT."""


class Entries:
    """The entries of the lists of one section."""

    def __init__(self, fields: Fields, uses: Uses) -> None:
        """The section's name tells whether it holds locations or ranges, of DWARF 5 or before."""
        self.fields = fields
        self.uses = uses
        self.locations = fields.name.startswith(".debug_loc")
        self.five = fields.name.removesuffix(".dwo").endswith("lists")
        self.fission = fields.name == ".debug_loc.dwo"
        self.references: dict[int, list[Reference]] = {}
        """References of expressions, by the section of the entries that they name."""
        self.constant: dict[Format, set[bytes]] = {}
        """Expressions met without an operand that could change, with their lengths in front."""
        self.readers = tuple(Reader(data, 0, len(data)) for data in (fields.raw, fields.new_raw))
        self.count = 0

    def compare(self, offset: int, new_offset: int, unit: Unit) -> _Pair:
        """Compare the list at an offset; returns where it ends in IN and in OUT.

        Raises Malformed.
        """
        a, b = self.readers
        a.position, b.position = offset, new_offset
        base, more = unit.base, True
        while more:
            if self.five:
                if base is not None:
                    self.offset_pairs(a, b, unit, base)
                base, more = self._entry_five(a, b, unit, base)
            elif self.fission:
                base, more = self._entry_five(a, b, unit, base)
            else:
                base, more = self._entry_four(a, b, unit, base)
            self.count += 1
        if self.count > _SHARED * len(a.data):
            # Lists may share their ends, but each entry has a byte at least.
            raise Malformed(f"the lists overlap: {self.count} entries in {len(a.data)} bytes")
        return a.position, b.position

    def finish(self) -> None:
        """Judge the references of all expressions; all units have been looked at before."""
        for section, references in self.references.items():
            self.uses.judge_references(self.fields, section, references)
        kind = "location entry" if self.locations else "range entry"
        self.fields.findings.count(kind, self.count)

    # DWARF 5

    def offset_pairs(self, a: Reader, b: Reader, unit: Unit, base: Target) -> None:
        """Pass over entries of two distances from the base, with equal and constant expressions.

        Dense: nine of ten entries are such, and take a tenth of what `_entry_five` takes, which has
        all others, and those that are wrong.
        """
        begin, end = self._sides(base)
        origin, new_origin = base.old, begin(base.old)
        constant = self.constant.setdefault(unit.shape, set())
        old, new, locations = a.data, b.data, self.locations
        at, new_at = a.position, b.position
        while new_origin is not None:
            pair = offset_pair(old, at)
            if pair is None:
                break
            start, stop, behind = pair
            new_start, new_stop, new_behind = start, stop, new_at + behind - at
            if old[at:behind] != new[new_at:new_behind]:
                new_pair = offset_pair(new, new_at)
                if new_pair is None:
                    break
                new_start, new_stop, new_behind = new_pair
            if begin(origin + start) != new_origin + new_start:
                break
            side = end if start != stop else begin
            if side(origin + stop) != new_origin + new_stop:
                break
            if locations:
                size = old[behind] + 1
                whole = old[behind : behind + size]
                if size > 0x80 or whole != new[new_behind : new_behind + size]:
                    break
                if whole not in constant:
                    if expressions.parse(whole[1:], unit.shape).operands:
                        break
                    constant.add(whole)
                behind, new_behind = behind + size, new_behind + size
            at, new_at = behind, new_behind
            self.count += 1
        a.position, b.position = at, new_at

    def _sides(self, base: Target) -> tuple[Side, Side]:
        """Where starts and ends in the section of a base address are in OUT."""
        pairing = self.fields.checker.pairings.get(base.section) if base.section else None
        if pairing is None:
            return _unmoved, _unmoved
        return pairing.sides[START], pairing.sides[END]

    def _entry_five(
        self, a: Reader, b: Reader, unit: Unit, base: Target | None
    ) -> tuple[Target | None, bool]:
        """Any entry of .debug_loclists or .debug_rnglists; returns the base address for those that
        follow, and whether any do.
        """
        at, new_at = a.position, b.position
        kind, new_kind = a.byte(), b.byte()
        if not kind and not new_kind:
            return base, False
        kinds = _LOCATION_KINDS if self.locations else _RANGE_KINDS
        if self.fission:
            kinds = _FISSION_KINDS
        if kind not in kinds or kind != new_kind:
            if kind in kinds:
                self.fields.differ("list", at, new_at, f"entry kind {kind} became {new_kind}")
            raise Malformed(f"list entry of kind {kind} / {new_kind} at {at:#x}")
        name, letters = kinds[kind]
        values, targets = self._operands(a, b, unit, letters)
        for value, target, letter in zip(values, targets, letters, strict=True):
            if letter == "a" and target is None:
                # An address without a relocation is equal.
                self.fields.equal("list", at, new_at, *value)
        if name in ("base_address", "base_addressx"):
            return targets[0], True
        if name == "view_pair":
            self.fields.equal("views", at, new_at, *zip(*values, strict=True))
            return base, True
        if name == "offset_pair":
            self._pair(at, new_at, base, values)
        elif name.endswith("_length"):
            expected = self._span(targets[0], values[1][0])
            if expected != values[1][1]:
                self._wrong(at, new_at, "its length", values[1], expected)
        if self.fission:
            self.expression(a, b, unit, (a.unsigned(2), b.unsigned(2)))
        elif self.locations:
            self.expression(a, b, unit, (a.uleb(), b.uleb()))
        return base, True

    def _span(self, begin: Target | None, length: int) -> int | None:
        """The bytes in OUT of what begins somewhere; none where it ends in front of that.

        GCC counts so where a value is gone with the call that it begins behind.
        """
        if self.fission and length >> 31:
            return length
        return self.fields.span(begin, length)

    def _operands(
        self, a: Reader, b: Reader, unit: Unit, letters: str
    ) -> tuple[list[_Pair], list[Target | None]]:
        """The operands of an entry: values, and where those that are addresses lead."""
        values: list[_Pair] = []
        targets: list[Target | None] = []
        for number, letter in enumerate(letters):
            side = END if number else START
            place, new_place = a.position, b.position
            target = None
            if letter == "a":
                values.append((a.unsigned(8), b.unsigned(8)))
                target = self.fields.relocated(place, new_place, side)
            elif letter == "f":
                values.append((a.unsigned(4), b.unsigned(4)))
            else:
                values.append((a.uleb(), b.uleb()))
                if letter == "x":
                    target = indexed_address(self.fields, self.uses, unit, values[-1], place, side)
            targets.append(target)
        return values, targets

    # DWARF 2 to 4

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
        if first is None and start == (1 << 8 * size) - 1:
            fields.equal("list", at, new_at, start, new_start)
            if second is None:
                fields.equal("list", at, new_at, stop, new_stop)
            else:
                # A base is a start; the relocation was noted as an end.
                fields.is_start()
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
            fields.is_start()
        if self.locations:
            self.expression(a, b, unit, (a.unsigned(2), b.unsigned(2)))
        return base, True

    # Both

    def _pair(self, at: int, new_at: int, base: Target | None, values: list[_Pair]) -> None:
        """Two distances from the base address."""
        (start, new_start), (stop, new_stop) = values
        fields = self.fields
        if base is None or not base.section:
            fields.equal("list", at, new_at, (start, stop), (new_start, new_stop))
            return
        expected = fields.distance(base, start, START)
        if expected != new_start:
            self._wrong(at, new_at, "its start", values[0], expected)
        expected = fields.distance(base, stop, END if start != stop else START)
        if expected != new_stop:
            self._wrong(at, new_at, "its end", values[1], expected)

    def _wrong(self, at: int, new_at: int, what: str, value: _Pair, expected: int | None) -> None:
        self.fields.differ(
            "location-list" if self.locations else "range-list",
            at,
            new_at,
            f"{what} is {value[0]:#x} in IN, so {shown(expected)} in OUT, but {value[1]:#x}",
        )

    def expression(self, a: Reader, b: Reader, unit: Unit, lengths: _Pair) -> None:
        """Compare an entry's expressions, of `lengths` bytes."""
        before = Block(a.take(lengths[0]), a.position - lengths[0])
        after = Block(b.take(lengths[1]), b.position - lengths[1])
        self.references.setdefault(unit.section, []).extend(
            compare_expressions(self.fields, self.uses, before, after, unit)
        )


def offset_pair(data: bytes, at: int) -> tuple[int, int, int] | None:
    """The two distances of a DW_LLE_offset_pair or DW_RLE_offset_pair at an offset, and the offset
    behind them; None where it is of another kind, or a number has more than two bytes.
    """
    if len(data) - at < 8 or data[at] != DW_LLE_offset_pair:
        # The last few entries of a section are left to who looks at each byte.
        return None
    start, stop = data[at + 1], data[at + 2]
    at += 2
    if start > 0x7F:
        if stop > 0x7F:
            return None
        start = start & 0x7F | stop << 7
        at += 1
        stop = data[at]
    if stop > 0x7F:
        high = data[at + 1]
        if high > 0x7F:
            return None
        stop = stop & 0x7F | high << 7
        at += 1
    return start, stop, at + 1


def _unmoved(offset: int) -> int | None:
    return offset
