""".debug_line: every row of every line table is at the counterpart of its address.

pyelftools decodes headers and programs (DWARF 5, 6.2). Headers are equal but for unit_length. Of
the program, rows are compared: the registers must be equal and the address must be where the row's
instruction went; ends of sequences are ends of ranges. The operations in between that are not
just advances of the address (set_file, fixed_advance_pc, ...) come in the same order.
"""

from __future__ import annotations

import bisect
import io
import os
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.dwarf.constants import DW_LNE, DW_LNS
from elftools.dwarf.lineprogram import LineProgram
from elftools.dwarf.structs import DWARFStructs

from verifier.fields import Fields, Malformed, Reader, Target
from verifier.pairing import END, START

_REGISTERS = (
    "file",
    "line",
    "column",
    "op_index",
    "is_stmt",
    "basic_block",
    "end_sequence",
    "prologue_end",
    "epilogue_begin",
    "isa",
    "discriminator",
)
_QUIET = (DW_LNS.advance_pc, DW_LNS.const_add_pc)
"""Operations that only advance the address: gas chooses among them by distance."""


_EXTENDED: dict[int, int] = {DW_LNE.end_sequence: 1, DW_LNE.set_address: 9}
"""Lengths of the extended operations that have a fixed one."""


class _NoSkipping(io.BytesIO):
    """pyelftools seeks relative to the position only to skip an extended opcode unknown to it."""

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_CUR:
            raise Malformed(f"unknown extended opcode in a line program at {self.tell():#x}")
        return super().seek(position, whence)


class _Unit:
    """One line table: header and entries."""

    def __init__(self, data: bytes, start: int) -> None:
        reader = Reader(data, start, len(data))
        length, size = reader.initial_length()
        self.start = start
        self.end = reader.position + length
        self.header_start = reader.position
        self.version = reader.unsigned(2)
        self.format = size * 8
        if self.end > len(data) or not 2 <= self.version <= 5:
            raise Malformed(f"line table at {start:#x}: version {self.version}, length {length:#x}")
        if self.version == 5:
            reader.take(2)
        header_length = reader.unsigned(size)
        self.program = reader.position + header_length
        self.header = data[self.header_start : self.program]
        if self.program > self.end:
            raise Malformed(f"line table at {start:#x}: header_length too large")
        lengths = data[self.program - header_length :]
        self._check_operations(Reader(data, self.program, self.end), lengths)
        self.entries = self._decode(data)

    def _check_operations(self, reader: Reader, header: bytes) -> None:
        """Extended operations have the length they say: pyelftools does not look at it."""
        # minimum_instruction_length, [maximum_operations_per_instruction,] default_is_stmt,
        # line_base, line_range, opcode_base, standard_opcode_lengths
        base_at = 5 if self.version >= 4 else 4
        opcode_base = header[base_at]
        counts = header[base_at + 1 : base_at + opcode_base]
        while not reader.done:
            operation = reader.unsigned(1)
            if operation >= opcode_base:
                continue
            if operation == DW_LNS.fixed_advance_pc:
                reader.take(2)
            elif operation:
                for _ in range(counts[operation - 1]):
                    reader.uleb()
            else:
                self._check_extended(reader)

    def _check_extended(self, reader: Reader) -> None:
        length = reader.uleb()
        start = reader.position
        code = reader.unsigned(1)
        if code == DW_LNE.set_discriminator:
            reader.uleb()
        elif code == DW_LNE.define_file:
            reader.string()
            for _ in range(3):
                reader.uleb()
        else:
            reader.take(_EXTENDED.get(code, length) - 1)
        if reader.position - start != length:
            raise Malformed(
                f"line program at {start:#x}: extended operation {code} with length {length}"
            )

    def _decode(self, data: bytes) -> list[Any]:
        structs = DWARFStructs(
            little_endian=True,
            dwarf_format=self.format,
            address_size=8,
            dwarf_version=self.version,
        )
        stream = _NoSkipping(data[: self.end])
        try:
            stream.seek(self.start)
            header = structs.Dwarf_lineprog_header.parse_stream(stream)
            if self.version < 4:
                header["maximum_operations_per_instruction"] = 1
            program = LineProgram(header, stream, structs, self.program, self.end)
            return list(program.get_entries())
        except (DWARFError, ELFError, ConstructError, KeyError, ZeroDivisionError, ValueError) as e:
            raise Malformed(f"line table at {self.start:#x}: {type(e).__name__}: {e}") from None


def check(fields: Fields) -> dict[int, int]:
    """Compare all line tables of a section. Returns where each one went (old start: new start)."""
    starts: dict[int, int] = {}
    position = new_position = 0
    old_places = sorted(fields.old_relocations)
    new_places = sorted(fields.new_relocations)
    while position < len(fields.old) and new_position < len(fields.new):
        a, b = _Unit(fields.old, position), _Unit(fields.new, new_position)
        starts[position] = new_position
        fields.equal("line-header", position, new_position, a.format, b.format)
        fields.equal("line-header", position, new_position, a.header, b.header)
        inside = _slice(old_places, a.start, a.end)
        new_inside = _slice(new_places, b.start, b.end)
        if len(inside) != len(new_inside):
            fields.differ("line-header", position, new_position, "relocations differ in number")
        else:
            _check_program(fields, a, b, inside, new_inside)
        position, new_position = a.end, b.end
    if position != len(fields.old) or new_position != len(fields.new):
        fields.differ("line-header", position, new_position, "the number of line tables differs")
    starts[len(fields.old)] = len(fields.new)
    return starts


def _slice(places: list[int], start: int, end: int) -> list[int]:
    return places[bisect.bisect_left(places, start) : bisect.bisect_left(places, end)]


def _check_program(
    fields: Fields, a: _Unit, b: _Unit, inside: list[int], new_inside: list[int]
) -> None:
    """Compare one program; `inside` are the places of the relocations of each table."""
    addresses: list[Target | None] = []
    for place, new_place in zip(inside, new_inside, strict=True):
        if place < a.program:
            fields.equal("line-header", place, new_place, place - a.start, new_place - b.start)
            fields.relocated(place, new_place)
        else:
            addresses.append(fields.relocated(place, new_place, START))
    before = [e for e in a.entries if e.state or e.is_extended or e.command not in _QUIET]
    after = [e for e in b.entries if e.state or e.is_extended or e.command not in _QUIET]
    if len(before) != len(after):
        fields.differ(
            "line-row",
            a.start,
            b.start,
            f"has {len(before)} rows and settings in IN, {len(after)} in OUT",
        )
        return
    where: Target | None = None
    remaining = iter(addresses)
    rows = 0
    for old, new in zip(before, after, strict=True):
        if (old.state is None) != (new.state is None):
            fields.differ(
                "line-row", a.start, b.start, f"row {rows}: rows and settings are mixed up"
            )
            return
        if old.state is not None:
            rows += 1
            _check_row(fields, a, b, where, old, new, rows)
            continue
        same = old.command == new.command and old.is_extended == new.is_extended
        if old.is_extended and old.command == DW_LNE.set_address:
            where = next(remaining, None)
        elif same and not old.is_extended and old.command == DW_LNS.fixed_advance_pc:
            pass
        else:
            same = same and old.args == new.args
        if not same:
            fields.differ(
                "line-row",
                a.start,
                b.start,
                f"before row {rows + 1}: operation {old.command} {old.args} became {new.command}"
                f" {new.args}",
            )
    fields.findings.count("line row", rows)


def _check_row(
    fields: Fields, a: _Unit, b: _Unit, where: Target | None, old: Any, new: Any, row: int
) -> None:
    x, y = old.state, new.state
    text = f"row {row}, line {x.line}"
    if any(getattr(x, name) != getattr(y, name) for name in _REGISTERS):
        name = next(name for name in _REGISTERS if getattr(x, name) != getattr(y, name))
        fields.differ(
            "line-row",
            a.start,
            b.start,
            f"{text}: {name} is {getattr(x, name)} in IN, {getattr(y, name)} in OUT",
        )
        return
    section = where.section if where else 0
    side = END if x.end_sequence else START
    expected = fields.move(section, x.address, side)
    if expected != y.address:
        name = fields.checker.old.sections[section].name if section else ""
        moved = "nowhere" if expected is None else f"{expected:#x}"
        fields.differ(
            "line-row",
            a.start,
            b.start,
            f"{text}: address {name}+{x.address:#x} in IN, so {moved} in OUT, but {y.address:#x}",
        )
