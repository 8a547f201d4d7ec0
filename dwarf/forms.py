"""The forms of attribute values: how many bytes each takes, as a table.

The problem: an entry of .debug_info says nothing about its own size.  Its abbreviation lists
attributes with their forms, and the forms give the sizes, some of them through the unit's header
(addresses, offsets) and some only through the value itself (LEB128, strings, blocks).  A form that
isn't in the table can't be stepped over, so nothing behind it can be read.

Source: DWARF 5, section 7.5.6; DWARF 2 and 3, section 7.5.4, for DW_FORM_ref_addr; the
GNU forms from binutils' dwarf2.def; DW_FORM_LLVM_addrx_offset from LLVM's Dwarf.def.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from dwarf import leb128
from dwarf.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

Size = (
    int
    | Literal[
        "address",  # the unit's size of an address
        "offset",  # 4 bytes in 32-bit DWARF, 8 in 64-bit DWARF
        "ref_addr",  # an address in DWARF 2, an offset since DWARF 3
        "leb128",
        "string",
        "block1",
        "block2",
        "block4",
        "block",
        "addrx_offset",
        "indirect",
    ]
)
"""Bytes that a form takes, or what has to be known to tell."""

DW_FORM_addr = 0x01
DW_FORM_block2 = 0x03
DW_FORM_block4 = 0x04
DW_FORM_data2 = 0x05
DW_FORM_data4 = 0x06
DW_FORM_data8 = 0x07
DW_FORM_string = 0x08
DW_FORM_block = 0x09
DW_FORM_block1 = 0x0A
DW_FORM_data1 = 0x0B
DW_FORM_sdata = 0x0D
DW_FORM_strp = 0x0E
DW_FORM_udata = 0x0F
DW_FORM_ref_addr = 0x10
DW_FORM_ref1 = 0x11
DW_FORM_ref2 = 0x12
DW_FORM_ref4 = 0x13
DW_FORM_ref8 = 0x14
DW_FORM_ref_udata = 0x15
DW_FORM_indirect = 0x16
DW_FORM_sec_offset = 0x17
DW_FORM_exprloc = 0x18
DW_FORM_strx = 0x1A
DW_FORM_addrx = 0x1B
DW_FORM_data16 = 0x1E
DW_FORM_line_strp = 0x1F
DW_FORM_implicit_const = 0x21
DW_FORM_loclistx = 0x22
DW_FORM_rnglistx = 0x23
DW_FORM_strx1 = 0x25
DW_FORM_addrx1 = 0x29
DW_FORM_GNU_addr_index = 0x1F01
DW_FORM_GNU_str_index = 0x1F02
DW_FORM_LLVM_addrx_offset = 0x2001

SIZES: Mapping[int, Size] = {
    DW_FORM_addr: "address",
    DW_FORM_block2: "block2",
    DW_FORM_block4: "block4",
    DW_FORM_data2: 2,
    DW_FORM_data4: 4,
    DW_FORM_data8: 8,
    DW_FORM_string: "string",
    DW_FORM_block: "block",
    DW_FORM_block1: "block1",
    DW_FORM_data1: 1,
    0x0C: 1,  # DW_FORM_flag
    DW_FORM_sdata: "leb128",
    DW_FORM_strp: "offset",
    DW_FORM_udata: "leb128",
    DW_FORM_ref_addr: "ref_addr",
    DW_FORM_ref1: 1,
    DW_FORM_ref2: 2,
    DW_FORM_ref4: 4,
    DW_FORM_ref8: 8,
    DW_FORM_ref_udata: "leb128",
    DW_FORM_indirect: "indirect",
    DW_FORM_sec_offset: "offset",
    DW_FORM_exprloc: "block",
    0x19: 0,  # DW_FORM_flag_present
    DW_FORM_strx: "leb128",
    DW_FORM_addrx: "leb128",
    0x1C: 4,  # DW_FORM_ref_sup4
    0x1D: "offset",  # DW_FORM_strp_sup
    DW_FORM_data16: 16,
    DW_FORM_line_strp: "offset",
    0x20: 8,  # DW_FORM_ref_sig8
    DW_FORM_implicit_const: 0,  # the value is in the abbreviation
    DW_FORM_loclistx: "leb128",
    DW_FORM_rnglistx: "leb128",
    0x24: 8,  # DW_FORM_ref_sup8
    DW_FORM_strx1: 1,
    0x26: 2,  # DW_FORM_strx2
    0x27: 3,  # DW_FORM_strx3
    0x28: 4,  # DW_FORM_strx4
    DW_FORM_addrx1: 1,
    0x2A: 2,  # DW_FORM_addrx2
    0x2B: 3,  # DW_FORM_addrx3
    0x2C: 4,  # DW_FORM_addrx4
    DW_FORM_GNU_addr_index: "leb128",
    DW_FORM_GNU_str_index: "leb128",
    0x1F20: "offset",  # DW_FORM_GNU_ref_alt
    0x1F21: "offset",  # DW_FORM_GNU_strp_alt
    DW_FORM_LLVM_addrx_offset: "addrx_offset",
}

INDEXED_ADDRESSES = frozenset(
    (DW_FORM_addrx, DW_FORM_addrx1, 0x2A, 0x2B, 0x2C, DW_FORM_GNU_addr_index)
)
"""Forms whose value is an index into .debug_addr."""

ADDRESSES = INDEXED_ADDRESSES | {DW_FORM_addr, DW_FORM_LLVM_addrx_offset}
"""Forms of the class address."""

CONSTANTS = frozenset(
    (
        *(DW_FORM_data1, DW_FORM_data2, DW_FORM_data4, DW_FORM_data8, DW_FORM_data16),
        *(DW_FORM_sdata, DW_FORM_udata),
    )
)
"""Forms of the class constant whose value lies in .debug_info."""

UNIT_REFERENCES = frozenset(
    (DW_FORM_ref1, DW_FORM_ref2, DW_FORM_ref4, DW_FORM_ref8, DW_FORM_ref_udata)
)
"""Forms that hold the offset of an entry relative to its unit's header."""

BLOCK_LENGTHS: Mapping[Size, int] = {"block1": 1, "block2": 2, "block4": 4}
"""Bytes of the length in front of a block."""


class Sizes(NamedTuple):
    """What a unit's header says about sizes: DWARF version, bytes of an offset and an address."""

    version: int
    offset_size: int
    address_size: int

    def fixed(self, form: int) -> int | None:
        """Bytes of ``form`` in this unit; None where that depends on the value."""
        size = SIZES[form]
        if isinstance(size, int):
            return size
        if size == "offset":
            return self.offset_size
        if size == "address":
            return self.address_size
        if size == "ref_addr":
            return self.address_size if self.version == 2 else self.offset_size
        return None


def number(data: bytes | bytearray | memoryview, place: int, size: int) -> int:
    """The little-endian number of ``size`` bytes at ``place``.  Raises IndexError past the end."""
    if place < 0 or place + size > len(data):
        raise IndexError(place)
    return int.from_bytes(data[place : place + size], "little")


def skip(data: bytes, place: int, form: int, sizes: Sizes) -> int:
    """The offset behind the value of ``form`` at ``place``.

    ``form`` is in `SIZES` and not DW_FORM_indirect.  Raises IndexError, ValueError or
    `leb128.BadLeb128` (a ValueError) where the value has no end inside ``data``.
    """
    size = sizes.fixed(form)
    if size is not None:
        end = place + size
    else:
        kind = SIZES[form]
        if kind == "leb128":
            end = leb128.skip(data, place)
        elif kind == "string":
            end = data.index(0, place) + 1
        elif kind == "addrx_offset":
            end = leb128.skip(data, place) + 4
        elif kind == "block":
            length, begin = leb128.unsigned(data, place)
            end = begin + length
        else:
            width = BLOCK_LENGTHS[kind]
            end = place + width + number(data, place, width)
    if end > len(data):
        raise IndexError(place)
    return end


def initial_length(
    data: bytes | bytearray | memoryview, place: int, section: str
) -> tuple[int, int, int]:
    """Read the unit_length at ``place``: ``(end of the unit, offset size, offset behind it)``.

    The offset size is 4 or 8, which tells 32-bit from 64-bit DWARF (DWARF 5, section 7.4).
    ``section`` is the section's name for the error, `Unsupported`, that is raised where the length
    is reserved or reaches past the end of ``data``.
    """
    begin, offset_size = place + 4, 4
    length = int.from_bytes(data[place:begin], "little")
    if length == 0xFFFFFFFF:
        length = int.from_bytes(data[begin : begin + 8], "little")
        begin, offset_size = begin + 8, 8
    elif length >= 0xFFFFFFF0:
        raise Unsupported(section, place, f"reserved unit length {length:#x}")
    if begin > len(data) or length > len(data) - begin:
        raise Unsupported(section, place, f"a unit of {length} bytes runs past the section's end")
    return begin + length, offset_size, begin
