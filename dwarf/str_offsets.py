"""`.debug_str_offsets`: offsets of strings, which nothing moves.

The rewrite neither moves strings nor their numbers, so the section stays as it is.  What is checked
is that it really holds nothing else: whoever points into a section that moves has a relocation
there, and every relocation here has to point into a section that doesn't move.

Source: DWARF 5, section 7.26; the GNU form of DWARF 4 has no header.
"""

from __future__ import annotations

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Rewritten, Section


def rewrite(section: Section, maps: Mapping[int, OffsetMap]) -> Rewritten | None:
    """Check that ``section`` holds nothing that moves; the answer is always None, no change.

    ``maps`` are those of the sections that moved, by section number.  Raises `Unsupported` where a
    relocation points into one of them.
    """
    relocations = section.relocations
    moved = {number for number, code in maps.items() if code}
    suspects = {s for s in set(relocations.symbols) if relocations.symbol_sections[s] in moved}
    if suspects:
        place = next(
            place
            for place, symbol in zip(relocations.places, relocations.symbols, strict=True)
            if symbol in suspects
        )
        raise Unsupported(section.name, place, "an offset into a section that isn't strings")
    return None
