"""A plain reader of call frame instructions: one after the other, each with its place.

`dwarf.frame` goes through a program in one dense loop that notes only the advances at edits of the
code.  This reads by a table of its own (DWARF 5, table 7.29), to hold that loop against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERANDS = {
    # u a LEB128, b a block behind its length, a digit that many bytes.
    0x00: "",
    0x02: "1",
    0x03: "2",
    0x04: "4",
    0x05: "uu",
    0x06: "u",
    0x07: "u",
    0x08: "u",
    0x09: "uu",
    0x0A: "",
    0x0B: "",
    0x0C: "uu",
    0x0D: "u",
    0x0E: "u",
    0x0F: "b",
    0x10: "ub",
    0x11: "uu",
    0x12: "uu",
    0x13: "u",
    0x14: "uu",
    0x15: "uu",
    0x16: "ub",
    0x1D: "8",
    0x2D: "",
    0x2E: "u",
    0x2F: "uu",
}


class Instruction(NamedTuple):
    """One instruction from ``place`` to ``end``; ``units`` where it advances, else None."""

    opcode: int
    place: int
    end: int
    units: int | None


def read(program: bytes) -> Iterator[Instruction]:
    """The instructions of a program, padding included."""
    position = 0
    while position < len(program):
        place = position
        opcode = program[position]
        position += 1
        units = None
        if opcode & 0xC0:
            kinds, opcode = ("u" if opcode & 0xC0 == 0x80 else ""), opcode & 0xC0
            units = program[place] & 0x3F if opcode == 0x40 else None
        else:
            kinds = OPERANDS[opcode]
        for kind in kinds:
            if kind.isdigit():
                units = int.from_bytes(program[position : position + int(kind)], "little")
                position += int(kind)
                continue
            value = shift = 0
            byte = 0x80
            while byte & 0x80:
                byte = program[position]
                value |= (byte & 0x7F) << shift
                shift += 7
                position += 1
            position += value if kind == "b" else 0
        yield Instruction(opcode, place, position, units)
