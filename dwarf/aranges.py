"""`.debug_aranges`: which unit covers an address.

Each set names a unit and lists ranges as start and length.  The start is relocated; the length is a
number that the assembler resolved, and grows with the code.  Nothing changes its size.

Source: DWARF 5, sections 6.1.2 and 7.21 (version 2 since DWARF 2).
"""

from __future__ import annotations

from struct import Struct

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.numbers import changed, initial_length
from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.dwarf.section import Rewritten, discarded, require_relocations, splice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Change, Section

_VERSION = 2
_ADDRESS_SIZE = 8
_TUPLE = Struct("<QQ")
_UNKNOWN = "use --strip-unknown-debug to drop the section, or build without -g"


def rewrite(section: Section, maps: Mapping[int, OffsetMap]) -> Rewritten | None:
    """Move the lengths in ``section``; ``maps`` are those of code sections, by section number.

    Returns None when nothing changes.  Raises `Unsupported` for a set that is malformed or that
    holds an address without relocation.
    """
    data = bytes(section.data)
    changes: list[Change] = []
    place = 0
    while place < len(data):
        end, offset_size, header = initial_length(data, place, section.name)
        first = _first_tuple(section.name, data, place, header, offset_size)
        changes += _moved_lengths(section, data[:end], first, maps)
        place = end
    return Rewritten(*splice(data, changes), {}) if changes else None


def _first_tuple(name: str, data: bytes, start: int, header: int, offset_size: int) -> int:
    """Check the header of the set at ``start``; returns the section offset of its first tuple."""
    sizes = header + 2 + offset_size
    version = int.from_bytes(data[header : header + 2], "little")
    if version != _VERSION or data[sizes : sizes + 2] != bytes((_ADDRESS_SIZE, 0)):
        found = f"a set of version {version} with sizes {data[sizes : sizes + 2].hex(' ')}"
        raise Unsupported(name, start, found, _UNKNOWN)
    # Tuples are aligned to twice the size of an address, from the start of the set.
    return start + -(-(sizes + 2 - start) // _TUPLE.size) * _TUPLE.size


def _moved_lengths(
    section: Section, data: bytes, first: int, maps: Mapping[int, OffsetMap]
) -> Iterator[Change]:
    """The lengths that change in a set's tuples, from ``first`` to the end of ``data``."""
    for place in range(first, len(data), _TUPLE.size):
        if place + _TUPLE.size > len(data):
            raise Unsupported(section.name, place, "a truncated tuple", _UNKNOWN)
        address, length = _TUPLE.unpack_from(data, place)
        target = section.relocations.target(place)
        if target is None:
            if (address or length) and discarded(data, place) is None:
                found = "an address without relocation"
                raise Unsupported(section.name, place, found, _UNKNOWN)
            if length:
                require_relocations(section, place)
            continue
        code = maps.get(target.section)
        if code is None or not length:
            continue
        new = code.after(target.offset + length) - code.start(target.offset)
        if new != length:
            if new <= 0:
                raise Unsupported(section.name, place, f"a range of {length:#x} bytes", _UNKNOWN)
            field = place + _ADDRESS_SIZE
            yield changed(section.name, field, place + _TUPLE.size, new, "length")
