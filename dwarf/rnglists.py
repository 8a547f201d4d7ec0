"""`.debug_rnglists` and `.debug_ranges`: the code that an entry covers, in pieces.

Source: DWARF 5, sections 2.17.3 and 7.28; DWARF 4, section 2.17.3.  `dwarf.lists` has the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dwarf import lists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dwarf.offset_map import OffsetMap
    from dwarf.section import Rewritten, Section
    from dwarf.unit import ListUses

KINDS = lists.Kinds(
    meanings=(
        lists.END_OF_LIST,  # DW_RLE_end_of_list
        lists.BASE_ADDRESSX,  # DW_RLE_base_addressx
        lists.STARTX_ENDX,  # DW_RLE_startx_endx
        lists.STARTX_LENGTH,  # DW_RLE_startx_length
        lists.OFFSET_PAIR,  # DW_RLE_offset_pair
        lists.BASE_ADDRESS,  # DW_RLE_base_address
        lists.START_END,  # DW_RLE_start_end
        lists.START_LENGTH,  # DW_RLE_start_length
    ),
    located=False,
)
"""DWARF 5, table 7.30."""


def rewrite(
    section: Section, uses: Sequence[ListUses], maps: Mapping[int, OffsetMap]
) -> Rewritten | None:
    """Move the range lists of ``section``: .debug_rnglists, .debug_ranges, or a .dwo form of one.

    ``uses`` are the references to lists of this section, ``maps`` the maps of code sections by
    number.  Returns None when nothing changes.  Raises `Unsupported` for what can't be moved.
    """
    if section.name.startswith(".debug_ranges"):
        return lists.rewrite_pairs(section, False, uses, maps)
    return lists.rewrite_kinds(section, KINDS, uses, maps)
