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

from nopfix.dwarf import encodings as dw
from nopfix.dwarf import leb128
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.numbers import number
from nopfix.dwarf.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Relocations
    from nopfix.dwarf.unit import Unit

_NESTED_TOO_DEEPLY = 8

_OPERANDS: Mapping[int, str] = {
    # One letter an operand: 1 2 4 8 numbers of that many bytes; a an address; u s ULEB128, SLEB128;
    # b a block behind its ULEB128 length; c a block behind a length of one byte; j a branch;
    # and the references to entries: h w two or four bytes and t ULEB128, relative to the unit; o
    # an offset into .debug_info (relocated where relocations are); e an expression in a block.
    dw.DW_OP_addr: "a",
    dw.DW_OP_const1u: "1",
    dw.DW_OP_const1s: "1",
    dw.DW_OP_const2u: "2",
    dw.DW_OP_const2s: "2",
    dw.DW_OP_const4u: "4",
    dw.DW_OP_const4s: "4",
    dw.DW_OP_const8u: "8",
    dw.DW_OP_const8s: "8",
    dw.DW_OP_constu: "u",
    dw.DW_OP_consts: "s",
    dw.DW_OP_pick: "1",
    dw.DW_OP_plus_uconst: "u",
    dw.DW_OP_bra: "j",
    dw.DW_OP_skip: "j",
    dw.DW_OP_regx: "u",
    dw.DW_OP_fbreg: "s",
    dw.DW_OP_bregx: "us",
    dw.DW_OP_piece: "u",
    dw.DW_OP_deref_size: "1",
    dw.DW_OP_xderef_size: "1",
    dw.DW_OP_call2: "h",
    dw.DW_OP_call4: "w",
    dw.DW_OP_call_ref: "o",
    dw.DW_OP_bit_piece: "uu",
    dw.DW_OP_implicit_value: "b",
    dw.DW_OP_implicit_pointer: "os",
    dw.DW_OP_addrx: "u",
    dw.DW_OP_constx: "u",
    dw.DW_OP_entry_value: "e",
    dw.DW_OP_const_type: "tc",
    dw.DW_OP_regval_type: "ut",
    dw.DW_OP_deref_type: "1t",
    dw.DW_OP_xderef_type: "1t",
    dw.DW_OP_convert: "t",
    dw.DW_OP_reinterpret: "t",
    dw.DW_OP_GNU_implicit_pointer: "os",
    dw.DW_OP_GNU_entry_value: "e",
    dw.DW_OP_GNU_const_type: "tc",
    dw.DW_OP_GNU_regval_type: "ut",
    dw.DW_OP_GNU_deref_type: "1t",
    dw.DW_OP_GNU_convert: "t",
    dw.DW_OP_GNU_reinterpret: "t",
    dw.DW_OP_GNU_parameter_ref: "w",
    dw.DW_OP_GNU_addr_index: "u",
    dw.DW_OP_GNU_const_index: "u",
    dw.DW_OP_GNU_variable_value: "o",
    **dict.fromkeys(range(dw.DW_OP_breg0, dw.DW_OP_breg0 + 32), "s"),
    **dict.fromkeys(range(dw.DW_OP_lit0, dw.DW_OP_lit0 + 32), ""),
    **dict.fromkeys(range(dw.DW_OP_reg0, dw.DW_OP_reg0 + 32), ""),
    **dict.fromkeys(
        (
            *(dw.DW_OP_deref, dw.DW_OP_dup, dw.DW_OP_drop, dw.DW_OP_over),
            *(dw.DW_OP_swap, dw.DW_OP_rot, dw.DW_OP_xderef, dw.DW_OP_abs),
            *(dw.DW_OP_and, dw.DW_OP_div, dw.DW_OP_minus, dw.DW_OP_mod),
            *(dw.DW_OP_mul, dw.DW_OP_neg, dw.DW_OP_not, dw.DW_OP_or),
            *(dw.DW_OP_plus, dw.DW_OP_shl, dw.DW_OP_shr, dw.DW_OP_shra),
            *(dw.DW_OP_xor, dw.DW_OP_eq, dw.DW_OP_ge, dw.DW_OP_gt),
            *(dw.DW_OP_le, dw.DW_OP_lt, dw.DW_OP_ne, dw.DW_OP_nop),
            *(
                dw.DW_OP_push_object_address,
                dw.DW_OP_form_tls_address,
                dw.DW_OP_call_frame_cfa,
                dw.DW_OP_stack_value,
            ),
            *(dw.DW_OP_GNU_push_tls_address, dw.DW_OP_GNU_uninit),
        ),
        "",
    ),
}


class _Operand(Record):
    """An operand: what it is (a letter of `_OPERANDS`), where it lies, its value if a number."""

    kind: str
    place: int
    end: int
    value: int


class Context(Record):
    """Where expressions lie, and what moves the entries that they name.

    They are in ``data``, the bytes of the section ``section`` (its name, for errors) with
    ``relocations``, and belong to ``unit``; ``entries`` is the map of that unit's section.
    """

    data: bytes | memoryview
    unit: Unit
    entries: OffsetMap
    relocations: Relocations
    section: str


def move(context: Context, start: int, end: int) -> bytes | None:
    """The expression in ``data[start:end]`` with its references to entries moved.

    Returns None when nothing changes.  Raises `Unsupported` for operations that aren't known, and
    where a relocated operand would move inside an expression that grows.
    """
    section = context.section
    try:
        moved = _move(context, start, end, 0)
    except (IndexError, leb128.BadLeb128):
        raise Unsupported(section, start, "an expression without an end") from None
    if moved == context.data[start:end]:
        return None
    places = context.relocations.places
    relocated = bisect_left(places, start) != bisect_left(places, end)
    if relocated and len(moved) != end - start:
        raise Unsupported(section, start, "an expression that grows around a relocated operand")
    return moved


def _move(context: Context, start: int, end: int, depth: int) -> bytes:
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


def _operands(context: Context, place: int) -> Iterator[_Operand]:
    """The operands of the operation at ``place``."""
    data, unit = context.data, context.unit
    operation = data[place]
    kinds = _OPERANDS.get(operation)
    if kinds is None:
        raise Unsupported(
            context.section, place, f"unknown operation {dw.name('DW_OP', operation)}"
        )
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


def _moved_operand(context: Context, operand: _Operand, depth: int) -> bytes:
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
