"""DWARF expressions (DWARF 5, 2.5 and 7.7.1): what in them can point at something that moved.

Most operations hold constants. A few hold an address (a relocation), an index into .debug_addr, or
the offset of a debugging information entry. Two expressions agree when they have the same
operations, equal constants, and operands of the other kinds that agree.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier.reader import Malformed, Reader

if TYPE_CHECKING:
    from nopfix.verifier.forms import Format

ADDRESS, INDEX, UNIT_DIE, SECTION_DIE = "address", "index", "unit DIE", "section DIE"

# a: address; x: .debug_addr index; d: uleb offset of a DIE in the unit; h, w: the same in 2 and 4
# bytes; r: offset of a DIE in the section, offset-sized; 1 2 4 8: that many bytes; u: LEB128;
# b: uleb length and bytes; t: byte length and bytes; e: uleb length and an expression.
_OPERANDS = {
    0x03: "a",
    0x08: "1",
    0x09: "1",
    0x0A: "2",
    0x0B: "2",
    0x0C: "4",
    0x0D: "4",
    0x0E: "8",
    0x0F: "8",
    0x10: "u",
    0x11: "u",
    0x15: "1",
    0x23: "u",
    0x28: "2",
    0x2F: "2",
    0x90: "u",
    0x91: "u",
    0x92: "uu",
    0x93: "u",
    0x94: "1",
    0x95: "1",
    0x98: "h",
    0x99: "w",
    0x9A: "r",
    0x9D: "uu",
    0x9E: "b",
    0xA0: "ru",
    0xA1: "x",
    0xA2: "x",
    0xA3: "e",
    0xA4: "dt",
    0xA5: "ud",
    0xA6: "1d",
    0xA7: "1d",
    0xA8: "d",
    0xA9: "d",
    0xF2: "ru",
    0xF3: "e",
    0xF4: "dt",
    0xF5: "ud",
    0xF6: "1d",
    0xF7: "d",
    0xFA: "w",
    0xFB: "x",
    0xFC: "x",
    0xFD: "r",
}
_PLAIN = frozenset(
    [0x06, *range(0x12, 0x15), *range(0x16, 0x23), *range(0x24, 0x28), *range(0x29, 0x2F)]
    + [*range(0x30, 0x70), 0x96, 0x97, 0x9B, 0x9C, 0x9F, 0xE0, 0xF0]
)
_BREG = range(0x70, 0x90)
_CONSTANTS = frozenset("1248ubt")
_DEEPEST = 16
"""Expressions in expressions; compilers have one in one."""


class Operand(NamedTuple):
    """An operand that may have to change."""

    kind: str
    value: int
    offset: int
    """From the start of the expression, bytes."""
    size: int


class Expression(NamedTuple):
    """An expression taken apart."""

    constant: tuple[bytes, ...]
    """Everything but the operands below, in order."""
    operands: tuple[Operand, ...]


@functools.lru_cache(maxsize=65536)
def parse(data: bytes, shape: Format) -> Expression:
    """Take an expression apart. Raises Malformed for an unknown operation."""
    parser = _Parser(shape)
    parser.run(Reader(data, 0, len(data)))
    return Expression(tuple(parser.constant), tuple(parser.operands))


class _Parser:
    """One expression, while it is taken apart."""

    def __init__(self, shape: Format) -> None:
        self.address_size = shape.address_size
        # DWARF 2 gave DW_FORM_ref_addr, and so these, the size of an address (DWARF 3, 7.5.4).
        self.reference_size = shape.address_size if shape.version == 2 else shape.offset_size
        self.constant: list[bytes] = []
        self.operands: list[Operand] = []

    def run(self, reader: Reader, nesting: int = 0) -> None:
        """Read operations to the reader's end."""
        if nesting > _DEEPEST:
            raise Malformed(f"expressions nested more than {_DEEPEST} deep")
        while not reader.done:
            start = reader.position
            operation = reader.unsigned(1)
            self.constant.append(reader.data[start : start + 1])
            if operation in _PLAIN:
                continue
            letters = "u" if operation in _BREG else _OPERANDS.get(operation)
            if letters is None:
                raise Malformed(f"unknown expression operation {operation:#x}")
            for letter in letters:
                if letter == "e":
                    self.nested(reader, nesting + 1)
                else:
                    self.operand(reader, letter)

    def operand(self, reader: Reader, letter: str) -> None:
        """One operand, by its letter above."""
        at = reader.position
        if letter in _CONSTANTS:
            if letter == "b":
                reader.take(reader.uleb())
            elif letter == "t":
                reader.take(reader.unsigned(1))
            elif letter == "u":
                reader.uleb()
            else:
                reader.take(int(letter))
            self.constant.append(reader.data[at : reader.position])
            return
        kind, size = {
            "a": (ADDRESS, self.address_size),
            "x": (INDEX, 0),
            "d": (UNIT_DIE, 0),
            "h": (UNIT_DIE, 2),
            "w": (UNIT_DIE, 4),
            "r": (SECTION_DIE, self.reference_size),
        }[letter]
        value = reader.unsigned(size) if size else reader.uleb()
        self.operands.append(Operand(kind, value, at, reader.position - at))

    def nested(self, reader: Reader, nesting: int) -> None:
        """An expression in an expression: where it begins and ends is part of what that says."""
        length = reader.uleb()
        end = reader.position + length
        if end > reader.end_of_data:
            raise Malformed("nested expression too long")
        self.constant.append(b"nested")
        self.run(Reader(reader.data, reader.position, end), nesting)
        self.constant.append(b"end")
        reader.position = end
