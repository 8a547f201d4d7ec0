"""Line tables that mean the same although gas wrote them differently.

For ``.loc ... view -0`` (GCC's first row of a function) gas must make sure that the address moves.
Where it can't tell from its fragments that it does, it writes DW_LNE_set_address in place of an
advance (binutils' gas/dwarf2dbg.c, process_entries).  Where fragments end depends on how gas's
memory chunks filled up, so the same source with a few nops more has the set_address elsewhere: no
rule that reads an object can follow that.

`same_rows` is the exception that the comparison makes, and no more than it: two ``.debug_line``
sections are taken as equal when their headers are equal (but for the unit length) and their
programs give the same rows, address by address, where the programs differ in nothing but the kind
of advance to a row that one of them reaches by DW_LNE_set_address.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

DW_LNS_copy, DW_LNS_advance_pc, DW_LNS_advance_line = 1, 2, 3
DW_LNS_const_add_pc, DW_LNS_fixed_advance_pc = 8, 9
DW_LNE_end_sequence, DW_LNE_set_address = 1, 2

#: Where an address is: the symbol that its relocation names, and the offset from there.
Address = tuple[int, int]


class Step(NamedTuple):
    """One thing that a program does: a row at an address, or an operation that isn't an advance."""

    operation: bytes
    address: Address
    line: int


class Program(NamedTuple):
    """One unit: its header without the length, and its steps; `set_addresses` counts those of
    DW_LNE_set_address that are not the first of their sequence.
    """

    header: bytes
    steps: tuple[Step, ...]
    set_addresses: int


def _uleb(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _sleb(data: bytes, at: int) -> tuple[int, int]:
    value, end = _uleb(data, at)
    bits = 7 * (end - at)
    return value - (1 << bits) if value >> (bits - 1) & 1 else value, end


def programs(data: bytes, relocations: dict[int, Address]) -> list[Program]:
    """Decode a ``.debug_line`` section; `relocations` gives, by place, what an address stands for.

    Raises ValueError, IndexError or struct.error for what isn't a line table of version 2 to 5.
    """
    found = []
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        at, wide = at + 4, length == 0xFFFFFFFF
        if wide:
            (length,) = struct.unpack_from("<Q", data, at)
            at += 8
        found.append(_program(data, at, at + length, wide, relocations))
        at += length
    return found


def _program(
    data: bytes, start: int, end: int, wide: bool, relocations: dict[int, Address]
) -> Program:
    (version,) = struct.unpack_from("<H", data, start)
    at = start + (4 if version >= 5 else 2)
    (header_length,) = struct.unpack_from("<Q" if wide else "<I", data, at)
    at += 8 if wide else 4
    body = at + header_length
    at += 1 if version < 4 else 2
    line_base, line_range, opcode_base = struct.unpack_from("<bBB", data, at + 1)
    minimum = data[at - (1 if version < 4 else 2)]
    operands = data[at + 4 : at + 3 + opcode_base]
    steps: list[Step] = []
    address: Address = (-1, 0)
    line, again, fresh = 1, 0, True
    at = body
    while at < end:
        opcode, begun = data[at], at
        at += 1
        if opcode >= opcode_base:
            adjusted = opcode - opcode_base
            address = (address[0], address[1] + minimum * (adjusted // line_range))
            line += line_base + adjusted % line_range
            steps.append(Step(b"row", address, line))
        elif opcode == DW_LNS_copy:
            steps.append(Step(b"row", address, line))
        elif opcode == DW_LNS_advance_pc:
            advance, at = _uleb(data, at)
            address = (address[0], address[1] + minimum * advance)
        elif opcode == DW_LNS_advance_line:
            advance, at = _sleb(data, at)
            line += advance
        elif opcode == DW_LNS_const_add_pc:
            advance = minimum * ((255 - opcode_base) // line_range)
            address = (address[0], address[1] + advance)
        elif opcode == DW_LNS_fixed_advance_pc:
            (advance,) = struct.unpack_from("<H", data, at)
            address, at = (address[0], address[1] + advance), at + 2
        elif opcode:
            for _ in range(operands[opcode - 1]):
                _, at = _uleb(data, at)
            steps.append(Step(data[begun:at], (0, 0), 0))
        else:
            size, at = _uleb(data, at)
            if data[at] == DW_LNE_set_address:
                (value,) = struct.unpack_from("<Q", data, at + 1)
                symbol, addend = relocations.get(at + 1, (-1, 0))
                address = (symbol, addend + value)
                again, fresh = again + (not fresh), False
            elif data[at] == DW_LNE_end_sequence:
                steps.append(Step(b"end", address, line))
                address, line, fresh = (-1, 0), 1, True
            else:
                steps.append(Step(data[at : at + size], (0, 0), 0))
            at += size
    return Program(data[start:body], tuple(steps), again)


def same_rows(
    ours: bytes, theirs: bytes, our_places: dict[int, Address], their_places: dict[int, Address]
) -> bool:
    """Say whether two ``.debug_line`` sections differ only in where DW_LNE_set_address is written
    in place of an advance.
    """
    try:
        left, right = programs(ours, our_places), programs(theirs, their_places)
    except (ValueError, IndexError, struct.error):
        return False
    if len(left) != len(right):
        return False
    return all(
        a.header == b.header and a.steps == b.steps for a, b in zip(left, right, strict=True)
    ) and any(a.set_addresses != b.set_addresses for a, b in zip(left, right, strict=True))
