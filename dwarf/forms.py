"""The forms of attribute values: how many bytes each takes, as a table.

The problem: an entry of .debug_info says nothing about its own size.  Its abbreviation lists
attributes with their forms, and the forms give the sizes, some of them through the unit's header
(addresses, offsets) and some only through the value itself (LEB128, strings, blocks).  A form that
isn't in the table can't be stepped over, so nothing behind it can be read.

Source: DWARF 5, section 7.5.6; DWARF 2 and 3, section 7.5.4, for DW_FORM_ref_addr; the
GNU forms from binutils' dwarf2.def; DW_FORM_LLVM_addrx_offset from LLVM's Dwarf.def.
"""

from __future__ import annotations

from nopfix.dwarf import encodings as dw
from nopfix.dwarf import leb128
from nopfix.dwarf.numbers import number
from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record

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

SIZES: Mapping[int, Size] = {
    dw.DW_FORM_addr: "address",
    dw.DW_FORM_block2: "block2",
    dw.DW_FORM_block4: "block4",
    dw.DW_FORM_data2: 2,
    dw.DW_FORM_data4: 4,
    dw.DW_FORM_data8: 8,
    dw.DW_FORM_string: "string",
    dw.DW_FORM_block: "block",
    dw.DW_FORM_block1: "block1",
    dw.DW_FORM_data1: 1,
    dw.DW_FORM_flag: 1,
    dw.DW_FORM_sdata: "leb128",
    dw.DW_FORM_strp: "offset",
    dw.DW_FORM_udata: "leb128",
    dw.DW_FORM_ref_addr: "ref_addr",
    dw.DW_FORM_ref1: 1,
    dw.DW_FORM_ref2: 2,
    dw.DW_FORM_ref4: 4,
    dw.DW_FORM_ref8: 8,
    dw.DW_FORM_ref_udata: "leb128",
    dw.DW_FORM_indirect: "indirect",
    dw.DW_FORM_sec_offset: "offset",
    dw.DW_FORM_exprloc: "block",
    dw.DW_FORM_flag_present: 0,
    dw.DW_FORM_strx: "leb128",
    dw.DW_FORM_addrx: "leb128",
    dw.DW_FORM_ref_sup4: 4,
    dw.DW_FORM_strp_sup: "offset",
    dw.DW_FORM_data16: 16,
    dw.DW_FORM_line_strp: "offset",
    dw.DW_FORM_ref_sig8: 8,
    dw.DW_FORM_implicit_const: 0,  # the value is in the abbreviation
    dw.DW_FORM_loclistx: "leb128",
    dw.DW_FORM_rnglistx: "leb128",
    dw.DW_FORM_ref_sup8: 8,
    dw.DW_FORM_strx1: 1,
    dw.DW_FORM_strx2: 2,
    dw.DW_FORM_strx3: 3,
    dw.DW_FORM_strx4: 4,
    dw.DW_FORM_addrx1: 1,
    dw.DW_FORM_addrx2: 2,
    dw.DW_FORM_addrx3: 3,
    dw.DW_FORM_addrx4: 4,
    dw.DW_FORM_GNU_addr_index: "leb128",
    dw.DW_FORM_GNU_str_index: "leb128",
    dw.DW_FORM_GNU_ref_alt: "offset",
    dw.DW_FORM_GNU_strp_alt: "offset",
    dw.DW_FORM_LLVM_addrx_offset: "addrx_offset",
}

INDEXED_ADDRESSES = frozenset(
    (
        *(dw.DW_FORM_addrx, dw.DW_FORM_addrx1, dw.DW_FORM_addrx2, dw.DW_FORM_addrx3),
        *(dw.DW_FORM_addrx4, dw.DW_FORM_GNU_addr_index),
    )
)
"""Forms whose value is an index into .debug_addr."""

ADDRESSES = INDEXED_ADDRESSES | {dw.DW_FORM_addr, dw.DW_FORM_LLVM_addrx_offset}
"""Forms of the class address."""

CONSTANTS = frozenset(
    (
        *(dw.DW_FORM_data1, dw.DW_FORM_data2, dw.DW_FORM_data4, dw.DW_FORM_data8),
        *(dw.DW_FORM_data16, dw.DW_FORM_sdata, dw.DW_FORM_udata),
    )
)
"""Forms of the class constant whose value lies in .debug_info."""

UNIT_REFERENCES = frozenset(
    (dw.DW_FORM_ref1, dw.DW_FORM_ref2, dw.DW_FORM_ref4, dw.DW_FORM_ref8, dw.DW_FORM_ref_udata)
)
"""Forms that hold the offset of an entry relative to its unit's header."""

BLOCK_LENGTHS: Mapping[Size, int] = {"block1": 1, "block2": 2, "block4": 4}
"""Bytes of the length in front of a block."""

BLOCKS = frozenset(("block", *BLOCK_LENGTHS))
"""The sizes, as in `SIZES`, of forms that hold a block of bytes behind its length."""


class Sizes(Record):
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
