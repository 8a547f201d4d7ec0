""".debug_line: every row of every line table is at the counterpart of its address.

Headers are equal but for unit_length. A program (DWARF 5, 6.2.5) is read into its rows and its
settings. The operations that are only on the way to a row, advances of address and line, may be
others in OUT; gas takes one advance of the address for a row, or none. A row's address must be
where its instruction went, and its line must be as far from the row before as in IN; ends of
sequences are ends of ranges. All other operations are settings: the same ones, between the same
rows.

A row's other registers follow from the settings, so they need no looking at.
"""

from __future__ import annotations

import bisect
from typing import NamedTuple

from nopfix.verifier.fields import Fields, Malformed, Reader, Target
from nopfix.verifier.pairing import END, START

DW_LNS_copy, DW_LNS_advance_pc, DW_LNS_advance_line = 1, 2, 3
DW_LNS_const_add_pc, DW_LNS_fixed_advance_pc = 8, 9
DW_LNE_end_sequence, DW_LNE_set_address, DW_LNE_define_file, DW_LNE_set_discriminator = 1, 2, 3, 4

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


class Row(NamedTuple):
    """A row of the line number table, as far as insertions can change it."""

    address: int
    line: int
    """From the row before."""
    advances: int
    """Operations that advance the address to it."""
    ends: bool
    """Whether it is the end of a sequence."""


class Setting(NamedTuple):
    """Any other operation."""

    operation: bytes
    """The operation with its operands; DW_LNE_set_address and _fixed_advance_pc without."""
    place: int
    """Where a DW_LNE_set_address has its address, else -1."""
    address: int


class Program(NamedTuple):
    """A line number program, read."""

    steps: list[Row | Setting]
    sequences: list[int]
    """Offset in the section of each sequence's first operation."""


def check(fields: Fields) -> dict[int, int]:
    """Compare all line tables of a section. Returns where tables and sequences went (old: new)."""
    starts: dict[int, int] = {}
    position = new_position = 0
    places, new_places = sorted(fields.old_relocations), sorted(fields.new_relocations)
    while position < len(fields.old) and new_position < len(fields.new):
        a, b = _header(fields.old, position), _header(fields.new, new_position)
        starts[position] = new_position
        fields.equal("line-header", position, new_position, a.offset_size, b.offset_size)
        fields.equal("line-header", position, new_position, a.contents, b.contents)
        _relocations_of_header(fields, a, _within(places, a), b, _within(new_places, b))
        before, after = _program(fields.old, a), _program(fields.new, b)
        starts.update(zip(before.sequences, after.sequences, strict=False))
        _Comparison(fields, a, b).run(before.steps, after.steps)
        position, new_position = a.end, b.end
    if position != len(fields.old) or new_position != len(fields.new):
        fields.differ("line-header", position, new_position, "the number of line tables differs")
    starts[len(fields.old)] = len(fields.new)
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


def _header(data: bytes, start: int) -> Header:
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
    )


def _program(data: bytes, header: Header) -> Program:
    """Read a program. One loop, as a large object has a hundred thousand operations."""
    reader = Reader(data, header.program, header.end)
    base, count = len(header.operands) + 1, header.minimum_instruction_length
    line_base, line_range = header.line_base, header.line_range
    steps: list[Row | Setting] = []
    sequences = [header.program]
    address = line = advances = 0
    position, end = header.program, header.end
    while position < end:
        at, operation = position, data[position]
        position += 1
        if operation >= base:
            advance, delta = divmod(operation - base, line_range)
            address += advance * count
            steps.append(Row(address, line + line_base + delta, advances, False))
            line = advances = 0
        elif operation == DW_LNS_copy:
            steps.append(Row(address, line, advances, False))
            line = advances = 0
        elif operation == DW_LNS_advance_pc:
            reader.position = position
            address += reader.uleb() * count
            position = reader.position
            advances += 1
        elif operation == DW_LNS_advance_line:
            reader.position = position
            line += reader.sleb()
            position = reader.position
        elif operation == DW_LNS_const_add_pc:
            address += (255 - base) // line_range * count
            advances += 1
        else:
            reader.position = position
            step = _other(reader, header, operation, at, address)
            position = reader.position
            steps.append(step)
            if isinstance(step, Row):
                steps[-1] = step._replace(line=line, advances=advances)
                sequences.append(position)
                address = line = advances = 0
            elif step.address >= 0:
                address = step.address
    return Program(steps, sequences[:-1] if sequences[-1] == end else sequences)


def _other(reader: Reader, header: Header, operation: int, at: int, address: int) -> Row | Setting:
    """An operation that is neither a row nor on the way to one; the end of a sequence is a row."""
    if not operation:
        return _extended(reader, at, address)
    if operation == DW_LNS_fixed_advance_pc:
        return Setting(b"\x09", -1, address + reader.unsigned(2))
    for _ in range(header.operands[operation - 1]):
        reader.uleb()
    return Setting(reader.data[at : reader.position], -1, -1)


def _extended(reader: Reader, at: int, address: int) -> Row | Setting:
    length = reader.uleb()
    start = reader.position
    code = reader.unsigned(1)
    place = reader.position
    step: Row | Setting = Setting(b"", -1, -1)
    if code == DW_LNE_end_sequence:
        step = Row(address, 0, 0, True)
    elif code == DW_LNE_set_address:
        step = Setting(b"\0\x02", place, reader.unsigned(8))
    elif code == DW_LNE_set_discriminator:
        reader.uleb()
    elif code == DW_LNE_define_file:
        reader.string()
        for _ in range(3):
            reader.uleb()
    else:
        raise Malformed(f"unknown extended operation {code} in a line program at {start:#x}")
    if reader.position - start != length:
        raise Malformed(
            f"line program at {start:#x}: extended operation {code} with length {length}"
        )
    if isinstance(step, Setting) and step.place < 0:
        return step._replace(operation=reader.data[at : reader.position])
    return step


# Comparing


class _Comparison:
    """Two line programs, step by step."""

    def __init__(self, fields: Fields, a: Header, b: Header) -> None:
        self.fields = fields
        self.a = a
        self.b = b
        self.where: Target | None = None
        """What the last DW_LNE_set_address names."""
        self.rows = 0
        self.line = 1

    def differ(self, text: str) -> None:
        """Report a difference in the table."""
        self.fields.differ("line-row", self.a.start, self.b.start, text)

    def run(self, before: list[Row | Setting], after: list[Row | Setting]) -> None:
        """Compare all steps."""
        if len(before) != len(after):
            self.differ(f"has {len(before)} rows and settings in IN, {len(after)} in OUT")
            return
        for old, new in zip(before, after, strict=True):
            if isinstance(old, Row) and isinstance(new, Row):
                self._row(old, new)
            elif isinstance(old, Setting) and isinstance(new, Setting):
                self._setting(old, new)
            else:
                self.differ(f"row {self.rows}: rows and settings are mixed up")
                return
        self.fields.findings.count("line row", self.rows)

    def _setting(self, old: Setting, new: Setting) -> None:
        if old.operation != new.operation:
            self.differ(
                f"before row {self.rows + 1}: operation {old.operation.hex(' ')} became"
                f" {new.operation.hex(' ')}"
            )
        if old.place >= 0 and new.place >= 0:
            self.where = self.fields.relocated(old.place, new.place, START)
            if self.where is None:
                self.fields.equal("line-row", old.place, new.place, old.address, new.address)

    def _row(self, old: Row, new: Row) -> None:
        self.rows += 1
        self.line = 1 if old.ends else self.line + old.line
        if old.line != new.line or old.ends != new.ends:
            self.differ(f"row {self.rows}, line {self.line}: another line in OUT")
        if new.advances > max(old.advances, 1):
            self.differ(
                f"row {self.rows}, line {self.line}: {new.advances} advances of the address"
            )
        section = self.where.section if self.where else 0
        expected = self.fields.move(section, old.address, END if old.ends else START)
        if expected != new.address:
            name = self.fields.checker.old.sections[section].name if section else ""
            moved = "nowhere" if expected is None else f"{expected:#x}"
            self.differ(
                f"row {self.rows}, line {self.line}: address {name}+{old.address:#x} in IN, so"
                f" {moved} in OUT, but {new.address:#x}"
            )
