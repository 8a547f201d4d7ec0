"""`.debug_macro` and `.debug_macinfo`: macros, by line of the source, not by address.

Nothing in here holds a code address.  What points into other sections (the line table, strings,
other macro units) is relocated in an object and moves with its relocation; in a .dwo file it points
into sections that don't move.  So no byte changes.  A producer may define opcodes of its own,
whose operands could hold anything; a unit that does is refused.

Source: DWARF 5, sections 6.3.1 and 7.23; DWARF 4, section 7.22 (.debug_macinfo); version 4 is
GNU's extension with the same header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dwarf.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dwarf.offset_map import OffsetMap
    from dwarf.section import Rewritten, Section

_DEBUG_LINE_OFFSET = 2
_OPCODE_OPERANDS_TABLE = 4
_UNKNOWN = "use --strip-unknown-debug to drop the section, or build with -g2"


def rewrite(section: Section, maps: Mapping[int, OffsetMap]) -> Rewritten | None:
    """Check the first header of ``section``; the answer is always None, no change.

    ``maps`` are those of the sections that moved, by section number.  Raises `Unsupported` for an
    unknown version, for opcodes of a producer's own, and for an offset into .debug_line that no
    relocation would move.
    """
    del maps
    name = section.name
    if name.startswith(".debug_macinfo"):
        return None
    data = bytes(section.data[:3])
    version = int.from_bytes(data[:2], "little")
    if len(data) < 3 or version not in (4, 5):
        raise Unsupported(name, 0, f"version {version} of macro information", _UNKNOWN)
    if data[2] & _OPCODE_OPERANDS_TABLE:
        raise Unsupported(name, 2, "opcodes that the producer defines", _UNKNOWN)
    split = name.endswith(".dwo")
    if data[2] & _DEBUG_LINE_OFFSET and not split and section.relocations.target(3) is None:
        raise Unsupported(name, 3, "an offset into .debug_line without relocation", _UNKNOWN)
    return None
