"""`.debug_aranges`: which unit covers an address.

Each set names a unit and lists ranges as start and length.  The start is relocated; the length is a
number that the assembler resolved, and grows with the code.  Nothing changes its size.

Source: DWARF 5, sections 6.1.2 and 7.21 (version 2 since DWARF 2).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from dwarf.errors import Unsupported
from dwarf.forms import initial_length
from dwarf.offset_map import IDENTITY
from dwarf.section import Rewritten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dwarf.offset_map import OffsetMap
    from dwarf.section import Section

_VERSION = 2
_ADDRESS_SIZE = 8
_TUPLE = Struct("<QQ")
_LENGTH = Struct("<Q")
_UNKNOWN = "use --strip-unknown-debug to drop the section, or build without -g"


def rewrite(section: Section, maps: Mapping[int, OffsetMap]) -> Rewritten | None:
    """Move the lengths in ``section``; ``maps`` are those of code sections, by section number.

    Returns None when nothing changes.  Raises `Unsupported` for a set that is malformed or that
    holds an address without relocation.
    """
    old = bytes(section.data)
    data = bytearray(old)
    changed = False
    place = 0
    while place < len(old):
        end, offset_size, header = initial_length(old, place, section.name)
        first = _first_tuple(section.name, data, place, header, offset_size)
        changed |= _move_lengths(section, data, first, end, maps)
        place = end
    return Rewritten(data, IDENTITY, {}) if changed else None


def _first_tuple(name: str, data: bytearray, start: int, header: int, offset_size: int) -> int:
    """Check the header of the set at ``start``; returns the section offset of its first tuple."""
    sizes = header + 2 + offset_size
    version = int.from_bytes(data[header : header + 2], "little")
    if version != _VERSION or data[sizes : sizes + 2] != bytes((_ADDRESS_SIZE, 0)):
        found = f"a set of version {version} with sizes {data[sizes : sizes + 2].hex(' ')}"
        raise Unsupported(name, start, found, _UNKNOWN)
    # Tuples are aligned to twice the size of an address, from the start of the set.
    return start + -(-(sizes + 2 - start) // _TUPLE.size) * _TUPLE.size


def _move_lengths(
    section: Section, data: bytearray, first: int, end: int, maps: Mapping[int, OffsetMap]
) -> bool:
    """Write the new lengths of the tuples from ``first`` to ``end``; True when one changed."""
    changed = False
    for place in range(first, end, _TUPLE.size):
        if place + _TUPLE.size > end:
            raise Unsupported(section.name, place, "a truncated tuple", _UNKNOWN)
        address, length = _TUPLE.unpack_from(data, place)
        target = section.relocations.target(place)
        if target is None:
            if address or length:
                found = "an address without relocation"
                raise Unsupported(section.name, place, found, _UNKNOWN)
            continue
        code = maps.get(target.section)
        if code is None or not length:
            continue
        new = code.after(target.offset + length) - code.start(target.offset)
        if new != length:
            if not 0 < new < 1 << 64:
                raise Unsupported(section.name, place, f"a range of {length:#x} bytes", _UNKNOWN)
            _LENGTH.pack_into(data, place + _ADDRESS_SIZE, new)
            changed = True
    return changed
