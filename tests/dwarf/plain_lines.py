"""A plain reader of line programs: one opcode after the other, every row kept.

`dwarf.line` runs a program in one dense loop that keeps nothing but the rows at edits of the code.
This is the same in the order of the standard (DWARF 5, 6.2.5), to hold that loop against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Form(NamedTuple):
    """How a unit is written."""

    version: int
    wide: bool
    unit: int
    base: int
    range: int
    opcode_base: int


COUNTS = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 2, 0))
"""Operands of the opcodes from 1 on, those without a meaning included."""


class Step(NamedTuple):
    """What a program did: it set the address, advanced by a fixed one, made a row, or ended.

    It ends at ``behind`` (an end of a sequence begins there); the others are the registers.
    """

    kind: Literal["address", "fixed advance", "row", "end"]
    behind: int
    section: int
    address: int
    line: int
    others: tuple[bytes, ...]


def advance_of(opcode: int, form: Form) -> int:
    """By how many bytes a special opcode advances."""
    return (opcode - form.opcode_base) // form.range * form.unit


def number(data: bytes, position: int, signed: bool = False) -> tuple[int, int]:
    """A LEB128 and the offset behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value - (1 << shift) if signed and byte & 0x40 else value, position


def read(
    data: bytes, start: int, end: int, form: Form, bases: Mapping[int, tuple[int, int]]
) -> Iterator[Step]:
    """Run the program from ``start`` to ``end``; ``bases`` are the relocated addresses by place."""
    section = address = 0
    line = 1
    others: list[bytes] = []
    position = start
    while position < end:
        begin = position
        opcode = data[position]
        position += 1
        if opcode >= form.opcode_base or opcode == 1:
            if opcode != 1:
                address += advance_of(opcode, form)
                line += form.base + (opcode - form.opcode_base) % form.range
            yield Step("row", position, section, address, line, tuple(others))
            others = []
        elif opcode == 0:
            size, position = number(data, position)
            operation = data[position]
            if operation == 1:
                yield Step("end", begin, section, address, line, tuple(others))
                section, address, line, others = 0, 0, 1, []
            elif operation == 2:
                section, address = bases[position + 1]
                yield Step("address", position + size, section, address, line, tuple(others))
            position += size
            if operation > 2:
                others.append(data[begin:position])
        elif opcode == 2:
            units, position = number(data, position)
            address += units * form.unit
        elif opcode == 3:
            lines, position = number(data, position, signed=True)
            line += lines
        elif opcode == 8:
            address += advance_of(255, form)
        elif opcode == 9:
            address += int.from_bytes(data[position : position + 2], "little")
            position += 2
            yield Step("fixed advance", position, section, address, line, tuple(others))
        else:
            for _ in range(COUNTS[opcode - 1]):
                _, position = number(data, position)
            others.append(data[begin:position])
    assert position == end
