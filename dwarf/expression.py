"""DWARF expressions: the operations whose operands hold offsets of debugging entries.

An expression holds three kinds of places.  Addresses (DW_OP_addr) are relocated, or indices into
.debug_addr (DW_OP_addrx), so nothing in the expression changes when code moves.  Branches inside
the expression (DW_OP_skip, DW_OP_bra) count its own bytes.  And some operands name debugging
entries: the base types of typed operations, DW_OP_call2/4/ref, implicit pointers.  Those change
only when entries move inside .debug_info, which happens only when an attribute there is a LEB128
that needs another byte; so this module is used rarely, and reads expressions operation by
operation.

Source: DWARF 5, sections 2.5 and 7.7.1; the GNU operations from binutils' dwarf2.def.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from dwarf import leb128
from dwarf.errors import Unsupported
from dwarf.forms import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dwarf.offset_map import OffsetMap
    from dwarf.section import Relocations
    from dwarf.unit import Unit

DW_OP_bra = 0x28
DW_OP_skip = 0x2F

_NESTED_TOO_DEEPLY = 8

_OPERANDS: Mapping[int, str] = {
    # One letter an operand: 1 2 4 8 numbers of that many bytes; a an address; u s ULEB128, SLEB128;
    # b a block behind its ULEB128 length; c a block behind a length of one byte; j a branch;
    # and the references to entries: h w two or four bytes and t ULEB128, relative to the unit; o
    # an offset into .debug_info (relocated where relocations are); e an expression in a block.
    0x03: "a",  # DW_OP_addr
    0x08: "1",  # DW_OP_const1u
    0x09: "1",  # DW_OP_const1s
    0x0A: "2",  # DW_OP_const2u
    0x0B: "2",  # DW_OP_const2s
    0x0C: "4",  # DW_OP_const4u
    0x0D: "4",  # DW_OP_const4s
    0x0E: "8",  # DW_OP_const8u
    0x0F: "8",  # DW_OP_const8s
    0x10: "u",  # DW_OP_constu
    0x11: "s",  # DW_OP_consts
    0x15: "1",  # DW_OP_pick
    0x23: "u",  # DW_OP_plus_uconst
    DW_OP_bra: "j",
    DW_OP_skip: "j",
    0x90: "u",  # DW_OP_regx
    0x91: "s",  # DW_OP_fbreg
    0x92: "us",  # DW_OP_bregx
    0x93: "u",  # DW_OP_piece
    0x94: "1",  # DW_OP_deref_size
    0x95: "1",  # DW_OP_xderef_size
    0x98: "h",  # DW_OP_call2
    0x99: "w",  # DW_OP_call4
    0x9A: "o",  # DW_OP_call_ref
    0x9D: "uu",  # DW_OP_bit_piece
    0x9E: "b",  # DW_OP_implicit_value
    0xA0: "os",  # DW_OP_implicit_pointer
    0xA1: "u",  # DW_OP_addrx
    0xA2: "u",  # DW_OP_constx
    0xA3: "e",  # DW_OP_entry_value
    0xA4: "tc",  # DW_OP_const_type
    0xA5: "ut",  # DW_OP_regval_type
    0xA6: "1t",  # DW_OP_deref_type
    0xA7: "1t",  # DW_OP_xderef_type
    0xA8: "t",  # DW_OP_convert
    0xA9: "t",  # DW_OP_reinterpret
    0xF2: "os",  # DW_OP_GNU_implicit_pointer
    0xF3: "e",  # DW_OP_GNU_entry_value
    0xF4: "tc",  # DW_OP_GNU_const_type
    0xF5: "ut",  # DW_OP_GNU_regval_type
    0xF6: "1t",  # DW_OP_GNU_deref_type
    0xF7: "t",  # DW_OP_GNU_convert
    0xF9: "t",  # DW_OP_GNU_reinterpret
    0xFA: "w",  # DW_OP_GNU_parameter_ref
    0xFB: "u",  # DW_OP_GNU_addr_index
    0xFC: "u",  # DW_OP_GNU_const_index
    0xFD: "o",  # DW_OP_GNU_variable_value
    **dict.fromkeys((6, *range(18, 21), *range(22, 35), *range(36, 40)), ""),
    **dict.fromkeys((*range(41, 47), *range(48, 112), 150, 151, 155, 156, 159), ""),
    **dict.fromkeys(range(112, 144), "s"),  # DW_OP_breg0 to DW_OP_breg31
    **dict.fromkeys((224, 240), ""),  # DW_OP_GNU_push_tls_address, DW_OP_GNU_uninit
}


class _Operand(NamedTuple):
    """An operand: what it is (a letter of `_OPERANDS`), where it lies, its value if a number."""

    kind: str
    place: int
    end: int
    value: int


def move(
    data: bytes | memoryview,
    start: int,
    end: int,
    unit: Unit,
    entries: OffsetMap,
    relocations: Relocations,
    section: str,
) -> bytes | None:
    """The expression in ``data[start:end]`` with its references to entries moved by ``entries``.

    ``unit`` is the unit that it belongs to, ``relocations`` and ``section`` (the name, for errors)
    are those of the section that it lies in.  Returns None when nothing changes.  Raises
    `Unsupported` for operations that aren't known, and where a relocated operand would move inside
    an expression that grows.
    """
    context = _Context(data, unit, entries, relocations, section)
    try:
        moved = _move(context, start, end, 0)
    except (IndexError, leb128.BadLeb128):
        raise Unsupported(section, start, "an expression without an end") from None
    if moved == data[start:end]:
        return None
    places = relocations.places
    relocated = bisect_left(places, start) != bisect_left(places, end)
    if relocated and len(moved) != end - start:
        raise Unsupported(section, start, "an expression that grows around a relocated operand")
    return moved


class _Context(NamedTuple):
    data: bytes | memoryview
    unit: Unit
    entries: OffsetMap
    relocations: Relocations
    section: str


def _move(context: _Context, start: int, end: int, depth: int) -> bytes:
    """The new bytes of ``data[start:end]``; branches counted anew where the size changes."""
    data = context.data
    if depth > _NESTED_TOO_DEEPLY:
        raise Unsupported(context.section, start, "expressions nested too deeply")
    moved = bytearray()
    # Where each operation begins now, by old offset; branches may go to the end as well.
    begins: dict[int, int] = {}
    branches: list[tuple[int, int, int]] = []
    place = start
    while place < end:
        begins[place] = len(moved)
        moved.append(data[place])
        operands = list(_operands(context, place))
        for operand in operands:
            if operand.kind == "j":
                branches.append((operand.place, len(moved), operand.value))
            moved += _moved_operand(context, operand, depth)
        place = operands[-1].end if operands else place + 1
    if place != end:
        raise Unsupported(context.section, start, "an expression whose last operation has no end")
    begins[end] = len(moved)
    for old, new, distance in branches:
        target = old + 2 + distance
        if target not in begins:
            raise Unsupported(context.section, old, "a branch into the middle of an operation")
        moved[new : new + 2] = (begins[target] - new - 2).to_bytes(2, "little", signed=True)
    return bytes(moved)


def _operands(context: _Context, place: int) -> Iterator[_Operand]:
    """The operands of the operation at ``place``."""
    data, unit = context.data, context.unit
    operation = data[place]
    kinds = _OPERANDS.get(operation)
    if kinds is None:
        raise Unsupported(context.section, place, f"unknown operation DW_OP {operation:#x}")
    place += 1
    for kind in kinds:
        value = 0
        if kind in "ust":
            value, end = leb128.unsigned(data, place)
        elif kind == "j":
            value, end = number(data, place, 2), place + 2
            value -= (value & 0x8000) << 1
        elif kind in "be":
            length, begin = leb128.unsigned(data, place)
            value, end = begin, begin + length
        elif kind == "c":
            end = place + 1 + data[place]
        else:
            size = _fixed_size(kind, unit)
            value, end = number(data, place, size), place + size
        if end > len(data):
            raise IndexError(place)
        yield _Operand(kind, place, end, value)
        place = end


def _fixed_size(kind: str, unit: Unit) -> int:
    if kind == "a":
        return unit.address_size
    if kind == "o":
        # DWARF 2 has DW_OP_call_ref's operand in the size of an address, as DW_FORM_ref_addr.
        return unit.address_size if unit.version == 2 else unit.offset_size
    return {"h": 2, "w": 4}.get(kind) or int(kind)


def _moved_operand(context: _Context, operand: _Operand, depth: int) -> bytes:
    """The new bytes of one operand."""
    kind, place, end, value = operand
    unit = context.unit
    old = bytes(context.data[place:end])
    if kind == "e":
        inner = _move(context, value, end, depth + 1)
        return leb128.encode_unsigned(len(inner), value - place) + inner
    if kind in "hw" or (kind == "t" and value):
        new = moved_reference(unit, context.entries, value)
        if kind == "t":
            return leb128.encode_unsigned(new, end - place)
        if new >> 8 * len(old):
            raise Unsupported(context.section, place, f"the reference {new:#x} outgrows its field")
        return new.to_bytes(len(old), "little")
    if kind == "o" and context.relocations.target(place) is None:
        return context.entries.start(value).to_bytes(len(old), "little")
    return old


def moved_reference(unit: Unit, entries: OffsetMap, reference: int) -> int:
    """The new value of ``reference``, the offset of an entry relative to its unit's header."""
    return entries.start(unit.offset + reference) - entries.start(unit.offset)
