""".debug_line: every row of every line table is at the counterpart of its address.

Headers are equal but for unit_length. A program (DWARF 5, 6.2.5) is read into its rows and its
settings. The operations that are only on the way to a row, advances of address and line, may be
others in OUT; gas takes one advance of the address for a row, or none. A row's address must be
where its instruction went, and its line must be as far from the row before as in IN; ends of
sequences are ends of ranges. All other operations are settings: the same ones, between the same
rows: what is left of a program without its advances is the same bytes.

A row's other registers follow from the settings, so they need no looking at.
"""

from __future__ import annotations

import bisect
from array import array
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier.fields import shown
from nopfix.verifier.pairing import END, START
from nopfix.verifier.reader import Malformed, Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nopfix.verifier.fields import Fields
    from nopfix.verifier.pairing import AnyPairing

DW_LNS_copy, DW_LNS_advance_pc, DW_LNS_advance_line = 1, 2, 3
DW_LNS_const_add_pc, DW_LNS_fixed_advance_pc = 8, 9
DW_LNE_end_sequence, DW_LNE_set_address, DW_LNE_define_file, DW_LNE_set_discriminator = 1, 2, 3, 4
_MOST = (1 << 64) - 1
"""Addresses have 64 bits."""
_COPY = bytes((DW_LNS_copy,))
_END_SEQUENCE, _SET_ADDRESS = bytes((0, 1, DW_LNE_end_sequence)), bytes((0, 9, DW_LNE_set_address))

_ADVANCES = frozenset({DW_LNS_advance_pc, DW_LNS_advance_line, DW_LNS_const_add_pc})
_STANDARD_LENGTHS = (0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1)
"""Operands of the standard operations 1 to 12 (DWARF 5, 6.2.5.2)."""


class Header(NamedTuple):
    """What of a line table's header its program depends on; offsets in the section."""

    start: int
    contents: bytes
    """From the version on, without the lengths in front of it."""
    offset_size: int
    program: int
    end: int
    minimum_instruction_length: int
    line_base: int
    line_range: int
    operands: tuple[int, ...]
    """Operands of the standard operations, by opcode - 1."""
    tables: int
    """Where the tables of directories and files begin."""


class Program(NamedTuple):
    """A line number program, read: rows in columns, and what lies between them."""

    addresses: array[int]
    """Of each row; in eight bytes each, as these are most of a large table's memory."""
    lines: list[int]
    """Of each row, from the row before."""
    advances: dict[int, int]
    """By row: the operations that advance the address to it, where there are several."""
    ends: list[int]
    """The rows that end a sequence."""
    places: list[tuple[int, int, int]]
    """Each DW_LNE_set_address: rows before it, where its address stands in the section, and the
    address."""
    settings: bytearray
    """The program without its advances: DW_LNS_copy for each row, DW_LNE_end_sequence, and all
    other operations with their operands, but for addresses."""
    marks: array[int]
    """Of each row: bytes of `settings` in front of it."""
    sequences: list[int]
    """Offset in the section of each sequence's first operation."""


def check(fields: Fields) -> dict[int, int]:
    """Compare all line tables of a section. Returns where tables and sequences went (old: new)."""
    starts: dict[int, int] = {}
    position = new_position = 0
    places, new_places = sorted(fields.old_relocations), sorted(fields.new_relocations)
    while position < len(fields.raw) and new_position < len(fields.new_raw):
        a, b = header(fields.old, position), header(fields.new, new_position)
        starts[position] = new_position
        fields.equal("line-header", position, new_position, a.offset_size, b.offset_size)
        fields.equal("line-header", position, new_position, a.contents, b.contents)
        _relocations_of_header(fields, a, _within(places, a), b, _within(new_places, b))
        before, after = program(fields.old, a), program(fields.new, b)
        starts.update(zip(before.sequences, after.sequences, strict=False))
        _Comparison(fields, a, b).run(before, after)
        position, new_position = a.end, b.end
    if position != len(fields.raw) or new_position != len(fields.new_raw):
        fields.differ("line-header", position, new_position, "the number of line tables differs")
    starts[len(fields.raw)] = len(fields.new_raw)
    return starts


def _within(places: list[int], header: Header) -> list[int]:
    """The places of relocations in a table's header."""
    first = bisect.bisect_left(places, header.start)
    return places[first : bisect.bisect_left(places, header.program)]


def _relocations_of_header(
    fields: Fields, a: Header, places: list[int], b: Header, new_places: list[int]
) -> None:
    if len(places) != len(new_places):
        fields.differ("line-header", a.start, b.start, "relocations differ in number")
        return
    for place, new_place in zip(places, new_places, strict=True):
        fields.equal("line-header", place, new_place, place - a.start, new_place - b.start)
        fields.relocated(place, new_place)


# Reading


def header(data: bytes, start: int) -> Header:
    """The header of the line table at an offset. Raises Malformed."""
    reader = Reader(data, start, len(data))
    length, size = reader.initial_length()
    end, contents_at = reader.position + length, reader.position
    version = reader.unsigned(2)
    if end > len(data) or not 2 <= version <= 5:
        raise Malformed(f"line table at {start:#x}: version {version}, length {length:#x}")
    if version == 5 and reader.unsigned(2) != 8:
        raise Malformed(f"line table at {start:#x}: no addresses of 8 bytes without segments")
    header_length = reader.unsigned(size)
    program = reader.position + header_length
    minimum = reader.unsigned(1)
    if version >= 4 and reader.unsigned(1) != 1:
        raise Malformed(f"line table at {start:#x}: several operations per instruction")
    reader.unsigned(1)  # default_is_stmt
    line_base = (reader.unsigned(1) ^ 0x80) - 0x80
    line_range = reader.unsigned(1)
    operands = tuple(reader.take(max(reader.unsigned(1) - 1, 0)))
    if program > end or reader.position > program or not line_range:
        raise Malformed(f"line table at {start:#x}: header_length {header_length:#x}")
    if operands[: len(_STANDARD_LENGTHS)] != _STANDARD_LENGTHS[: len(operands)]:
        raise Malformed(f"line table at {start:#x}: standard operations with other operands")
    return Header(
        start,
        data[contents_at:program],
        size,
        program,
        end,
        minimum,
        line_base,
        line_range,
        operands,
        reader.position,
    )


def program(data: bytes, header: Header) -> Program:
    """Read a program; dense, as rows as values took three times as long. Raises Malformed."""
    special, one_operand, no_operand = _operations(header)
    base = len(header.operands) + 1
    reader = Reader(data, header.program, header.end)
    found = Program(array("Q"), [], {}, [], [], bytearray(), array("Q"), [header.program])
    settings, marks, addresses, lines = found.settings, found.marks, found.addresses, found.lines
    position, end, address, line, advances = header.program, header.end, 0, 0, 0
    while position < end:
        at, operation = position, data[position]
        position += 1
        if operation >= base:
            advance, delta = special[operation]
            address, line = address + advance, line + delta
        elif operation in one_operand and position < end and data[position] < 0x80:
            position += 1
            settings += data[at:position]
            continue
        elif operation in no_operand:
            settings.append(operation)
            continue
        elif operation != DW_LNS_copy and data[at : at + 3] != _END_SEQUENCE:
            reader.position = position
            address, delta, count = _other(reader, header, found, (operation, address))
            line, advances, position = line + delta, advances + count, reader.position
            continue
        marks.append(len(settings))
        addresses.append(address & _MOST)
        lines.append(line)
        if advances > 1:
            found.advances[len(marks) - 1] = advances
        line = advances = 0
        settings += _COPY if operation else _END_SEQUENCE
        if not operation:
            address, position = 0, position + 2
            found.ends.append(len(marks) - 1)
            found.sequences.append(position)
    return found._replace(sequences=[start for start in found.sequences if start < end])


def _other(
    reader: Reader, header: Header, found: Program, at: tuple[int, int]
) -> tuple[int, int, int]:
    """An operation that makes no row, of more than a byte or two; `at`: its code, the address.

    Returns the address behind it, by how much it advances the line, and how often the address.
    """
    operation, address = at
    if operation == DW_LNS_advance_line:
        return address, reader.sleb(), 0
    if operation == DW_LNS_const_add_pc:
        count = (255 - len(header.operands) - 1) // header.line_range
        return address + count * header.minimum_instruction_length, 0, 1
    if operation == DW_LNS_advance_pc:
        return address + reader.uleb() * header.minimum_instruction_length, 0, 1
    return _setting(reader, header, operation, found, address), 0, 0


def _operations(
    header: Header,
) -> tuple[dict[int, tuple[int, int]], frozenset[int], frozenset[int]]:
    """The advances of address and line of the special operations, and the standard operations with
    one operand and with none that only set something (DWARF 5, 6.2.5.1).
    """
    operands, minimum = header.operands, header.minimum_instruction_length
    special = {}
    for operation in range(len(operands) + 1, 256):
        advance, delta = divmod(operation - len(operands) - 1, header.line_range)
        special[operation] = (advance * minimum, header.line_base + delta)
    others = {DW_LNS_copy, *_ADVANCES, DW_LNS_fixed_advance_pc}
    one, none = (
        frozenset(n for n, found in enumerate(operands, 1) if found == count) - others
        for count in (1, 0)
    )
    return special, one, none


def _setting(reader: Reader, header: Header, operation: int, found: Program, address: int) -> int:
    """Any operation that makes no row and is no advance; returns the address behind it."""
    at = reader.position - 1
    if operation == DW_LNS_fixed_advance_pc:
        found.settings.append(operation)
        return address + reader.unsigned(2)
    if not operation:
        return _extended(reader, found, address)
    for _ in range(header.operands[operation - 1]):
        reader.uleb()
    found.settings.extend(reader.data[at : reader.position])
    return address


def _extended(reader: Reader, found: Program, address: int) -> int:
    """An extended operation but for the end of a sequence; returns the address behind it."""
    at = reader.position - 1
    length = reader.uleb()
    start, code = reader.position, reader.unsigned(1)
    if code == DW_LNE_set_address:
        found.settings.extend(_SET_ADDRESS)
        place, address = reader.position, reader.unsigned(8)
        found.places.append((len(found.marks), place, address))
        at = reader.position
    elif code == DW_LNE_set_discriminator:
        reader.uleb()
    elif code == DW_LNE_define_file:
        reader.string()
        for _ in range(3):
            reader.uleb()
    elif code > DW_LNE_set_discriminator:
        # One of a vendor's own: who doesn't know it passes over its length (DWARF 5, 6.2.5.3).
        reader.take(max(length, 1) - 1)
    else:
        raise Malformed(f"extended operation {code} in several bytes at {start:#x}")
    if reader.position - start != length:
        raise Malformed(f"extended operation {code} at {start:#x} with length {length}")
    found.settings.extend(reader.data[at : reader.position])
    return address


# Comparing


class _Comparison:
    """Two line programs."""

    def __init__(self, fields: Fields, a: Header, b: Header) -> None:
        self.fields = fields
        self.a = a
        self.b = b

    def differ(self, row: int, lines: list[int], text: str) -> None:
        """Report a difference at a row, counted from 0; `lines` are those of IN's program."""
        line = 1 + sum(lines[: row + 1])
        self.fields.differ(
            "line-row", self.a.start, self.b.start, f"row {row + 1}, line {line}: {text}"
        )

    def run(self, old: Program, new: Program) -> None:
        """Compare all of it."""
        if old.settings != new.settings:
            at = _first_difference(old.settings, new.settings)
            row = bisect.bisect_left(old.marks, at)
            self.differ(row, old.lines, "other rows or settings in OUT, here or behind")
            return
        if old.lines != new.lines:
            row = _first_difference(old.lines, new.lines)
            self.differ(row, old.lines, "another line in OUT")
        for row, advances in new.advances.items():
            if advances > old.advances.get(row, 1):
                self.differ(row, old.lines, f"{advances} advances of the address")
        section = first = 0
        # The rows are those of the DW_LNE_set_address in front of them.
        places = [*zip(old.places, new.places, strict=True)]
        for (row, place, address), (_, new_place, new_address) in places:
            self._addresses(old, new, range(first, row), section)
            where = self.fields.relocated(place, new_place, START)
            if where is None:
                self.fields.equal("line-row", place, new_place, address, new_address)
            section, first = where.section if where else 0, row
        self._addresses(old, new, range(first, len(old.addresses)), section)
        self.fields.findings.count("line row", len(old.addresses))

    def _addresses(self, old: Program, new: Program, rows: range, section: int) -> None:
        """The addresses of rows, in one section: starts, but for the ends of sequences."""
        pairing = self.fields.checker.pairings.get(section)
        addresses = old.addresses[rows.start : rows.stop]
        expected: list[int | None] = [*addresses]
        if pairing is not None:
            expected = [*map(pairing.sides[START], addresses)]
            first, last = (bisect.bisect_left(old.ends, at) for at in (rows.start, rows.stop))
            for row in old.ends[first:last]:
                expected[row - rows.start] = pairing.sides[END](old.addresses[row])
        if expected == new.addresses[rows.start : rows.stop].tolist():
            return
        name = self.fields.checker.old.sections[section].name if section else ""
        for row, moved in zip(rows, expected, strict=True):
            if moved != new.addresses[row] and not _ends_function(old, new, row, pairing):
                self.differ(
                    row,
                    old.lines,
                    f"address {name}+{old.addresses[row]:#x} in IN, so {shown(moved)} in OUT, but"
                    f" {new.addresses[row]:#x}",
                )


def _ends_function(old: Program, new: Program, row: int, pairing: AnyPairing | None) -> bool:
    """Whether a row is in front of padding that is new in OUT, and the next one behind it.

    In IN both are at one address, the end of a function and the start of the next.
    """
    at, following = old.addresses[row], old.addresses[row + 1 : row + 2].tolist()
    return pairing is not None and following == [at] and pairing.end(at) == new.addresses[row]


def _first_difference(a: Sequence[int], b: Sequence[int]) -> int:
    """The first index at which two that differ do."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((n for n, (x, y) in pairs if x != y), min(len(a), len(b)))
