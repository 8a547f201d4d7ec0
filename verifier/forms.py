"""Attribute values by form (DWARF 5, 7.5.6), GNU and older forms included.

The table is by the names of the forms.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from nopfix.verifier.encodings import FORMS
from nopfix.verifier.reader import Malformed, Reader

if TYPE_CHECKING:
    from collections.abc import Callable


class Value(NamedTuple):
    """An attribute's value: `raw` is a number or bytes by form; and where it is in the section."""

    form: str
    raw: Any
    place: int
    """Offset of the value; of a block's contents, behind its length."""


class Format(NamedTuple):
    """What the sizes of some forms depend on (DWARF 5, 7.4)."""

    version: int
    offset_size: int
    address_size: int


_FIXED = {
    "DW_FORM_data1": 1,
    "DW_FORM_data2": 2,
    "DW_FORM_data4": 4,
    "DW_FORM_data8": 8,
    "DW_FORM_flag": 1,
    "DW_FORM_ref1": 1,
    "DW_FORM_ref2": 2,
    "DW_FORM_ref4": 4,
    "DW_FORM_ref8": 8,
    "DW_FORM_ref_sig8": 8,
    "DW_FORM_ref_sup4": 4,
    "DW_FORM_ref_sup8": 8,
    "DW_FORM_strx1": 1,
    "DW_FORM_strx2": 2,
    "DW_FORM_strx3": 3,
    "DW_FORM_strx4": 4,
    "DW_FORM_addrx1": 1,
    "DW_FORM_addrx2": 2,
    "DW_FORM_addrx3": 3,
    "DW_FORM_addrx4": 4,
    "DW_FORM_flag_present": 0,
}
_OFFSETS = frozenset(
    {
        "DW_FORM_strp",
        "DW_FORM_line_strp",
        "DW_FORM_sec_offset",
        "DW_FORM_strp_sup",
        "DW_FORM_GNU_strp_alt",
        "DW_FORM_GNU_ref_alt",
    }
)
_ULEB = frozenset(
    {
        "DW_FORM_udata",
        "DW_FORM_ref_udata",
        "DW_FORM_strx",
        "DW_FORM_addrx",
        "DW_FORM_loclistx",
        "DW_FORM_rnglistx",
        "DW_FORM_GNU_addr_index",
        "DW_FORM_GNU_str_index",
    }
)
_BLOCKS = {"DW_FORM_block1": 1, "DW_FORM_block2": 2, "DW_FORM_block4": 4}

UNIT_REFERENCES = frozenset(
    {"DW_FORM_ref1", "DW_FORM_ref2", "DW_FORM_ref4", "DW_FORM_ref8", "DW_FORM_ref_udata"}
)
ADDRESS_INDICES = frozenset(
    {
        "DW_FORM_addrx",
        "DW_FORM_addrx1",
        "DW_FORM_addrx2",
        "DW_FORM_addrx3",
        "DW_FORM_addrx4",
        "DW_FORM_GNU_addr_index",
        "DW_FORM_LLVM_addrx_offset",
    }
)
CONSTANTS = frozenset(
    {
        "DW_FORM_data1",
        "DW_FORM_data2",
        "DW_FORM_data4",
        "DW_FORM_data8",
        "DW_FORM_udata",
        "DW_FORM_sdata",
        "DW_FORM_implicit_const",
    }
)


@functools.lru_cache(maxsize=4096)
def compile_form(name: str, shape: Format, implicit: int) -> Callable[[Reader], Value]:
    """A function that reads one value of the form.

    `implicit` is the value of DW_FORM_implicit_const. Raises Malformed for an unknown form.
    """
    if name in _FIXED:
        return _number(name, _FIXED[name])
    if name in _OFFSETS:
        return _number(name, shape.offset_size)
    if name == "DW_FORM_addr":
        return _number(name, shape.address_size)
    if name == "DW_FORM_ref_addr":
        # DWARF 2 gave it the size of an address (DWARF 3, 7.5.4).
        return _number(name, shape.address_size if shape.version == 2 else shape.offset_size)
    if name in _ULEB:
        return _uleb(name)
    if name in _BLOCKS:
        return _block(name, _BLOCKS[name])
    if name in ("DW_FORM_block", "DW_FORM_exprloc"):
        return _block(name, 0)
    if name == "DW_FORM_implicit_const":
        return lambda reader: Value(name, implicit, -1)
    if name == "DW_FORM_indirect":
        return lambda reader: _indirect(reader, shape)
    special: dict[str, Callable[[Reader], Any]] = {
        "DW_FORM_sdata": Reader.sleb,
        "DW_FORM_string": Reader.string,
        "DW_FORM_data16": lambda reader: reader.take(16),
        "DW_FORM_LLVM_addrx_offset": lambda reader: (reader.uleb(), reader.unsigned(4)),
    }
    if name in special:
        return _with(name, special[name])
    raise Malformed(f"unknown form {name}")


ULEB, STRING, BLOCK = -1, -2, -3
"""Sizes that only the bytes tell, as `skip_of` gives them: LEB128, a string, LEB128 and a block.
A block whose length has n bytes is BLOCK - n."""


def name_of(number: int) -> str:
    """The name of a form, GNU's included; its number where it has none."""
    return FORMS.get(number, hex(number))


def skip_of(name: str, shape: Format) -> int:
    """Bytes that a value of a form takes, or one of the sizes above."""
    if name in _FIXED:
        return _FIXED[name]
    if name in _OFFSETS:
        return shape.offset_size
    if name == "DW_FORM_addr":
        return shape.address_size
    if name == "DW_FORM_implicit_const":
        return 0
    if name in _BLOCKS:
        return BLOCK - _BLOCKS[name]
    if name == "DW_FORM_block":
        return BLOCK
    if name in _ULEB or name == "DW_FORM_sdata":
        return ULEB
    return {"DW_FORM_string": STRING, "DW_FORM_data16": 16}[name]


def skip(data: bytes, at: int, sizes: tuple[int, ...]) -> int:
    """The offset behind the values of these sizes."""
    for size in sizes:
        if size >= 0:
            at += size
        elif size == STRING:
            at = data.index(b"\0", at) + 1
        else:
            length, shift = 0, 0
            if size < BLOCK:
                length = int.from_bytes(data[at : at + BLOCK - size], "little")
                at += BLOCK - size
            else:
                while data[at] & 0x80:
                    length |= (data[at] & 0x7F) << shift
                    shift += 7
                    at += 1
                length |= data[at] << shift
                at += 1
            at += length if size != ULEB else 0
    return at


def _indirect(reader: Reader, shape: Format) -> Value:
    """A value whose form stands in front of it (DW_FORM_indirect)."""
    name = name_of(reader.uleb())
    if name in ("DW_FORM_indirect", "DW_FORM_implicit_const"):
        raise Malformed(f"DW_FORM_indirect of {name} at {reader.position:#x}")
    return compile_form(name, shape, 0)(reader)


def _number(name: str, size: int) -> Callable[[Reader], Value]:
    def read(reader: Reader) -> Value:
        place = reader.position
        end = place + size
        if end > reader.end_of_data:
            raise Malformed(f"cut short at {place:#x}")
        reader.position = end
        return Value(name, int.from_bytes(reader.data[place:end], "little"), place)

    return read


def _with(name: str, method: Callable[[Reader], Any]) -> Callable[[Reader], Value]:
    def read(reader: Reader) -> Value:
        place = reader.position
        return Value(name, method(reader), place)

    return read


def _uleb(name: str) -> Callable[[Reader], Value]:
    return _with(name, Reader.uleb)


def _block(name: str, size: int) -> Callable[[Reader], Value]:
    def read(reader: Reader) -> Value:
        length = reader.unsigned(size) if size else reader.uleb()
        place = reader.position
        return Value(name, reader.take(length), place)

    return read
