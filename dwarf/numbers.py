"""Numbers of fixed size: how they are read, and how a new value is put in the place of an old one.

Nearly all of what DWARF counts in such numbers is as wide as it was written: a new value that
doesn't fit can't be written at all.  The first number of a unit is its length, which also tells
32-bit from 64-bit DWARF and so the size of the offsets behind it.

Source: DWARF 5, sections 7.2.2 and 7.4 (initial lengths), 7.5.1.
"""

from __future__ import annotations

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.section import Change


def number(data: bytes | bytearray | memoryview, place: int, size: int) -> int:
    """The little-endian number of ``size`` bytes at ``place``.  Raises IndexError past the end."""
    if place < 0 or place + size > len(data):
        raise IndexError(place)
    return int.from_bytes(data[place : place + size], "little")


def initial_length(
    data: bytes | bytearray | memoryview, place: int, section: str, remedy: str = ""
) -> tuple[int, int, int]:
    """Read the length of the unit at ``place``: ``(its end, offset size, offset behind it)``.

    The offset size is 4 or 8, which tells 32-bit from 64-bit DWARF.  ``section`` is the section's
    name, and ``remedy`` what helps, for the error: raises `Unsupported` where the length is
    reserved or reaches past the end of ``data``.
    """
    begin, offset_size = place + 4, 4
    length = int.from_bytes(data[place:begin], "little")
    if length == 0xFFFFFFFF:
        length = int.from_bytes(data[begin : begin + 8], "little")
        begin, offset_size = begin + 8, 8
    elif length >= 0xFFFFFFF0:
        raise Unsupported(section, place, f"reserved unit length {length:#x}", remedy)
    if begin > len(data) or length > len(data) - begin:
        found = f"a unit of {length} bytes runs past the section's end"
        raise Unsupported(section, place, found, remedy)
    return begin + length, offset_size, begin


def changed(section: str, place: int, end: int, value: int, what: str = "offset") -> Change:
    """The number from ``place`` to ``end`` becomes ``value``.

    Raises `Unsupported` where that doesn't fit; the message says ``what`` the number is.
    """
    width = end - place
    if value < 0 or value >> 8 * width:
        raise Unsupported(section, place, f"the new {what} {value:#x} doesn't fit {width} bytes")
    return Change(place, end, value.to_bytes(width, "little"))
