"""Headers of units (DWARF 5, 7.5.1; DWARF 4, 7.5.1 for versions 2 to 4)."""

from __future__ import annotations

from typing import NamedTuple

from nopfix.verifier.forms import Format
from nopfix.verifier.reader import Malformed, Reader

DW_UT_compile, DW_UT_type, DW_UT_partial, DW_UT_skeleton = 1, 2, 3, 4
DW_UT_split_compile, DW_UT_split_type = 5, 6


class Header(NamedTuple):
    """A unit's header; offsets in the section."""

    entries: int
    """Where the unit's entries begin."""
    end: int
    shape: Format
    abbreviations: int
    """debug_abbrev_offset"""
    abbreviations_at: int
    """Where that stands: it has a relocation."""
    kind: int
    """DW_UT_*; before DWARF 5 as the section says."""
    signature: int | None
    """Of a type, or the id that a skeleton and its split unit share."""
    type_offset: int | None
    """Offset in the unit of the entry of its type."""
    fixed: tuple[object, ...]
    """What must be equal in IN and OUT."""


def read(data: bytes, start: int, *, types: bool) -> Header:
    """The header of the unit at an offset of .debug_info, or of .debug_types with `types`.

    Raises Malformed.
    """
    reader = Reader(data, start, len(data))
    length, size = reader.initial_length()
    end = reader.position + length
    if end > len(data):
        raise Malformed(f"unit at {start:#x} is longer than the section")
    version = reader.unsigned(2)
    if not 2 <= version <= 5:
        raise Malformed(f"unit at {start:#x}: version {version}")
    kind, address_size = DW_UT_type if types else DW_UT_compile, 0
    if version == 5:
        kind, address_size = reader.unsigned(1), reader.unsigned(1)
    at = reader.position
    offset = reader.unsigned(size)
    if version < 5:
        address_size = reader.unsigned(1)
    if not DW_UT_compile <= kind <= DW_UT_split_type or address_size not in (4, 8):
        raise Malformed(f"unit at {start:#x}: type {kind}, addresses of {address_size} bytes")
    signature = type_offset = None
    if kind not in (DW_UT_compile, DW_UT_partial):
        signature = reader.unsigned(8)
    if kind in (DW_UT_type, DW_UT_split_type):
        type_offset = reader.unsigned(size)
    shape = Format(version, size, address_size)
    fixed = (shape, kind, signature, offset)
    return Header(reader.position, end, shape, offset, at, kind, signature, type_offset, fixed)
