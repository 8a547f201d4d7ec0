"""`.debug_macro` and `.debug_macinfo`: macros, by line of the source, not by address.

Nothing in here holds a code address.  What points into other sections (the line table, strings,
other macro units) is relocated in an object and moves with its relocation; in a .dwo file it points
into sections that don't move.  So no byte changes.  A producer may define opcodes of its own,
whose operands could hold anything; a unit that does is refused, and so all units are read.

Source: DWARF 5, sections 6.3.1 and 7.23; DWARF 4, section 7.22 (.debug_macinfo); version 4 is
GNU's extension with the same header.
"""

from __future__ import annotations

from nopfix.dwarf import encodings as dw
from nopfix.dwarf import leb128
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Rewritten, Section

_OFFSETS_OF_8_BYTES = 1
_DEBUG_LINE_OFFSET = 2
_OPCODE_OPERANDS_TABLE = 4
_UNKNOWN = "use --strip-unknown-debug to drop the section, or build with -g2"

_OPERANDS: Mapping[int, str] = {
    # u is a ULEB128, s a string, o a section offset.
    dw.DW_MACRO_define: "us",
    dw.DW_MACRO_undef: "us",
    dw.DW_MACRO_start_file: "uu",
    dw.DW_MACRO_end_file: "",
    dw.DW_MACRO_define_strp: "uo",
    dw.DW_MACRO_undef_strp: "uo",
    dw.DW_MACRO_import: "o",
    dw.DW_MACRO_define_sup: "uo",
    dw.DW_MACRO_undef_sup: "uo",
    dw.DW_MACRO_import_sup: "o",
    dw.DW_MACRO_define_strx: "uu",
    dw.DW_MACRO_undef_strx: "uu",
}


def rewrite(section: Section, maps: Mapping[int, OffsetMap]) -> Rewritten | None:
    """Read every unit of ``section``; the answer is always None, no change.

    ``maps`` are those of the sections that moved, by section number.  Raises `Unsupported` for an
    unknown version, for opcodes of a producer's own, and for an offset into .debug_line that no
    relocation would move.
    """
    del maps
    name = section.name
    if name.startswith(".debug_macinfo"):
        return None
    data = bytes(section.data)
    place = 0
    try:
        while place < len(data):
            place = _skip_operations(name, data, *_skip_header(section, data, place))
    except (IndexError, ValueError):
        raise Unsupported(name, place, "a macro unit without an end", _UNKNOWN) from None
    return None


def _skip_header(section: Section, data: bytes, place: int) -> tuple[int, int]:
    """Check the header at ``place``; returns the offset behind it and the bytes of an offset."""
    name = section.name
    version = int.from_bytes(data[place : place + 2], "little")
    if version not in (4, 5):
        raise Unsupported(name, place, f"version {version} of macro information", _UNKNOWN)
    flags = data[place + 2]
    if flags & _OPCODE_OPERANDS_TABLE:
        raise Unsupported(name, place + 2, "opcodes that the producer defines", _UNKNOWN)
    size = 8 if flags & _OFFSETS_OF_8_BYTES else 4
    place += 3
    if flags & _DEBUG_LINE_OFFSET:
        if not name.endswith(".dwo") and section.relocations.target(place) is None:
            found = "an offset into .debug_line without relocation"
            raise Unsupported(name, place, found, _UNKNOWN)
        place += size
    return place, size


def _skip_operations(name: str, data: bytes, place: int, offset_size: int) -> int:
    """The offset behind the operations at ``place``.  Raises IndexError or ValueError."""
    while opcode := data[place]:
        operands = _OPERANDS.get(opcode)
        if operands is None:
            raise Unsupported(
                name, place, f"unknown operation {dw.name('DW_MACRO', opcode)}", _UNKNOWN
            )
        place += 1
        for operand in operands:
            if operand == "u":
                place = leb128.skip(data, place)
            elif operand == "s":
                place = data.index(0, place) + 1
            else:
                place += offset_size
    return place + 1
